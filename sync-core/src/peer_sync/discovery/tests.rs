use proptest::prelude::*;

use super::*;
use crate::peer_sync::replica::Standard;

const OWN: u64 = 1;

fn hello(node: &str, instance: u64) -> Hello {
    Hello {
        node: NodeId::new(node).unwrap(),
        incarnation: Incarnation(7),
        instance: Incarnation(instance),
        api_port: 8_000,
        listen_port: 8_001,
        protocol: PROTOCOL,
        schema: 5,
    }
}

fn at(seconds: u64) -> Now {
    Now {
        monotonic: Instant::from_us(seconds * 1_000_000),
        wall: Timestamp::from_us((1_000 + seconds) * 1_000_000),
    }
}

fn place(host: &str) -> PeerAddress {
    PeerAddress::new(host, 8_000).unwrap()
}

fn empty() -> Discovery {
    Discovery::new(NodeId::new("own").unwrap(), Incarnation(OWN), 5)
}

fn settings() -> ReplicaSettings {
    ReplicaSettings { peers_max: 3, ..ReplicaSettings::default() }
}

fn answer(discovery: &mut Discovery, now: Now, host: &str, answer: Option<Hello>) -> Vec<Change> {
    let settings = settings();
    let rules = Rules { policy: &Standard, settings: &settings, draw: 0 };
    discovery.answered(now, &place(host), answer.map(Ok), &rules)
}

/// Whom to ask now; the hosts.
fn due(discovery: &mut Discovery, now: Now) -> Vec<String> {
    discovery.due(now.monotonic).into_iter().map(|address| address.host.to_string()).collect()
}

fn joined() -> Discovery {
    let mut discovery = empty();
    assert!(discovery.learn(at(0), place("a"), Source::Heard, 3));
    assert_eq!(due(&mut discovery, at(0)), ["a"]);
    let changes = answer(&mut discovery, at(0), "a", Some(hello("n1", 2)));
    assert_eq!(changes, [Change::Joined(NodeId::new("n1").unwrap(), place("a"))]);
    discovery
}

#[test]
fn one_missed_answer_removes_nobody_two_minutes_do_and_an_announcement_brings_it_back() {
    let node = NodeId::new("n1").unwrap();
    let mut discovery = joined();
    assert_eq!(due(&mut discovery, at(59)), [""; 0]);
    assert_eq!(due(&mut discovery, at(60)), ["a"]);
    assert_eq!(answer(&mut discovery, at(70), "a", None), [Change::Suspected(node.clone())]);
    assert!(discovery.listens_at(&node).is_none() && discovery.len() == 1);
    assert_eq!(due(&mut discovery, at(71)), ["a"]);
    assert_eq!(answer(&mut discovery, at(71), "a", Some(hello("n1", 2))), [Change::Recovered(node.clone())]);
    assert_eq!(discovery.listens_at(&node).unwrap().port, 8_001);
    // Now it stays away.
    let mut changes = Vec::new();
    for second in 72..400 {
        for host in due(&mut discovery, at(second)) {
            changes.extend(answer(&mut discovery, at(second), &host, None).into_iter().map(|c| (second, c)));
        }
    }
    let [(_, suspected), (second, left)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(*suspected, Change::Suspected(node.clone()));
    assert_eq!(*left, Change::Left(node.clone(), LeaveReason::Unseen));
    assert!(*second > 71 + 120 && *second < 71 + 120 + 31, "{second}");
    assert!(discovery.is_empty() && discovery.next_due().is_none());
    assert!(discovery.learn(at(500), place("a"), Source::Heard, 3));
    assert_eq!(due(&mut discovery, at(500)), ["a"]);
    let changes = answer(&mut discovery, at(500), "a", Some(hello("n1", 3)));
    assert_eq!(changes, [Change::Joined(node, place("a"))]);
}

#[test]
fn the_own_address_and_strangers_are_recognised() {
    let mut discovery = empty();
    for host in ["own", "twin", "other"] {
        discovery.learn(at(0), place(host), Source::Heard, 3);
    }
    assert_eq!(due(&mut discovery, at(0)).len(), 3);
    assert_eq!(answer(&mut discovery, at(0), "own", Some(hello("own", OWN))), []);
    let twin = NodeId::new("own").unwrap();
    assert_eq!(
        answer(&mut discovery, at(0), "twin", Some(hello("own", 9))),
        [Change::Twice(twin, place("twin"))]
    );
    let stranger = Hello { schema: 6, ..hello("n1", 2) };
    assert_eq!(
        answer(&mut discovery, at(0), "other", Some(stranger)),
        [Change::Refused(place("other"), Refusal::Schema)]
    );
    assert!(discovery.is_empty());
}

#[test]
fn two_nodes_of_one_name_are_told_apart_from_one_that_moved() {
    let node = NodeId::new("n1").unwrap();
    let mut discovery = joined();
    discovery.learn(at(10), place("b"), Source::Heard, 3);
    assert_eq!(due(&mut discovery, at(10)), ["b"]);
    // Another engine answers to the same name: is the first still there?
    assert_eq!(answer(&mut discovery, at(10), "b", Some(hello("n1", 3))), []);
    assert_eq!(due(&mut discovery, at(10)), ["a"]);
    assert_eq!(answer(&mut discovery, at(11), "a", Some(hello("n1", 2))), []);
    assert_eq!(due(&mut discovery, at(11)), ["b"]);
    let changes = answer(&mut discovery, at(11), "b", Some(hello("n1", 3)));
    assert_eq!(changes, [Change::Twice(node.clone(), place("b"))]);

    let mut discovery = joined();
    discovery.learn(at(10), place("b"), Source::Heard, 3);
    due(&mut discovery, at(10));
    answer(&mut discovery, at(10), "b", Some(hello("n1", 3)));
    due(&mut discovery, at(10));
    assert_eq!(answer(&mut discovery, at(11), "a", None), [Change::Suspected(node.clone())]);
    assert!(due(&mut discovery, at(11)).contains(&"b".to_owned()));
    let changes = answer(&mut discovery, at(11), "b", Some(hello("n1", 3)));
    assert_eq!(changes[0], Change::Moved(node.clone(), place("b")));
    assert_eq!(discovery.listens_at(&node).unwrap().host.as_str(), "b");
}

#[test]
fn two_nodes_may_change_places() {
    let (n1, n2) = (NodeId::new("n1").unwrap(), NodeId::new("n2").unwrap());
    let mut discovery = joined();
    discovery.learn(at(0), place("b"), Source::Heard, 3);
    due(&mut discovery, at(0));
    answer(&mut discovery, at(0), "b", Some(hello("n2", 3)));
    for second in 60..70 {
        for host in due(&mut discovery, at(second)) {
            let there = if host == "a" { hello("n2", 4) } else { hello("n1", 5) };
            answer(&mut discovery, at(second), &host, Some(there));
        }
    }
    assert_eq!(discovery.listens_at(&n1).unwrap().host.as_str(), "b");
    assert_eq!(discovery.listens_at(&n2).unwrap().host.as_str(), "a");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Announce(usize),
    Wait(u64),
    /// Who answers from now on at an address: nobody, or this node.
    Set(usize, Option<usize>),
    Remove(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6usize).prop_map(Step::Announce),
        6 => (1..50u64).prop_map(Step::Wait),
        4 => (0..6usize, proptest::option::weighted(0.7, 0..4usize)).prop_map(|(a, n)| Step::Set(a, n)),
        1 => (0..4usize).prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn membership_is_bounded_fair_and_heals(steps in proptest::collection::vec(any_step(), 1..60)) {
        const HOSTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let mut discovery = empty();
        let mut there: [Option<usize>; 6] = [None; 6];
        let mut second = 0;
        let mut pass = |discovery: &mut Discovery, there: &[Option<usize>; 6], seconds: u64| {
            for _ in 0..seconds {
                second += 1;
                for host in due(discovery, at(second)) {
                    let place = HOSTS.iter().position(|name| *name == host).unwrap();
                    // Each address has an engine of its own.
                    let hello = there[place].map(|node| hello(&format!("n{node}"), 10 + place as u64));
                    for change in answer(discovery, at(second), &host, hello) {
                        if let Change::Left(node, LeaveReason::Unseen) = change {
                            // It was neither there nor heard of.
                            assert!(discovery.listens_at(&node).is_none());
                        }
                    }
                }
                assert!(discovery.len() <= 3);
            }
            second
        };
        for step in steps {
            match step {
                Step::Announce(place) => {
                    let now = at(pass(&mut discovery, &there, 0));
                    discovery.learn(now, self::place(HOSTS[place]), Source::Heard, 3);
                }
                Step::Wait(seconds) => drop(pass(&mut discovery, &there, seconds)),
                Step::Set(place, node) => there[place] = node,
                Step::Remove(node) => drop(discovery.remove(&NodeId::new(&format!("n{node}")).unwrap())),
            }
        }
        // From now on two nodes are there, each at one address, and announce themselves.
        there = [Some(0), Some(1), None, None, None, None];
        for _ in 0..40 {
            let now = at(pass(&mut discovery, &there, 10));
            for host in ["a", "b"] {
                discovery.learn(now, self::place(host), Source::Heard, 3);
            }
        }
        for (node, host) in [("n0", "a"), ("n1", "b")] {
            let at = discovery.listens_at(&NodeId::new(node).unwrap());
            prop_assert_eq!(at.map(|address| address.host.to_string()), Some(host.to_owned()));
        }
        prop_assert_eq!(discovery.len(), 2);
    }
}
