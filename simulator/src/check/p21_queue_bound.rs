//! P21: the queue keeps its bound, gives way as declared, and whatever becomes of an operation, it has a result.
//!
//! Never more wait at a host than `max_queue_size`. Only a full queue refuses or displaces; what is displaced is
//! the newest of the least urgent lane, and what is refused was no more urgent than all that waits. Every
//! operation that is asked is accepted or refused, and every one that is accepted ends. Reports have a slot of their own:
//! they count for no queue, no full queue refuses them, and at most two of a host are open.

use super::line::{Change, Line, Waiter, host_of};
use super::rows::Rows;
use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{End, Event, Kind, OpRef, Refusal, What};

/// One report is under way, and one waits.
const REPORTS_OPEN_MAX: usize = 2;

pub(super) struct QueueBound {
    queue_max: usize,
    hosts: Rows<Host>,
    asked: u64,
    gave_way: u64,
    longest: usize,
    last_us: u64,
}

#[derive(Default)]
struct Host {
    line: Line,
    /// The moment of its last event: a bound holds when everything of a moment has happened.
    at_us: u64,
    /// It was said already that its queue is too long.
    over: bool,
}

impl QueueBound {
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            queue_max: terms.queue_max,
            hosts: Rows::default(),
            asked: 0,
            gave_way: 0,
            longest: 0,
            last_us: 0,
        }
    }

    fn refused(&mut self, at_us: u64, host: u32, refused: &Waiter, findings: &mut Findings) {
        self.gave_way += 1;
        let waiting = &self.hosts.row(host).line.waiting;
        let op = OpRef { host, ticket: refused.ticket };
        if waiting.len() < self.queue_max {
            let (count, max) = (waiting.len(), self.queue_max);
            findings.add(at_us, Some(op), || {
                format!("{op} was refused as if the queue were full: {count} waited, {max} may")
            });
        } else if let Some(lower) = waiting.iter().find(|other| other.lane < refused.lane) {
            let lower = OpRef { host, ticket: lower.ticket };
            findings.add(at_us, Some(op), || {
                format!("{op} ({:?}) was refused, although {lower} is less urgent", refused.lane)
            });
        }
    }

    fn displaced(&mut self, at_us: u64, host: u32, victim: &Waiter, findings: &mut Findings) {
        self.gave_way += 1;
        let line = &self.hosts.row(host).line;
        let waiting = &line.waiting;
        let op = OpRef { host, ticket: victim.ticket };
        // The one that takes its place counts already.
        if waiting.len() < self.queue_max {
            let (count, max) = (waiting.len(), self.queue_max);
            findings.add(at_us, Some(op), || {
                format!("{op} was displaced from a queue with room: {count} wait, {max} may")
            });
        }
        let Some(victim) = line.before_latest(victim) else { return };
        let lower = |other: &Waiter| {
            other.lane < victim.lane || other.lane == victim.lane && other.place > victim.place
        };
        if let Some(other) = waiting.iter().filter_map(|other| line.before_latest(other)).find(lower) {
            let other = OpRef { host, ticket: other.ticket };
            findings.add(at_us, Some(op), || {
                format!("{op} ({:?}) was displaced, although {other} had to give way first", victim.lane)
            });
        }
    }

    /// What of a host has no result when it should.
    fn without_result(&mut self, host: u32, why: &str, findings: &mut Findings) {
        let at_us = self.last_us;
        let line = std::mem::take(&mut self.hosts.row(host).line);
        let waiting = line.waiting.iter().map(|waiter| (waiter.ticket, waiter.accepted));
        let under_way = line.under_way.iter().map(|other| (other.ticket, true));
        for (ticket, accepted) in waiting.chain(under_way).chain(line.reports.iter().copied()) {
            let op = OpRef { host, ticket };
            findings.add(at_us, Some(op), || {
                let said = if accepted { "was accepted" } else { "was neither accepted nor refused" };
                format!("{op} {said} and has no result {why}")
            });
        }
    }
}

impl Check for QueueBound {
    fn property(&self) -> Property {
        Property {
            id: "P21",
            name: "queue bound and declared overflow",
            statement: "The queue keeps its bound and gives way as declared, and every operation has a result.",
            needs: &[Kind::Asked, Kind::Accepted, Kind::Refused, Kind::Sent, Kind::Finished, Kind::Node],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let at_us = event.at_us;
        self.last_us = at_us;
        if let What::Crashed { node } | What::Stopped { node } = &event.what {
            // Those of a host that dies end with it; one that stops in order has said how each ended.
            if let (Some(host), What::Stopped { .. }) = (host_of(node), &event.what) {
                self.without_result(host, "when its host stopped", findings);
            }
            return;
        }
        let Some(op) = event.what.op() else { return };
        let (host, queue_max) = (op.host, self.queue_max);
        let row = self.hosts.row(host);
        if at_us > row.at_us {
            let waiting = row.line.waiting.len();
            let over = waiting > queue_max;
            if over && !row.over {
                findings.add(at_us, None, || {
                    format!("{waiting} operations wait at host {host}, at most {queue_max} may")
                });
            }
            (row.over, row.at_us) = (over, at_us);
            self.longest = self.longest.max(waiting);
        }
        self.asked += u64::from(matches!(event.what, What::Asked { .. }));
        match (row.line.observe(&event.what), &event.what) {
            (Change::Refused(refused), What::Refused { why: Refusal::QueueFull, .. }) => {
                self.refused(at_us, host, &refused, findings);
            }
            (Change::EndedWaiting(victim, End::Displaced), _) => {
                self.displaced(at_us, host, &victim, findings);
            }
            (Change::ReportRefused, What::Refused { why: Refusal::QueueFull, .. }) => {
                findings.add(at_us, Some(op), || {
                    format!("{op} is a report, which waits for no other work, and was refused as if it did")
                });
            }
            // One is under way, one waits.
            (Change::Report, What::Accepted { .. }) => {
                let open = self.hosts.row(host).line.reports.len();
                if open > REPORTS_OPEN_MAX {
                    findings.add(at_us, Some(op), || {
                        format!("{open} reports are open at host {host}, at most {REPORTS_OPEN_MAX} may be")
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let hosts: Vec<_> = self.hosts.drain().collect();
        for (host, row) in hosts {
            *self.hosts.row(host) = row;
            self.without_result(host, "at the end", findings);
        }
        let words = format!(
            "operations asked, {} refused or displaced by a full queue; at most {} waited at a host",
            self.gave_way, self.longest
        );
        Basis::new(self.asked, &words)
    }
}

#[cfg(test)]
mod tests {
    use sync_core::host_sync::operation::Lane::{self, Critical, Normal, Priority};

    use super::super::testing::*;
    use super::*;

    fn check() -> QueueBound {
        QueueBound::new(&Terms { queue_max: 2, ..Terms::default() })
    }

    fn accepted(ticket: u64, lane: Lane) -> Vec<What> {
        vec![asked_on(ticket, lane, ticket as u32), What::Accepted { op: op(ticket), id: id(ticket) }]
    }

    fn refused(ticket: u64, lane: Lane) -> Vec<What> {
        let why = Refusal::QueueFull;
        let refused = What::Refused { op: op(ticket), critical: lane == Critical, why };
        vec![asked_on(ticket, lane, ticket as u32), refused]
    }

    fn ended(tickets: &[u64]) -> Vec<What> {
        tickets.iter().map(|ticket| finished(*ticket, End::Done)).collect()
    }

    /// Each group at a moment of its own.
    fn history(groups: Vec<Vec<What>>) -> Vec<Event> {
        let at = |(at_us, group): (u64, Vec<What>)| {
            group.into_iter().map(move |what| Event { at_us, what }).collect::<Vec<_>>()
        };
        (0..).zip(groups).flat_map(at).collect()
    }

    #[test]
    fn a_full_queue_that_gives_way_as_declared_passes() {
        let mut taken = accepted(4, Critical);
        taken.push(finished(1, End::Displaced));
        let groups = vec![
            accepted(1, Normal),
            accepted(2, Priority),
            refused(3, Normal),
            taken,
            refused(5, Priority),
            ended(&[2, 4]),
        ];
        passes_at(check(), history(groups));
    }

    #[test]
    fn a_queue_beyond_its_bound_fails() {
        let groups = vec![accepted(1, Normal), accepted(2, Normal), accepted(3, Normal), ended(&[1, 2, 3])];
        fails_at(check(), history(groups), "3 operations wait at host 0, at most 2 may");
    }

    #[test]
    fn a_wrong_victim_fails() {
        let mut taken = accepted(4, Critical);
        taken.push(finished(2, End::Displaced));
        let groups = vec![accepted(1, Normal), accepted(2, Priority), taken, ended(&[1, 4])];
        fails_at(check(), history(groups), "0.2 (Priority) was displaced, although 0.1 had to give way");
    }

    #[test]
    fn what_an_operation_takes_along_can_give_way_to_it() {
        let [asked, accepting] = [asked_on(4, Priority, 2), What::Accepted { op: op(4), id: id(4) }];
        let taken = vec![asked, accepting, finished(2, End::Displaced)];
        let groups = vec![accepted(1, Normal), accepted(2, Normal), taken, ended(&[1, 4])];
        passes_at(check(), history(groups));
    }

    fn reported(ticket: u64) -> Vec<What> {
        vec![reports(ticket), What::Accepted { op: op(ticket), id: id(ticket) }]
    }

    #[test]
    fn reports_are_beside_the_queue_and_at_most_two_are_open() {
        let newer = vec![reports(5), finished(4, End::Superseded), What::Accepted { op: op(5), id: id(5) }];
        let full = || vec![accepted(1, Normal), accepted(2, Normal), reported(3), reported(4)];
        let mut groups = full();
        groups.extend([newer, ended(&[3, 5, 1, 2])]);
        passes_at(check(), history(groups));
        let mut groups = full();
        groups.extend([reported(5), ended(&[3, 4, 5, 1, 2])]);
        fails_at(check(), history(groups), "3 reports are open at host 0, at most 2 may be");
        let refused = What::Refused { op: op(3), critical: false, why: Refusal::QueueFull };
        let groups =
            vec![accepted(1, Normal), accepted(2, Normal), vec![reports(3), refused], ended(&[1, 2])];
        fails_at(check(), history(groups), "0.3 is a report, which waits for no other work");
        fails_at(check(), history(vec![reported(1)]), "0.1 was accepted and has no result");
    }

    #[test]
    fn a_refusal_without_need_fails() {
        let groups = vec![accepted(1, Normal), refused(2, Critical), ended(&[1])];
        fails_at(check(), history(groups), "1 waited, 2 may");
        let groups = vec![accepted(1, Normal), accepted(2, Priority), refused(3, Critical), ended(&[1, 2])];
        fails_at(check(), history(groups), "although 0.1 is less urgent");
    }

    #[test]
    fn an_operation_without_a_result_fails() {
        fails_at(
            check(),
            history(vec![accepted(1, Normal)]),
            "0.1 was accepted and has no result at the end",
        );
        let asked = vec![asked_on(1, Normal, 1)];
        fails_at(check(), history(vec![asked]), "neither accepted nor refused");
        let stopped = vec![What::Stopped { node: "host 0".to_owned() }];
        fails_at(check(), history(vec![accepted(1, Normal), stopped]), "when its host stopped");
    }
}
