use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::host_sync::operation::test_operation;
use crate::host_sync::policy::{SessionPolicy as _, Standard};

fn lane(number: u8) -> Lane {
    [Lane::Normal, Lane::Priority, Lane::Critical][usize::from(number % 3)]
}

/// An operation on a key of its own.
fn alone(serial: u64, lane: Lane) -> Operation {
    Operation { key: KeyIndex(serial as u32 + 100), ..test_operation(serial, lane) }
}

fn admit(queue: &mut Queue, operation: Operation) -> Admission {
    queue.admit(operation, |lane, waiting| Standard.gives_way(lane, waiting))
}

fn queue(capacity: usize, lanes: &[Lane]) -> Queue {
    let mut queue = Queue::new(capacity);
    for (serial, lane) in lanes.iter().enumerate() {
        assert_eq!(admit(&mut queue, alone(serial as u64, *lane)), Admission::Admitted);
    }
    queue
}

/// Serials of who is displaced, or of the newcomer when it is refused.
fn overflow(lanes: &[Lane], newcomer: Lane) -> (u64, bool) {
    let mut queue = queue(lanes.len(), lanes);
    match admit(&mut queue, alone(99, newcomer)) {
        Admission::Displaced(victim) => (victim.serial, true),
        Admission::Refused(refused) => (refused.serial, false),
        other => panic!("the queue was full of events: {other:?}"),
    }
}

#[test]
fn a_full_queue_gives_way_from_below() {
    use Lane::{Critical, Normal, Priority};
    assert_eq!(overflow(&[Normal, Normal], Normal), (99, false));
    assert_eq!(overflow(&[Normal, Normal, Priority], Priority), (1, true));
    assert_eq!(overflow(&[Priority, Priority], Priority), (99, false));
    assert_eq!(overflow(&[Normal, Normal, Priority], Critical), (1, true));
    assert_eq!(overflow(&[Priority, Priority, Critical], Critical), (1, true));
    assert_eq!(overflow(&[Critical, Critical], Critical), (99, false));
}

#[test]
fn promotion_keeps_the_order_of_a_key() {
    let mut queue = Queue::new(10);
    for (serial, lane) in [(0, Lane::Normal), (1, Lane::Normal)] {
        admit(&mut queue, test_operation(serial, lane));
    }
    admit(&mut queue, alone(2, Lane::Critical));
    assert_eq!(admit(&mut queue, test_operation(3, Lane::Critical)), Admission::Admitted);
    assert_eq!(queue.waiting(), Waiting { critical: 4, ..Waiting::default() });
    let order: Vec<_> =
        std::iter::from_fn(|| queue.take(Lane::Critical, false, false)).map(|o| o.serial).collect();
    assert_eq!(order, [2, 0, 1, 3]);
}

#[test]
fn a_held_key_stands_aside_until_it_is_released() {
    let mut queue = queue(10, &[Lane::Normal, Lane::Normal]);
    admit(&mut queue, Operation { key: KeyIndex(100), ..test_operation(2, Lane::Normal) });
    assert_eq!(queue.take(Lane::Normal, false, true).map(|o| o.serial), Some(0));
    assert_eq!(queue.take(Lane::Normal, false, true).map(|o| o.serial), Some(1));
    assert_eq!(queue.take(Lane::Normal, false, true), None);
    queue.release(KeyIndex(100));
    assert_eq!(queue.take(Lane::Normal, false, true).map(|o| o.serial), Some(2));
    assert!(queue.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Never above its bound, nothing lost, nothing twice; each lane in its own order.
    #[test]
    fn whatever_enters_leaves_once(capacity in 1usize..12, steps in prop::collection::vec((0u8..3, any::<bool>()), 1..80)) {
        let mut queue = Queue::new(capacity);
        let mut gone = Vec::new();
        let mut asked = 0u64;
        for (number, take) in steps {
            if take {
                let waiting = queue.iter().filter(|o| o.lane == lane(number)).map(|o| o.serial).min();
                let taken = queue.take(lane(number), false, true).map(|o| o.serial);
                prop_assert_eq!(taken, waiting);
                gone.extend(taken);
            } else {
                let full = queue.len() == capacity;
                match admit(&mut queue, alone(asked, lane(number))) {
                    Admission::Admitted => prop_assert!(!full),
                    Admission::Replaced(_) => prop_assert!(false, "events are never replaced"),
                    Admission::Displaced(victim) => {
                        prop_assert!(full && victim.lane < lane(number));
                        gone.push(victim.serial);
                    }
                    Admission::Refused(refused) => {
                        prop_assert!(full && refused.serial == asked);
                        prop_assert!(queue.iter().all(|o| o.lane >= lane(number)));
                        gone.push(refused.serial);
                    }
                }
                asked += 1;
            }
            prop_assert!(queue.len() <= capacity);
        }
        gone.extend(queue.drain().iter().map(|o| o.serial));
        gone.sort_unstable();
        prop_assert_eq!(gone, (0..asked).collect::<Vec<_>>());
    }

    /// Few keys, held and released at random: every key's operations leave in the order of the asking, and
    /// what a lane gives is the first that a plain search through everything finds.
    #[test]
    fn it_behaves_as_a_plain_search(steps in prop::collection::vec((0u8..6, 0u32..3, 0u8..3), 1..120)) {
        let mut queue = Queue::new(1_000);
        let mut held = [false; 3];
        let mut left: BTreeMap<u32, u64> = BTreeMap::new();
        for (serial, (step, key, number)) in (0u64..).zip(steps) {
            match step {
                0..=2 => {
                    let operation = Operation { key: KeyIndex(key), ..test_operation(serial, lane(number)) };
                    admit(&mut queue, operation);
                }
                3 => {
                    queue.release(KeyIndex(key));
                    held[key as usize] = false;
                }
                4 => {
                    queue.hold(KeyIndex(key));
                    held[key as usize] = true;
                }
                _ => {
                    let first_of_key = |o: &&Operation| {
                        queue.iter().filter(|other| other.key == o.key).all(|other| other.serial >= o.serial)
                    };
                    let expected = queue
                        .iter()
                        .filter(|o| o.lane == lane(number) && !held[o.key.0 as usize])
                        .filter(first_of_key)
                        .map(|o| (queue.entries.iter().find(|(_, e)| e.operation.serial == o.serial).map(|(_, e)| e.rank), o.serial))
                        .min();
                    let taken = queue.take(lane(number), false, true);
                    prop_assert_eq!(taken.as_ref().map(|o| o.serial), expected.map(|(_, serial)| serial));
                    if let Some(taken) = taken {
                        held[taken.key.0 as usize] = true;
                        let last = left.insert(taken.key.0, taken.serial);
                        prop_assert!(last.is_none_or(|last| last < taken.serial));
                    }
                }
            }
            let counted = queue.waiting();
            prop_assert_eq!(counted.critical + counted.priority + counted.normal, queue.len());
        }
    }

    /// The critical lane is by earliest deadline, whatever the order of arrival.
    #[test]
    fn the_critical_lane_is_earliest_deadline_first(deadlines in prop::collection::vec(0u64..1_000, 1..40)) {
        let mut queue = Queue::new(100);
        for (serial, deadline) in deadlines.iter().enumerate() {
            let mut operation = alone(serial as u64, Lane::Critical);
            operation.deadline = Some(Instant::from_us(*deadline));
            operation.urgency = Instant::from_us(*deadline);
            prop_assert_eq!(admit(&mut queue, operation), Admission::Admitted);
        }
        prop_assert_eq!(queue.earliest_deadline(), deadlines.iter().min().map(|us| Instant::from_us(*us)));
        let order: Vec<_> =
            std::iter::from_fn(|| queue.take(Lane::Critical, false, true)).map(|o| (o.urgency, o.serial)).collect();
        prop_assert!(order.windows(2).all(|w| w[0] < w[1]));
    }
}
