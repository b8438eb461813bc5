//! Operations that wait for a slot: three lanes under one bound, and one line for each key.
//!
//! Operations of one key leave in the order of the asking, so only the first of a key is ever looked at by
//! its lane, and it stands aside while another of its key is under way. Every step takes logarithmic time in
//! what waits, whatever waits on one key.

mod line;

use std::collections::BTreeSet;

use slab::Slab;

use super::operation::{KeyIndex, Lane, Operation};
use crate::time::Instant;
use line::{Entry, Lines};

/// Three lanes: critical by earliest deadline first, priority and normal first in, first out.
#[derive(Clone, Debug)]
pub struct Queue {
    entries: Slab<Entry>,
    lines: Lines,
    orders: Box<Orders>,
    capacity: usize,
}

/// By what those that wait are found. Apart from the rest: it is looked at only while something waits, and a session
/// of which nothing does is to be small.
#[derive(Clone, Debug, Default)]
struct Orders {
    lanes: [LaneOrder; 3],
    /// Those with a deadline.
    deadlines: BTreeSet<(Instant, usize)>,
}

/// The operations of one lane in its order.
#[derive(Clone, Debug, Default)]
struct LaneOrder {
    /// The first of their keys, nothing of which is under way.
    ready: BTreeSet<Place>,
    /// All others.
    others: BTreeSet<Place>,
}

/// Where an operation stands in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Urgency in microseconds in the critical lane; in the others the serial by which it got its place.
    rank: u64,
    serial: u64,
    /// Its place among the entries.
    entry: usize,
}

/// How many operations wait in each lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Waiting {
    /// Critical ones, and what goes before them.
    pub critical: usize,
    /// Priority.
    pub priority: usize,
    /// Normal.
    pub normal: usize,
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
        Self { entries: Slab::new(), lines: Lines::default(), orders: Box::default(), capacity }
    }

    /// Operations waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Operations waiting in each lane.
    pub fn waiting(&self) -> Waiting {
        let [normal, priority, critical] = self.orders.lanes.each_ref().map(LaneOrder::len);
        Waiting { critical, priority, normal }
    }

    /// Whether an operation of this key is under way.
    pub fn is_held(&self, key: KeyIndex) -> bool {
        self.lines.is_held(key)
    }

    /// Whether an operation of this key is under way or waits.
    pub fn is_used(&self, key: KeyIndex) -> bool {
        self.lines.is_held(key) || self.lines.first(key).is_some()
    }

    /// An operation of this key is under way: those that wait on it stand aside.
    pub fn hold(&mut self, key: KeyIndex) {
        if !self.lines.set_held(key, true)
            && let Some(first) = self.lines.first(key)
        {
            self.stand(first, false);
        }
    }

    /// Nothing of this key is under way any more.
    pub fn release(&mut self, key: KeyIndex) {
        if self.lines.set_held(key, false)
            && let Some(first) = self.lines.first(key)
        {
            self.stand(first, true);
        }
    }

    /// Lets the operation wait. Where others of its key already do, it replaces the newest of them when it
    /// makes that one pointless, and takes those before it along into its lane. When the queue is full,
    /// `gives_way` says from which lane the newest has to go for an operation of the given lane; without
    /// one, or when that lane is empty, the operation is refused. Room is made before anything moves, so that
    /// what an operation takes along can still give way to it.
    pub fn admit(
        &mut self,
        operation: Operation,
        gives_way: impl FnOnce(Lane, Waiting) -> Option<Lane>,
    ) -> Admission {
        let operation = match self.replace(operation) {
            Ok(replaced) => return Admission::Replaced(Box::new(replaced)),
            Err(operation) => operation,
        };
        let victim = if self.len() < self.capacity {
            None
        } else {
            let lane = gives_way(operation.lane, self.waiting());
            match lane.and_then(|lane| self.orders.lanes[lane as usize].last()) {
                Some(place) => Some(self.remove(place.entry)),
                None => return Admission::Refused(Box::new(operation)),
            }
        };
        self.promote(&operation);
        let rank = rank(&operation);
        self.push(operation, rank);
        victim.map_or(Admission::Admitted, |victim| Admission::Displaced(Box::new(victim)))
    }

    /// Takes the first operation of a lane of whose key nothing is under way, or the newest such. With `hold`
    /// its key is held from then on.
    pub fn take(&mut self, lane: Lane, newest: bool, hold: bool) -> Option<Operation> {
        let entry = self.next(lane, newest)?;
        if hold {
            self.lines.set_held(self.entries[entry].operation.key, true);
        }
        Some(self.remove(entry))
    }

    /// The same, unless the one that would be taken does not pass the test: then none is.
    pub fn take_if(
        &mut self,
        lane: Lane,
        newest: bool,
        hold: bool,
        test: impl FnOnce(&Operation) -> bool,
    ) -> Option<Operation> {
        let entry = self.next(lane, newest)?;
        if test(&self.entries[entry].operation) { self.take(lane, newest, hold) } else { None }
    }

    /// The first of a lane of whose key nothing is under way, or the newest such.
    fn next(&self, lane: Lane, newest: bool) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let ready = &self.orders.lanes[lane as usize].ready;
        Some(if newest { ready.last() } else { ready.first() }?.entry)
    }

    /// Takes a critical operation whose deadline is `now` or past.
    pub fn take_overdue(&mut self, now: Instant) -> Option<Operation> {
        self.earliest_deadline().filter(|deadline| *deadline <= now)?;
        let (_, entry) = *self.orders.deadlines.first()?;
        Some(self.remove(entry))
    }

    /// The earliest deadline of any that wait.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        self.orders.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes everything, in the order of the asking.
    pub fn drain(&mut self) -> Vec<Operation> {
        self.lines.clear();
        *self.orders = Orders::default();
        let mut all: Vec<_> =
            std::mem::take(&mut self.entries).into_iter().map(|(_, entry)| entry.operation).collect();
        all.sort_unstable_by_key(|operation| operation.serial);
        all
    }

    /// Everything that waits, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Operation> {
        self.entries.iter().map(|(_, entry)| &entry.operation)
    }

    /// Lets `newer` in for the newest operation of its key, when that is a write of the same state and
    /// no more urgent; gives `newer` back otherwise. What was asked after an older write, a read, say,
    /// is to see it: so only the newest can be pointless. In the lane of the replaced write `newer`
    /// takes its place (the critical lane goes by deadline), so that a state which changes faster than
    /// its turn comes still gets its turn.
    fn replace(&mut self, newer: Operation) -> Result<Operation, Operation> {
        let newest = self.lines.last(newer.key);
        let Some(newest) = newest.filter(|newest| {
            let older = &self.entries[*newest].operation;
            older.lane <= newer.lane && older.is_replaced_by(&newer)
        }) else {
            return Err(newer);
        };
        let inherited = self.entries[newest].rank;
        let replaced = self.remove(newest);
        let inherits = replaced.lane == newer.lane && newer.lane != Lane::Critical;
        self.promote(&newer);
        let rank = if inherits { inherited } else { rank(&newer) };
        self.push(newer, rank);
        Ok(replaced)
    }

    /// Moves what waits on the key of `urgent` in slower lanes to its lane, in order and with its
    /// urgency, so that it can follow without overtaking them. Among operations of one key, later ones are
    /// never in a more urgent lane than earlier ones, so those that move are the last of the line.
    fn promote(&mut self, urgent: &Operation) {
        let rank = rank(urgent);
        let mut next = self.lines.last(urgent.key);
        while let Some(entry) = next.filter(|entry| self.entries[*entry].operation.lane < urgent.lane) {
            let was_ready = self.leave_lane(entry);
            let Entry { operation, rank: own, before, .. } = &mut self.entries[entry];
            next = *before;
            (operation.lane, operation.urgency, *own) = (urgent.lane, urgent.urgency, rank);
            self.enter_lane(entry, was_ready);
        }
    }

    /// Puts an operation at the end of its key's line and into its lane.
    fn push(&mut self, operation: Operation, rank: u64) {
        let (key, deadline) = (operation.key, operation.deadline);
        let entry = self.entries.insert(Entry { operation, rank, before: None, after: None });
        let is_first = self.lines.append(&mut self.entries, key, entry);
        self.enter_lane(entry, is_first && !self.lines.is_held(key));
        if let Some(deadline) = deadline {
            self.orders.deadlines.insert((deadline, entry));
        }
    }

    /// Takes an operation out of its line and its lane; the next of its key may be ready then.
    fn remove(&mut self, entry: usize) -> Operation {
        let was_ready = self.leave_lane(entry);
        let Entry { operation, before, after, .. } = self.entries.remove(entry);
        self.lines.unlink(&mut self.entries, operation.key, before, after);
        if let Some(next) = after.filter(|_| was_ready && !self.lines.is_held(operation.key)) {
            self.stand(next, true);
        }
        if let Some(deadline) = operation.deadline {
            self.orders.deadlines.remove(&(deadline, entry));
        }
        operation
    }

    /// Moves the first of a key among those of its lane that are ready, or away from them.
    fn stand(&mut self, entry: usize, ready: bool) {
        self.leave_lane(entry);
        self.enter_lane(entry, ready);
    }

    fn enter_lane(&mut self, entry: usize, ready: bool) {
        let (lane, place) = self.place(entry);
        let LaneOrder { ready: first, others } = &mut self.orders.lanes[lane as usize];
        if ready {
            first.insert(place)
        } else {
            others.insert(place)
        };
    }

    /// Says whether it was ready.
    fn leave_lane(&mut self, entry: usize) -> bool {
        let (lane, place) = self.place(entry);
        let LaneOrder { ready, others } = &mut self.orders.lanes[lane as usize];
        let was_ready = ready.remove(&place);
        if !was_ready {
            others.remove(&place);
        }
        was_ready
    }

    fn place(&self, entry: usize) -> (Lane, Place) {
        let Entry { operation, rank, .. } = &self.entries[entry];
        (operation.lane, Place { rank: *rank, serial: operation.serial, entry })
    }
}

impl LaneOrder {
    fn len(&self) -> usize {
        self.ready.len() + self.others.len()
    }

    fn last(&self) -> Option<Place> {
        self.ready.last().max(self.others.last()).copied()
    }
}

/// By what an operation is ordered in its lane.
fn rank(operation: &Operation) -> u64 {
    match operation.lane {
        Lane::Critical => operation.urgency.as_us(),
        Lane::Priority | Lane::Normal => operation.serial,
    }
}

#[cfg(test)]
mod tests;
