//! What waits and what is under way at a host, as far as events tell: a model of the declared queue.
//!
//! Three lanes; operations of one (map, type) one after another; what is asked on a key after slower work takes
//! that work along into its lane; a newer write of a state that replaces an older one in its lane gets its place.

use sync_core::data_type::SyncDataType;
use sync_core::host_sync::operation::Lane;

use crate::history::{End, What};

/// A map's number and a type.
pub(super) type Key = (u32, SyncDataType);

/// An operation that has not left its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) ticket: u64,
    pub(super) key: Key,
    pub(super) critical: bool,
    pub(super) lane: Lane,
    /// By what it is ordered among those of its lane.
    pub(super) place: u64,
    pub(super) accepted: bool,
    /// How long it has waited for work that is not critical.
    pub(super) blocked_us: u64,
}

/// An operation that has left and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnderWay {
    pub(super) ticket: u64,
    pub(super) key: Key,
    pub(super) critical: bool,
}

/// One host.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// In the order of the asking.
    pub(super) waiting: Vec<Waiter>,
    pub(super) under_way: Vec<UnderWay>,
    /// Reports that have not ended: they have a slot of their own, beside the queue, in which at most one more waits. Each
    /// with whether it was accepted.
    pub(super) reports: Vec<(u64, bool)>,
    /// The latest that was accepted, and what it took along into its lane, each as it stood before.
    latest: Option<u64>,
    taken_along: Vec<Waiter>,
    asked: u64,
}

/// What an event has done to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that matters.
    None,
    /// It was refused before it waited.
    Refused(Waiter),
    /// It is a report, and was refused.
    ReportRefused,
    /// It is a report, and ended or was accepted.
    Report,
    /// It left for the first time.
    Left(Waiter),
    /// It ended without having left.
    EndedWaiting(Waiter, End),
    /// It ended.
    Ended(UnderWay, End),
}

impl Line {
    /// Takes an event of this host.
    pub(super) fn observe(&mut self, what: &What) -> Change {
        match what {
            // A critical one goes the way of all that is critical.
            What::Asked { op, is_report: true, critical: false, .. } => {
                self.reports.push((op.ticket, false));
                Change::None
            }
            What::Accepted { op, .. } if self.report(op.ticket).is_some() => {
                self.report(op.ticket).into_iter().for_each(|report| report.1 = true);
                Change::Report
            }
            What::Refused { op, .. } if self.report(op.ticket).is_some() => {
                self.reports.retain(|report| report.0 != op.ticket);
                Change::ReportRefused
            }
            What::Sent { op, .. } if self.report(op.ticket).is_some() => Change::Report,
            What::Finished { op, .. } if self.report(op.ticket).is_some() => {
                self.reports.retain(|report| report.0 != op.ticket);
                Change::Report
            }
            What::Asked { op, critical, priority, data_type, map, .. } => {
                let lane = match (critical, priority) {
                    (true, _) => Lane::Critical,
                    (false, true) => Lane::Priority,
                    (false, false) => Lane::Normal,
                };
                self.asked += 1;
                self.waiting.push(Waiter {
                    ticket: op.ticket,
                    key: (*map, *data_type),
                    critical: *critical,
                    lane,
                    place: self.asked,
                    accepted: false,
                    blocked_us: 0,
                });
                Change::None
            }
            What::Accepted { op, .. } => {
                if let Some(at) = self.find(op.ticket) {
                    self.waiting[at].accepted = true;
                    let Waiter { key, lane, place, .. } = self.waiting[at];
                    self.latest = Some(op.ticket);
                    self.taken_along.clear();
                    self.taken_along
                        .extend(self.waiting[..at].iter().filter(|w| w.key == key && w.lane < lane).copied());
                    for before in self.waiting[..at].iter_mut().filter(|w| w.key == key && w.lane < lane) {
                        (before.lane, before.place) = (lane, place);
                    }
                }
                Change::None
            }
            What::Refused { op, .. } => self.take(op.ticket).map_or(Change::None, Change::Refused),
            What::Sent { op, attempt: 1, .. } => match self.take(op.ticket) {
                Some(waiter) => {
                    let Waiter { ticket, key, critical, .. } = waiter;
                    self.under_way.push(UnderWay { ticket, key, critical });
                    Change::Left(waiter)
                }
                None => Change::None,
            },
            What::Finished { op, end, .. } => {
                if let Some(waiter) = self.take(op.ticket) {
                    if *end == End::Superseded {
                        self.inherit(&waiter);
                    }
                    return Change::EndedWaiting(waiter, *end);
                }
                match self.under_way.iter().position(|other| other.ticket == op.ticket) {
                    Some(at) => Change::Ended(self.under_way.swap_remove(at), *end),
                    None => Change::None,
                }
            }
            _ => Change::None,
        }
    }

    /// A waiter as it stood before the latest operation was accepted: whoever has to give way to that one is
    /// chosen before anything moves. None for that one itself.
    pub(super) fn before_latest(&self, waiter: &Waiter) -> Option<Waiter> {
        let taken_along = self.taken_along.iter().find(|before| before.ticket == waiter.ticket);
        (self.latest != Some(waiter.ticket)).then(|| taken_along.copied().unwrap_or(*waiter))
    }

    /// Whether something of this key is under way.
    pub(super) fn is_busy(&self, key: Key) -> bool {
        self.under_way.iter().any(|other| other.key == key)
    }

    fn report(&mut self, ticket: u64) -> Option<&mut (u64, bool)> {
        self.reports.iter_mut().find(|report| report.0 == ticket)
    }

    fn find(&self, ticket: u64) -> Option<usize> {
        self.waiting.iter().rposition(|waiter| waiter.ticket == ticket)
    }

    fn take(&mut self, ticket: u64) -> Option<Waiter> {
        self.find(ticket).map(|at| self.waiting.remove(at))
    }

    /// The write that replaces this one was asked just before and is not accepted yet.
    fn inherit(&mut self, older: &Waiter) {
        if let Some(heir) = self.waiting.last_mut().filter(|heir| !heir.accepted && heir.key == older.key)
            && heir.lane == older.lane
            && heir.lane != Lane::Critical
        {
            heir.place = older.place;
        }
    }
}

/// The host that a node's name means.
pub(super) fn host_of(node: &str) -> Option<u32> {
    node.strip_prefix("host ")?.parse().ok()
}
