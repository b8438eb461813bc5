//! The event kernel: events ordered by (time, rank) and a clock that jumps from event to event.
//!
//! A heap orders what is due next; what lies further ahead waits in a timing wheel (`wheel`) for its time.
//!
//! Ties in time are broken by rank. Events of the plan bring a rank of their own, below every
//! other, so that their order does not depend on how the plan is written down; all others are
//! ranked in the order in which they were scheduled.

mod wheel;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

use wheel::{Key, Wheel};

/// Scheduled events and the present moment.
#[derive(Debug)]
pub struct EventQueue<E> {
    /// (time in µs, rank and place in `events`) of what is due next: everything up to some moment.
    heap: BinaryHeap<Reverse<Key>>,
    /// Everything after that moment.
    wheel: Wheel,
    events: Slab<E>,
    now_us: u64,
    next_rank: u64,
    processed: u64,
}

const PLACE_BITS: u32 = 24;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
/// Ranks below belong to the plan.
const PLAN_RANKS: u64 = 1 << 39;

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            wheel: Wheel::default(),
            events: Slab::new(),
            now_us: 0,
            next_rank: PLAN_RANKS,
            processed: 0,
        }
    }
}

impl<E> EventQueue<E> {
    /// The present moment, in microseconds since the world's start.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Events taken so far.
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// Events that lie ahead.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none lies ahead.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Schedules an event; one in the past happens now.
    pub fn schedule(&mut self, at_us: u64, event: E) {
        let rank = self.next_rank;
        self.next_rank += 1;
        self.push(at_us, rank, event);
    }

    /// Schedules an event of the plan with its own rank.
    pub fn schedule_planned(&mut self, at_us: u64, rank: u64, event: E) {
        assert!(rank < PLAN_RANKS, "a plan has at most {PLAN_RANKS} actions");
        self.push(at_us, rank, event);
    }

    /// Goes to the next event and takes it.
    pub fn pop(&mut self) -> Option<E> {
        self.look_ahead();
        let Reverse((at_us, key)) = self.heap.pop()?;
        self.now_us = at_us;
        self.processed += 1;
        Some(self.events.remove((key & PLACE_MASK) as usize))
    }

    /// Takes the next event if it is due by `now_us`, with the moment at which it was due; the present moment
    /// becomes `now_us`. For a world that runs in real time and is always a little late.
    pub fn pop_due(&mut self, now_us: u64) -> Option<(u64, E)> {
        let due_us = self.next_us().filter(|due_us| *due_us <= now_us)?;
        let event = self.pop()?;
        self.advance(now_us);
        Some((due_us, event))
    }

    /// Lets time pass up to `now_us`; never goes back.
    pub fn advance(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
    }

    /// When the next event is.
    pub fn next_us(&mut self) -> Option<u64> {
        self.look_ahead();
        self.heap.peek().map(|Reverse((at_us, _))| *at_us)
    }

    /// Brings what is due next into order, if nothing is. Says whether it did.
    pub fn look_ahead(&mut self) -> bool {
        let is_due = self.heap.is_empty();
        if is_due {
            self.wheel.open(&mut self.heap);
        }
        is_due
    }

    /// What is in order already: the next events, in no particular order.
    pub fn coming(&self) -> impl ExactSizeIterator<Item = &E> {
        self.heap.iter().map(|Reverse((_, key))| &self.events[(key & PLACE_MASK) as usize])
    }

    fn push(&mut self, at_us: u64, rank: u64, event: E) {
        let place = self.events.insert(event) as u64;
        assert!(place <= PLACE_MASK && rank < 1 << 40, "more events than the kernel can tell apart");
        let key = (at_us.max(self.now_us), rank << PLACE_BITS | place);
        if self.wheel.is_open(key.0) { self.heap.push(Reverse(key)) } else { self.wheel.push(key) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Moments on both sides of where buckets begin and end, and far beyond the wheel's turn.
    fn moments() -> impl Strategy<Value = u64> {
        prop_oneof![
            0u64..4_000,
            0u64..300_000,
            0u64..40_000_000,
            (0u64..400, 0u64..3).prop_map(|(block, off)| (block << 17) + off - block.min(1)),
            any::<u64>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn events_come_as_from_a_sorted_set(
            steps in prop::collection::vec((moments(), 0usize..3, any::<bool>(), any::<bool>()), 1..120),
        ) {
            let (mut queue, mut sorted, mut now_us) = (EventQueue::default(), BTreeSet::new(), 0);
            for (number, (after_us, pops, is_planned, looks)) in (0u64..).zip(steps) {
                let at_us = u64::saturating_add(now_us, after_us);
                if is_planned {
                    queue.schedule_planned(at_us, 1_000 - number, number);
                    sorted.insert((at_us, 1_000 - number, number));
                } else {
                    queue.schedule(at_us, number);
                    sorted.insert((at_us, PLAN_RANKS + number, number));
                }
                if looks {
                    prop_assert_eq!(queue.next_us(), sorted.first().map(|first| first.0));
                }
                for _ in 0..pops {
                    let first = sorted.pop_first();
                    now_us = first.map_or(now_us, |first| first.0);
                    prop_assert_eq!(queue.pop(), first.map(|first| first.2));
                    prop_assert_eq!((queue.now_us(), queue.len()), (now_us, sorted.len()));
                }
            }
            let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
            prop_assert_eq!(rest, sorted.into_iter().map(|event| event.2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn events_come_by_time_then_plan_rank_then_order_of_scheduling() {
        let mut queue = EventQueue::default();
        queue.schedule(20, "second at 20");
        queue.schedule(10, "first at 10");
        queue.schedule(20, "third at 20");
        queue.schedule_planned(20, 5, "planned at 20");
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["first at 10", "planned at 20", "second at 20", "third at 20"]);
        assert_eq!((queue.now_us(), queue.processed()), (20, 4));
        queue.schedule(3, "in the past");
        queue.pop();
        assert_eq!(queue.now_us(), 20);
    }

    #[test]
    fn in_real_time_an_event_is_taken_late_and_keeps_the_moment_at_which_it_was_due() {
        let mut queue = EventQueue::default();
        queue.schedule(20, "due at 20");
        assert_eq!(queue.pop_due(19), None);
        assert_eq!(queue.pop_due(25), Some((20, "due at 20")));
        assert_eq!(queue.now_us(), 25);
        queue.advance(7);
        assert_eq!(queue.now_us(), 25);
    }
}
