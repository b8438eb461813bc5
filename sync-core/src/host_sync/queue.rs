//! Operations that wait for a slot: three lanes under one bound.

use std::collections::VecDeque;

use super::operation::{Lane, Operation};
use crate::limits;
use crate::time::Instant;

/// Three lanes: critical by earliest deadline first, priority and normal first in, first out.
#[derive(Clone, Debug)]
pub struct Queue {
    critical: VecDeque<Operation>,
    priority: VecDeque<Operation>,
    normal: VecDeque<Operation>,
    capacity: usize,
}

/// What became of an operation that wanted to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits.
    Admitted,
    /// It waits, and this older write of the same state has become pointless.
    Replaced(Box<Operation>),
    /// It waits in the place of this one.
    Displaced(Box<Operation>),
    /// It is refused: the queue is full of what is at least as urgent.
    Refused(Box<Operation>),
}

impl Queue {
    /// An empty queue for `capacity` operations.
    pub fn new(capacity: usize) -> Self {
        Self { critical: VecDeque::new(), priority: VecDeque::new(), normal: VecDeque::new(), capacity }
    }

    /// Operations waiting.
    pub fn len(&self) -> usize {
        self.critical.len() + self.priority.len() + self.normal.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Operations waiting in one lane.
    pub fn lane_len(&self, lane: Lane) -> usize {
        self.lane(lane).len()
    }

    /// Lets the operation wait. When the queue is full: normal is refused; priority displaces the
    /// newest normal, else is refused; critical displaces the newest normal, then the newest
    /// priority, else is refused.
    pub fn admit(&mut self, operation: Operation) -> Admission {
        self.admit_with(operation, |_, _| ())
    }

    /// Lets an operation wait where others of its key already do: it replaces the newest of them when
    /// it makes that one pointless, and takes those before it along into its lane. Room is made before
    /// anything moves, so that what it takes along can still give way to it.
    pub fn admit_following(&mut self, operation: Operation) -> Admission {
        match self.replace(operation) {
            Ok(replaced) => Admission::Replaced(Box::new(replaced)),
            Err(operation) => self.admit_with(operation, Self::promote),
        }
    }

    fn admit_with(&mut self, operation: Operation, prepare: impl FnOnce(&mut Self, &Operation)) -> Admission {
        let victim = if self.len() < self.capacity {
            None
        } else {
            let victim = match operation.lane {
                Lane::Normal => None,
                Lane::Priority => self.normal.pop_back(),
                Lane::Critical => self.normal.pop_back().or_else(|| self.priority.pop_back()),
            };
            if victim.is_none() {
                return Admission::Refused(Box::new(operation));
            }
            victim
        };
        prepare(self, &operation);
        self.insert(operation);
        victim.map_or(Admission::Admitted, |victim| Admission::Displaced(Box::new(victim)))
    }

    /// Takes the first operation of a lane that `ready` lets pass, looking past a bounded number of others.
    pub fn take(&mut self, lane: Lane, mut ready: impl FnMut(&Operation) -> bool) -> Option<Operation> {
        let lane = self.lane_mut(lane);
        let at = lane.iter().take(limits::DISPATCH_SCAN_MAX).position(&mut ready)?;
        lane.remove(at)
    }

    /// Takes a critical operation whose deadline is `now` or past.
    pub fn take_overdue(&mut self, now: Instant) -> Option<Operation> {
        let at = self
            .critical
            .iter()
            .take_while(|operation| operation.urgency <= now)
            .position(|operation| operation.deadline.is_some_and(|deadline| deadline <= now))?;
        self.critical.remove(at)
    }

    /// The earliest deadline of any that wait.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        self.critical.iter().find_map(|operation| operation.deadline)
    }

    /// Lets `newer` in for the newest operation of its key, when that is a write of the same state and
    /// no more urgent; gives `newer` back otherwise. What was asked after an older write, a read, say,
    /// is to see it: so only the newest can be pointless. In the lane of the replaced write `newer`
    /// takes its place (the critical lane goes by deadline), so that a state which changes faster than
    /// its turn comes still gets its turn.
    fn replace(&mut self, newer: Operation) -> Result<Operation, Operation> {
        // Among operations of one key, later ones are never in a more urgent lane than earlier ones.
        let newest = [Lane::Normal, Lane::Priority, Lane::Critical].into_iter().find_map(|lane| {
            self.lane(lane).iter().rposition(|older| older.key == newer.key).map(|at| (lane, at))
        });
        let Some((lane, at)) = newest.filter(|(lane, _)| *lane <= newer.lane) else { return Err(newer) };
        if !self.lane(lane)[at].is_replaced_by(&newer) {
            return Err(newer);
        }
        if lane == newer.lane && lane != Lane::Critical {
            return Ok(std::mem::replace(&mut self.lane_mut(lane)[at], newer));
        }
        match self.lane_mut(lane).remove(at) {
            Some(replaced) => {
                self.promote(&newer);
                self.insert(newer);
                Ok(replaced)
            }
            None => Err(newer),
        }
    }

    /// Moves what waits on the key of `urgent` in slower lanes to its lane, in order and with its
    /// urgency, so that it can follow without overtaking them.
    fn promote(&mut self, urgent: &Operation) {
        for slower in [Lane::Priority, Lane::Normal].into_iter().filter(|lane| *lane < urgent.lane) {
            let (promoted, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(self.lane_mut(slower))
                .into_iter()
                .partition(|operation| operation.key == urgent.key);
            *self.lane_mut(slower) = left;
            for mut operation in promoted {
                operation.lane = urgent.lane;
                operation.urgency = urgent.urgency;
                self.insert(operation);
            }
        }
    }

    /// Takes everything, in the order of the asking.
    pub fn drain(&mut self) -> Vec<Operation> {
        let mut all: Vec<_> = [&mut self.critical, &mut self.priority, &mut self.normal]
            .into_iter()
            .flat_map(|lane| lane.drain(..))
            .collect();
        all.sort_by_key(|operation| operation.serial);
        all
    }

    /// Everything that waits: critical, then priority, then normal.
    pub fn iter(&self) -> impl Iterator<Item = &Operation> {
        self.critical.iter().chain(&self.priority).chain(&self.normal)
    }

    fn insert(&mut self, operation: Operation) {
        match operation.lane {
            Lane::Critical => self.insert_critical(operation),
            Lane::Priority => self.priority.push_back(operation),
            Lane::Normal => self.normal.push_back(operation),
        }
    }

    fn insert_critical(&mut self, operation: Operation) {
        let rank = (operation.urgency, operation.serial);
        let at = match self.critical.back() {
            Some(last) if (last.urgency, last.serial) > rank => {
                self.critical.partition_point(|other| (other.urgency, other.serial) < rank)
            }
            _ => self.critical.len(),
        };
        self.critical.insert(at, operation);
    }

    fn lane(&self, lane: Lane) -> &VecDeque<Operation> {
        match lane {
            Lane::Critical => &self.critical,
            Lane::Priority => &self.priority,
            Lane::Normal => &self.normal,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut VecDeque<Operation> {
        match lane {
            Lane::Critical => &mut self.critical,
            Lane::Priority => &mut self.priority,
            Lane::Normal => &mut self.normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host_sync::operation::test_operation;

    fn lane(number: u8) -> Lane {
        [Lane::Normal, Lane::Priority, Lane::Critical][usize::from(number % 3)]
    }

    fn queue(capacity: usize, lanes: &[Lane]) -> Queue {
        let mut queue = Queue::new(capacity);
        for (serial, lane) in lanes.iter().enumerate() {
            assert_eq!(queue.admit(test_operation(serial as u64, *lane)), Admission::Admitted);
        }
        queue
    }

    /// Serials of who is displaced, or of the newcomer when it is refused.
    fn overflow(lanes: &[Lane], newcomer: Lane) -> (u64, bool) {
        let mut queue = queue(lanes.len(), lanes);
        match queue.admit(test_operation(99, newcomer)) {
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
        let mut queue = queue(10, &[Lane::Normal, Lane::Normal, Lane::Critical]);
        let urgent = test_operation(3, Lane::Critical);
        assert_eq!(queue.admit_following(urgent), Admission::Admitted);
        let order: Vec<_> =
            std::iter::from_fn(|| queue.take(Lane::Critical, |_| true)).map(|o| o.serial).collect();
        assert_eq!(order, [2, 0, 1, 3]);
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
                    let before: Vec<_> = queue.iter().filter(|o| o.lane == lane(number)).map(|o| o.serial).collect();
                    let taken = queue.take(lane(number), |_| true).map(|o| o.serial);
                    prop_assert_eq!(taken, before.first().copied());
                    gone.extend(taken);
                } else {
                    let full = queue.len() == capacity;
                    match queue.admit(test_operation(asked, lane(number))) {
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

        /// The critical lane is by earliest deadline, whatever the order of arrival.
        #[test]
        fn the_critical_lane_is_earliest_deadline_first(deadlines in prop::collection::vec(0u64..1_000, 1..40)) {
            let mut queue = Queue::new(100);
            for (serial, deadline) in deadlines.iter().enumerate() {
                let mut operation = test_operation(serial as u64, Lane::Critical);
                operation.deadline = Some(Instant::from_us(*deadline));
                operation.urgency = Instant::from_us(*deadline);
                prop_assert_eq!(queue.admit(operation), Admission::Admitted);
            }
            let order: Vec<_> = std::iter::from_fn(|| queue.take(Lane::Critical, |_| true)).map(|o| (o.urgency, o.serial)).collect();
            prop_assert!(order.windows(2).all(|w| w[0] < w[1]));
        }
    }
}
