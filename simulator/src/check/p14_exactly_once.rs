//! P14: an operation takes effect at most once, retried after a lost reply or delivered again.
//!
//! Operations are told apart by what the application asked (host and ticket, which the written value
//! carries), not by ids on the wire: a retry under a new id is the same operation.

use rustc_hash::FxHashMap;
use sync_core::range_set::RangeSet;

use super::rows::Rows;
use super::{Basis, Check, Findings, Property, split};
use crate::history::{Event, Kind, StateName, What};

#[derive(Default)]
pub(super) struct ExactlyOnce {
    /// The first stream of each host.
    first: Rows<Seen>,
    /// By host and stream, all others.
    others: FxHashMap<(u32, u64), Seen>,
    applied: u64,
}

#[derive(Default)]
struct Seen {
    /// Operations whose write took effect.
    effects: RangeSet,
    /// Operations that have ended.
    ended: RangeSet,
}

impl ExactlyOnce {
    fn seen(&mut self, host: u32, stream: u64) -> &mut Seen {
        if stream == 0 { self.first.row(host) } else { self.others.entry((host, stream)).or_default() }
    }
}

impl Check for ExactlyOnce {
    fn property(&self) -> Property {
        Property {
            id: "P14",
            name: "exactly-once effect",
            statement: "An operation takes effect at most once and has one result, however often it is retried or delivered.",
            needs: &[Kind::Applied, Kind::Finished],
        }
    }

    fn warm(&self, host: u32, _: Option<&StateName>) -> u64 {
        self.first
            .near(host)
            .map_or(0, |seen| u64::from(seen.effects.is_empty()) ^ u64::from(seen.ended.is_empty()))
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Applied { op, id, .. } => {
                // A value that names no operation is P6's to judge.
                let Some(op) = op else { return };
                self.applied += 1;
                let (stream, ordinal) = split(op.ticket);
                if !self.seen(op.host, stream).effects.insert(ordinal) {
                    findings.add(event.at_us, Some(*op), || {
                        format!("operation {op} took effect again, now as {id}")
                    });
                }
            }
            What::Finished { op, end, .. } => {
                let (stream, ordinal) = split(op.ticket);
                if !self.seen(op.host, stream).ended.insert(ordinal) {
                    findings.add(event.at_us, Some(*op), || {
                        format!("operation {op} ended twice, now as {end:?}")
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.applied, "effects told apart")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::End;

    #[test]
    fn different_operations_pass() {
        let history = vec![
            applied(1, None, 1),
            finished(1, End::Done),
            applied(2, None, 2),
            applied(1 << 40 | 1, None, 1),
        ];
        passes(ExactlyOnce::default(), history);
    }

    #[test]
    fn the_same_operation_under_a_new_id_fails() {
        let again = applied_as(1, 9, None, 2);
        fails(ExactlyOnce::default(), vec![applied(1, None, 1), again], "took effect again");
    }

    #[test]
    fn two_results_fail() {
        let history = vec![finished(1, End::DeadlineExceeded), finished(1, End::Done)];
        fails(ExactlyOnce::default(), history, "ended twice");
    }
}
