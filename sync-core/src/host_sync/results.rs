//! Results of ended operations, remembered within bounds.

use std::collections::VecDeque;

use super::operation::Outcome;
use crate::id::OperationId;
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

/// An ended operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) serial: u64,
    pub(super) id: OperationId,
    pub(super) ticket: u64,
    pub(super) critical: bool,
    pub(super) at: Instant,
    pub(super) outcome: Outcome,
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

    pub(super) fn by_id(&self, id: OperationId) -> Option<&Ended> {
        self.ended.iter().rev().find(|e| e.id == id)
    }

    pub(super) fn by_serial(&self, serial: u64) -> Option<&Ended> {
        self.ended.iter().rev().find(|e| e.serial == serial)
    }
}
