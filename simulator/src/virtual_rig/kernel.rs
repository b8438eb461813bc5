//! The event kernel: a heap ordered by (time, rank) and a clock that jumps from event to event.
//!
//! Ties in time are broken by rank. Events of the plan bring a rank of their own, below every
//! other, so that their order does not depend on how the plan is written down; all others are
//! ranked in the order in which they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

/// Scheduled events and the present moment.
#[derive(Debug)]
pub struct EventQueue<E> {
    /// (time in µs, rank and place in `events`).
    heap: BinaryHeap<Reverse<(u64, u64)>>,
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
        Self { heap: BinaryHeap::new(), events: Slab::new(), now_us: 0, next_rank: PLAN_RANKS, processed: 0 }
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
        self.heap.len()
    }

    /// Whether none lies ahead.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
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
    pub fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_us, _))| *at_us)
    }

    fn push(&mut self, at_us: u64, rank: u64, event: E) {
        let place = self.events.insert(event) as u64;
        assert!(place <= PLACE_MASK && rank < 1 << 40, "more events than the kernel can tell apart");
        self.heap.push(Reverse((at_us.max(self.now_us), rank << PLACE_BITS | place)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
