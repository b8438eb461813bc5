//! Results of ended operations, remembered within bounds.

use std::collections::VecDeque;

use super::operation::{Operation, Outcome};
use crate::time::{Instant, Span};

/// What a session knows of an operation id. The four answers are different on purpose: a result
/// read too early must not look like a failure, nor one read too late like an operation never asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// Accepted and not ended.
    Pending,
    /// Ended like this.
    Done(&'a Outcome),
    /// Ended, and how is forgotten.
    Expired,
    /// Not an operation of this session.
    Unknown,
}

/// An ended operation. A session remembers very many, so each is kept small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) serial: u64,
    /// The counter in its id; account and incarnation are the session's.
    pub(super) counter: u64,
    pub(super) ticket: u64,
    pub(super) at: Instant,
    /// How it ended, if that is not one of [`PLAIN`].
    other: Option<Box<Outcome>>,
    /// Place in [`PLAIN`] otherwise.
    plain: u8,
    pub(super) critical: bool,
}

/// The outcomes that say it all, the most frequent first.
static PLAIN: [Outcome; 4] =
    [Outcome::Done(None), Outcome::DeadlineExceeded, Outcome::Superseded, Outcome::Displaced];

impl Ended {
    pub(super) fn new(operation: &Operation, at: Instant, outcome: &Outcome) -> Self {
        let plain = PLAIN.iter().position(|plain| plain == outcome);
        Self {
            serial: operation.serial,
            counter: operation.id.counter,
            ticket: operation.ticket,
            at,
            other: plain.is_none().then(|| Box::new(outcome.clone())),
            plain: plain.unwrap_or_default() as u8,
            critical: operation.critical,
        }
    }

    pub(super) fn outcome(&self) -> &Outcome {
        self.other.as_deref().unwrap_or(&PLAIN[usize::from(self.plain)])
    }
}

/// The latest results, at most so many and for so long.
#[derive(Clone, Debug)]
pub(super) struct Results {
    ended: VecDeque<Ended>,
    /// No remembered result ended earlier: looked at with every input, so it is held apart.
    oldest: Instant,
    kept: usize,
    retention: Span,
}

impl Results {
    pub(super) fn new(kept: usize, retention: Span) -> Self {
        Self { ended: VecDeque::new(), oldest: Instant::from_us(0), kept, retention }
    }

    pub(super) fn push(&mut self, ended: Ended) {
        self.forget(ended.at);
        if self.ended.len() >= self.kept {
            self.ended.pop_front();
        }
        if self.kept > 0 {
            if self.ended.len() == self.ended.capacity() {
                // Never more room than results are kept.
                let more = (self.ended.len() * 3).max(4).min(self.kept - self.ended.len());
                self.ended.reserve_exact(more);
            }
            self.ended.push_back(ended);
        }
    }

    /// Forgets what ended longer than the retention ago.
    pub(super) fn forget(&mut self, now: Instant) {
        if now.since(self.oldest) <= self.retention {
            return;
        }
        while self.ended.front().is_some_and(|e| now.since(e.at) > self.retention) {
            self.ended.pop_front();
        }
        self.oldest = self.ended.front().map_or(now, |e| e.at);
    }

    /// The serial of the latest, 0 without any.
    pub(super) fn latest(&self) -> u64 {
        self.ended.back().map_or(0, |ended| ended.serial)
    }

    pub(super) fn by_counter(&self, counter: u64) -> Option<&Ended> {
        self.ended.iter().rev().find(|e| e.counter == counter)
    }

    pub(super) fn by_serial(&self, serial: u64) -> Option<&Ended> {
        self.ended.iter().rev().find(|e| e.serial == serial)
    }
}
