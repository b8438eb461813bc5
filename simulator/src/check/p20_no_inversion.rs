//! P20: no priority inversion and no starvation.
//!
//! - Nobody is passed over: an operation leaves only when none waits that is in a more urgent lane, or in the
//!   same and before it, and whose key is free.
//! - A critical operation waits no longer than the blocking bound that the scenario states while neither critical
//!   operations hold all the slots reserved for such, nor one of its own key goes before it.
//! - Where the scenario states a bound on it, the work of a host that is not critical never stands still longer.

use sync_core::host_sync::operation::Lane;

use super::line::{Change, Line, Waiter, host_of};
use super::rows::Rows;
use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{End, Event, Kind, OpRef, What};

pub(super) struct NoInversion {
    critical_slots: usize,
    blocking_us_max: u64,
    stall_us_max: Option<u64>,
    hosts: Rows<Host>,
    /// Operations that left while others waited; critical ones, and where standing still is bounded all.
    judged: u64,
    longest_us: u64,
    last_us: u64,
}

#[derive(Default)]
struct Host {
    line: Line,
    /// The moment up to which waiting has been counted.
    counted_us: u64,
    /// Operations that are not critical and have not ended.
    normal_open: usize,
    /// Since when none of them has been done.
    idle_since_us: u64,
}

impl NoInversion {
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            critical_slots: terms.critical_slots.max(1),
            blocking_us_max: terms.blocking_us_max + terms.lateness_us_max,
            stall_us_max: terms.stall_us_max,
            hosts: Rows::default(),
            judged: 0,
            longest_us: 0,
            last_us: 0,
        }
    }

    fn judge_wait(&mut self, at_us: u64, host: u32, waiter: &Waiter, findings: &mut Findings) {
        self.longest_us = self.longest_us.max(waiter.blocked_us);
        if waiter.blocked_us > self.blocking_us_max {
            let op = OpRef { host, ticket: waiter.ticket };
            findings.add(at_us, Some(op), || {
                format!(
                    "critical operation {op} waited {} us for work that is not critical, at most {} us are stated",
                    waiter.blocked_us, self.blocking_us_max
                )
            });
        }
    }
}

impl Host {
    /// Counts the time since the last event of this host for every critical operation that had to wait for work
    /// that is not.
    fn count(&mut self, at_us: u64, critical_slots: usize) {
        let passed_us = at_us.saturating_sub(std::mem::replace(&mut self.counted_us, at_us));
        let critical = |waiter: &Waiter| waiter.critical && waiter.accepted;
        if passed_us == 0 || !self.line.waiting.iter().any(critical) {
            return;
        }
        if self.line.under_way.iter().filter(|other| other.critical).count() >= critical_slots {
            return;
        }
        for at in 0..self.line.waiting.len() {
            let waiter = self.line.waiting[at];
            if !critical(&waiter) {
                continue;
            }
            let behind_critical = self.line.under_way.iter().any(|o| o.critical && o.key == waiter.key)
                || self.line.waiting[..at].iter().any(|o| o.critical && o.key == waiter.key);
            if !behind_critical {
                self.line.waiting[at].blocked_us += passed_us;
            }
        }
    }

    /// Who was passed over by one that has just left.
    fn passed_over(&self, left: &Waiter) -> Option<Waiter> {
        let others = self.line.waiting.iter().filter(|other| other.accepted);
        let before = |other: &&Waiter| {
            other.lane > left.lane
                || other.lane == left.lane && other.lane != Lane::Critical && other.place < left.place
        };
        let own_key = |other: &&Waiter| other.key == left.key && other.ticket != left.ticket;
        others
            .filter(before)
            .find(|other| own_key(other) && other.lane >= left.lane || !self.line.is_busy(other.key))
            .copied()
    }
}

impl Check for NoInversion {
    fn property(&self) -> Property {
        Property {
            id: "P20",
            name: "no priority inversion, no starvation",
            statement: "Nobody is passed over, critical operations wait for others no longer than stated, and others still progress.",
            needs: &[Kind::Asked, Kind::Accepted, Kind::Refused, Kind::Sent, Kind::Finished, Kind::Node],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let at_us = event.at_us;
        self.last_us = at_us;
        if let What::Crashed { node } | What::Stopped { node } | What::Restarted { node } = &event.what {
            if let Some(host) = host_of(node) {
                *self.hosts.row(host) = Host { counted_us: at_us, ..Host::default() };
            }
            return;
        }
        let Some(OpRef { host, .. }) = event.what.op() else { return };
        let row = self.hosts.row(host);
        row.count(at_us, self.critical_slots);
        let stalled_us = if row.normal_open > 0 { at_us.saturating_sub(row.idle_since_us) } else { 0 };
        if let Some(bound_us) = self.stall_us_max.filter(|bound| stalled_us > *bound) {
            let open = row.normal_open;
            row.idle_since_us = at_us;
            findings.add(at_us, None, || {
                format!("host {host}: {open} operations that are not critical stood still for {stalled_us} us, at most {bound_us} us are stated")
            });
        }
        if let What::Accepted { op, .. } = &event.what
            && row.line.waiting.iter().any(|w| w.ticket == op.ticket && !w.critical)
        {
            if row.normal_open == 0 {
                row.idle_since_us = at_us;
            }
            row.normal_open += 1;
        }
        if let What::Finished { op, critical: false, end, .. } = &event.what
            && !row.line.reports.iter().any(|report| report.0 == op.ticket)
        {
            row.normal_open = row.normal_open.saturating_sub(1);
            if *end == End::Done {
                row.idle_since_us = at_us;
            }
        }
        match row.line.observe(&event.what) {
            Change::Left(left) => {
                let might_wait = left.critical || self.stall_us_max.is_some();
                self.judged += u64::from(might_wait || row.line.waiting.iter().any(|other| other.accepted));
                if let Some(passed) = row.passed_over(&left) {
                    let (op, over) =
                        (OpRef { host, ticket: left.ticket }, OpRef { host, ticket: passed.ticket });
                    findings.add(at_us, Some(over), || {
                        format!(
                            "{op} ({:?}) left before {over} ({:?}), whose turn it was",
                            left.lane, passed.lane
                        )
                    });
                }
                self.judge_wait(at_us, host, &left, findings);
            }
            Change::EndedWaiting(waiter, _) => self.judge_wait(at_us, host, &waiter, findings),
            Change::None
            | Change::Refused(_)
            | Change::Ended(..)
            | Change::Report
            | Change::ReportRefused => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for (host, mut row) in self.hosts.drain().collect::<Vec<_>>() {
            row.count(self.last_us, self.critical_slots);
            for waiter in &row.line.waiting {
                self.judge_wait(self.last_us, host, waiter, findings);
            }
        }
        let words = format!(
            "operations that might have waited or been passed over; the longest wait of a critical one for others was {} us",
            self.longest_us
        );
        Basis::new(self.judged, &words)
    }
}

#[cfg(test)]
mod tests {
    use Lane::{Critical, Normal, Priority};

    use super::super::testing::*;
    use super::*;

    fn check() -> NoInversion {
        let terms =
            Terms { critical_slots: 1, blocking_us_max: 100, stall_us_max: Some(1_000), ..Terms::default() };
        NoInversion::new(&terms)
    }

    fn accepted(ticket: u64, lane: Lane, key: u32) -> [What; 2] {
        [asked_on(ticket, lane, key), What::Accepted { op: op(ticket), id: id(ticket) }]
    }

    fn sent(ticket: u64) -> What {
        What::Sent { op: op(ticket), id: id(ticket), attempt: 1, bytes: 1 }
    }

    fn at(at_us: u64, what: impl IntoIterator<Item = What>) -> Vec<Event> {
        what.into_iter().map(|what| Event { at_us, what }).collect()
    }

    #[test]
    fn urgent_before_others_and_each_in_turn_passes() {
        let mut history = at(0, accepted(1, Normal, 1));
        history.extend(at(0, accepted(2, Normal, 2)));
        history.extend(at(0, accepted(3, Priority, 3)));
        history.extend(at(0, accepted(4, Critical, 4)));
        history.extend(at(1, [sent(4), sent(3), sent(1), sent(2)]));
        passes_at(check(), history);
    }

    #[test]
    fn one_that_is_passed_over_fails_unless_its_key_is_busy() {
        for (lane, key, over) in [(Normal, 2, true), (Priority, 2, true), (Priority, 9, false)] {
            let mut history = at(0, accepted(8, Critical, 9));
            history.extend(at(0, [sent(8)]));
            history.extend(at(0, accepted(1, lane, key)));
            history.extend(at(0, accepted(2, Normal, 3)));
            history.extend(at(1, [sent(2)]));
            if over {
                fails_at(check(), history, "0.2 (Normal) left before 0.1");
            } else {
                passes_at(check(), history);
            }
        }
    }

    #[test]
    fn a_write_that_replaces_another_has_its_place() {
        let mut history = at(0, accepted(1, Normal, 1));
        history.extend(at(0, accepted(2, Normal, 2)));
        history.extend(at(1, [asked_on(3, Normal, 1), finished(1, End::Superseded)]));
        history.extend(at(1, [What::Accepted { op: op(3), id: id(3) }, sent(3), sent(2)]));
        passes_at(check(), history);
    }

    #[test]
    fn a_critical_operation_that_waits_for_others_too_long_fails() {
        let history = |sent_us, slots: &[What]| {
            let mut history = at(0, slots.to_vec());
            history.extend(at(0, accepted(2, Critical, 2)));
            history.extend(at(sent_us, [sent(2)]));
            history
        };
        passes_at(check(), history(100, &[]));
        fails_at(check(), history(101, &[]), "waited 101 us for work that is not critical");
        let [asked, accepted] = accepted(1, Critical, 1);
        // A critical one holds the one reserved slot.
        passes_at(check(), history(101, &[asked, accepted, sent(1)]));
    }

    #[test]
    fn work_that_stands_still_fails() {
        let mut history = at(0, accepted(1, Normal, 1));
        history.extend(at(0, [sent(1)]));
        history.extend(at(1_000, accepted(2, Normal, 2)));
        passes_at(check(), history.clone());
        history.extend(at(1_001, [sent(2)]));
        fails_at(check(), history, "stood still for 1001 us");
    }
}
