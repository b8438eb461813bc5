use proptest::prelude::*;

use super::*;
use crate::peer_sync::message::{Asker, PROTOCOL, ProtocolRange};
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
fn who_spoke_while_a_hello_was_lost_is_asked_again_soon() {
    let mut discovery = empty();
    assert!(discovery.learn(at(0), place("a"), Source::Given, 3));
    let mut last = 0;
    for second in 0..300 {
        if due(&mut discovery, at(second)) == ["a"] {
            answer(&mut discovery, at(second), "a", None);
            last = second;
        }
    }
    let waits =
        |discovery: &Discovery, since| discovery.next_due().unwrap().since(at(since).monotonic).as_us();
    assert!(waits(&discovery, last) > 10_000_000, "it has been silent for long");
    while due(&mut discovery, at(last)).is_empty() {
        last += 1;
    }
    // The hello is lost, and meanwhile it comes back and asks itself.
    assert!(discovery.learn(at(last + 5), place("a"), Source::Heard, 3));
    answer(&mut discovery, at(last + 10), "a", None);
    assert!(waits(&discovery, last + 10) <= 1_000_000);
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
    // However many answers are missed, it is there until it was not seen for two minutes.
    let mut changes = Vec::new();
    let mut missed = 1;
    for second in 11..200 {
        for host in due(&mut discovery, at(second)) {
            let there = (host == "b").then(|| hello("n1", 3));
            missed += u32::from(there.is_none());
            changes.extend(answer(&mut discovery, at(second), &host, there));
            assert!(changes.is_empty() || (missed > limits::PEER_MOVED_MISSES && second > 120), "{second}");
        }
    }
    let gone = [Change::Left(node.clone(), LeaveReason::Unseen), Change::Joined(node.clone(), place("b"))];
    assert!(changes == gone || changes == [Change::Moved(node.clone(), place("b"))], "{changes:?}");
    assert_eq!(discovery.listens_at(&node).unwrap().host.as_str(), "b");
}

#[test]
fn lost_probes_do_not_make_a_twin_the_first() {
    let node = NodeId::new("n1").unwrap();
    let mut discovery = joined();
    discovery.learn(at(10), place("b"), Source::Given, 3);
    // Of the first's answers one in ten comes, and none in the first minute.
    let (mut asked, mut changes) = (0, Vec::new());
    for second in 10..600 {
        for host in due(&mut discovery, at(second)) {
            asked += u32::from(host == "a");
            let lost = second < 70 || asked % 10 != 0;
            let there = match host.as_str() {
                "a" => (!lost).then(|| hello("n1", 2)),
                _ => Some(hello("n1", 3)),
            };
            changes.extend(answer(&mut discovery, at(second), &host, there));
        }
        // Its own questions come through.
        if second % 30 == 0 {
            let _ = admit(&mut discovery, second, &asker("n1", 2));
        }
    }
    assert!(changes.contains(&Change::Twice(node.clone(), place("b"))), "{changes:?}");
    let takes = |change: &Change| matches!(change, Change::Moved(..) | Change::Joined(..) | Change::Left(..));
    assert!(!changes.iter().any(takes), "{changes:?}");
}

fn asker(node: &str, instance: u64) -> Asker {
    let (node, whom) = (NodeId::new(node).unwrap(), NodeId::new("own").ok());
    Asker { node, instance: Some(Incarnation(instance)), protocol: PROTOCOL, whom }
}

fn admit(discovery: &mut Discovery, second: u64, asker: &Asker) -> Result<(), Denied> {
    let settings = settings();
    discovery.admit(at(second), asker, &Rules { policy: &Standard, settings: &settings, draw: 0 })
}

/// Two engines are called n1; the one at `a` was there first.
fn twins() -> Discovery {
    let mut discovery = joined();
    discovery.learn(at(10), place("b"), Source::Given, 3);
    for (second, host, instance) in [(10, "b", 3), (11, "a", 2), (12, "b", 3)] {
        due(&mut discovery, at(second));
        answer(&mut discovery, at(second), host, Some(hello("n1", instance)));
    }
    discovery
}

#[test]
fn the_second_engine_of_a_name_is_answered_nothing_and_stays_the_second() {
    let node = NodeId::new("n1").unwrap();
    let mut discovery = joined();
    assert_eq!(admit(&mut discovery, 1, &asker("n1", 2)), Ok(()));
    assert_eq!(admit(&mut discovery, 1, &asker("n1", 3)), Err(Denied::Later), "who is it?");
    assert_eq!(due(&mut discovery, at(1)), ["a"], "the first is asked whether it is still there");
    let mut discovery = twins();
    let refused = Err(Denied::Refused(Refusal::SameNode));
    assert_eq!(admit(&mut discovery, 12, &asker("n1", 3)), refused);
    assert_eq!(admit(&mut discovery, 12, &asker("n1", 2)), Ok(()));
    assert_eq!(admit(&mut discovery, 12, &Asker::documented(node.clone())), Ok(()), "no engine at all");
    let settings = settings();
    let rules = Rules { policy: &Standard, settings: &settings, draw: 0 };
    assert_eq!(discovery.judge(&hello("n1", 3), &rules), Err(Refusal::SameNode));
    // The first one is gone: who was the second does not take its place before it starts again.
    let mut changes = Vec::new();
    for second in 13..200 {
        for host in due(&mut discovery, at(second)) {
            let there = (host == "b").then(|| hello("n1", 3));
            changes.extend(answer(&mut discovery, at(second), &host, there));
        }
    }
    assert!(changes.contains(&Change::Twice(node.clone(), place("b"))), "{changes:?}");
    assert!(discovery.listens_at(&node).is_none(), "{changes:?}");
    due(&mut discovery, at(300));
    answer(&mut discovery, at(300), "b", Some(hello("n1", 4)));
    assert_eq!(discovery.listens_at(&node).unwrap().host.as_str(), "b");
    assert_eq!(admit(&mut discovery, 300, &asker("n1", 4)), Ok(()));
}

#[test]
fn who_was_taken_for_the_double_is_the_peer_once_the_other_gives_the_name_up() {
    let node = NodeId::new("n1").unwrap();
    let mut discovery = twins();
    let mut changes = Vec::new();
    for second in 13..100 {
        for host in due(&mut discovery, at(second)) {
            let there = if host == "a" { hello("n2", 7) } else { hello("n1", 3) };
            changes.extend(answer(&mut discovery, at(second), &host, Some(there)));
        }
    }
    changes.retain(|change| !matches!(change, Change::Twice(..)));
    let other = Change::Joined(NodeId::new("n2").unwrap(), place("a"));
    let left = Change::Left(node.clone(), LeaveReason::Replaced);
    assert_eq!(
        changes,
        [left, other, Change::Joined(node.clone(), place("b")), Change::Mistaken(node.clone())]
    );
    assert_eq!(discovery.listens_at(&node).unwrap().host.as_str(), "b");
    assert_eq!(admit(&mut discovery, 100, &asker("n1", 3)), Ok(()));
}

#[test]
fn who_started_again_where_it_was_is_known_by_its_hello() {
    let mut discovery = joined();
    discovery.greeted(at(5), &place("a"), &hello("n1", 7));
    assert_eq!(admit(&mut discovery, 5, &asker("n1", 7)), Ok(()));
    assert_eq!(admit(&mut discovery, 5, &asker("n1", 2)), Err(Denied::Later));
    // From elsewhere a hello proves nothing.
    discovery.greeted(at(6), &place("b"), &hello("n1", 8));
    assert_eq!(admit(&mut discovery, 6, &asker("n1", 8)), Err(Denied::Later));
}

#[test]
fn of_those_who_answer_nowhere_the_first_is_heard_until_it_is_silent_for_long() {
    let mut discovery = empty();
    assert_eq!(admit(&mut discovery, 0, &asker("far", 1)), Ok(()));
    assert_eq!(admit(&mut discovery, 60, &asker("far", 2)), Err(Denied::Later));
    assert_eq!(admit(&mut discovery, 100, &asker("far", 1)), Ok(()));
    assert_eq!(admit(&mut discovery, 220, &asker("far", 2)), Err(Denied::Later));
    assert_eq!(admit(&mut discovery, 221, &asker("far", 2)), Ok(()));
    assert_eq!(admit(&mut discovery, 221, &asker("own", 2)), Err(Denied::Refused(Refusal::SameNode)));
    for other in 0..limits::PEERS_MAX {
        let _ = admit(&mut discovery, 222, &asker(&format!("n{other}"), 1));
    }
    assert_eq!(admit(&mut discovery, 222, &asker("more", 1)), Err(Denied::Later), "there are enough");
    assert_eq!(admit(&mut discovery, 400, &asker("more", 1)), Ok(()));
}

#[test]
fn who_asks_another_or_speaks_no_common_version_is_refused() {
    let mut discovery = joined();
    let newer = ProtocolRange { oldest: PROTOCOL.newest + 1, newest: PROTOCOL.newest + 2 };
    let refused = Denied::Refused(Refusal::Protocol);
    let another = Asker { whom: NodeId::new("n9").ok(), ..asker("n1", 2) };
    assert_eq!(admit(&mut discovery, 1, &another), Err(Denied::Refused(Refusal::AnotherNode)));
    assert_eq!(admit(&mut discovery, 1, &Asker { protocol: newer, ..asker("n1", 2) }), Err(refused));
    let changes = answer(&mut discovery, at(60), "a", Some(Hello { protocol: newer, ..hello("n1", 3) }));
    let node = NodeId::new("n1").unwrap();
    assert_eq!(
        changes,
        [Change::Left(node.clone(), LeaveReason::Refused), Change::Refused(place("a"), Refusal::Protocol)]
    );
    let both = ProtocolRange { oldest: PROTOCOL.oldest, newest: newer.newest };
    discovery.learn(at(70), place("a"), Source::Heard, 3);
    let changes = answer(&mut discovery, at(70), "a", Some(Hello { protocol: both, ..hello("n1", 4) }));
    assert_eq!(changes, [Change::Joined(node, place("a"))]);
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

#[test]
fn a_claim_is_counted_from_its_own_beginning() {
    let n1 = NodeId::new("n1").unwrap();
    let mut discovery = joined();
    for (host, node) in [("b", "n2"), ("c", "n2")] {
        discovery.learn(at(0), place(host), Source::Heard, 3);
        due(&mut discovery, at(0));
        answer(&mut discovery, at(0), host, Some(hello(node, if host == "b" { 3 } else { 4 })));
    }
    // At "c" somebody claimed n2; it is n1 now, that was last seen at "a" after that claim.
    discovery.refresh(at(1).monotonic);
    assert_eq!(due(&mut discovery, at(1)), ["a", "b", "c"]);
    answer(&mut discovery, at(1), "a", Some(hello("n1", 2)));
    answer(&mut discovery, at(1), "c", Some(hello("n1", 5)));
    answer(&mut discovery, at(1), "b", Some(hello("n2", 3)));
    for second in 2..300 {
        for host in due(&mut discovery, at(second)) {
            let there = match host.as_str() {
                "a" => None,
                "b" => Some(hello("n2", 3)),
                _ => Some(hello("n1", 5)),
            };
            answer(&mut discovery, at(second), &host, there);
        }
        discovery.learn(at(second), place("c"), Source::Heard, 3);
    }
    assert_eq!(discovery.listens_at(&n1).unwrap().host.as_str(), "c");
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
        // Which node's engine, and the life of that engine.
        let mut there: [Option<(usize, u64)>; 6] = [None; 6];
        let mut lives = 10;
        let mut second = 0;
        let mut pass = |discovery: &mut Discovery, there: &[Option<(usize, u64)>; 6], seconds: u64| {
            for _ in 0..seconds {
                second += 1;
                for host in due(discovery, at(second)) {
                    let place = HOSTS.iter().position(|name| *name == host).unwrap();
                    let hello = there[place].map(|(node, life)| hello(&format!("n{node}"), life));
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
                Step::Set(place, node) => {
                    lives += 1;
                    there[place] = node.map(|node| (node, lives));
                }
                Step::Remove(node) => drop(discovery.remove(&NodeId::new(&format!("n{node}")).unwrap())),
            }
        }
        // From now on two nodes are there, each at one address, and announce themselves.
        there = [Some((0, 1_000)), Some((1, 1_001)), None, None, None, None];
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
