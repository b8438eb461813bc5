//! P29: what is invalid is refused, and changes nothing.
//!
//! The workload says which operations it made invalid and how. None of them may take effect, and none may be
//! acknowledged. A hostile mix does best in a workload of its own: what is remembered of it is one run of tickets.
//! A frame of a version that nobody speaks is turned away with a bare status, attempt after attempt, so its operation
//! fails.

use rustc_hash::FxHashMap;
use sync_core::range_set::RangeSet;

use super::{Basis, Check, Findings, Property};
use crate::history::{End, Event, Kind, OpRef, What};

#[derive(Default)]
pub(super) struct ValidationGate {
    /// Invalid operations, by host and stream.
    invalid: FxHashMap<(u32, u64), RangeSet>,
    refused: u64,
}

/// Tickets of one stream are consecutive, those of two streams far apart: splitting them keeps runs few.
fn split(op: OpRef) -> ((u32, u64), u64) {
    ((op.host, op.ticket >> 40), op.ticket & ((1 << 40) - 1))
}

impl ValidationGate {
    fn is_invalid(&self, op: OpRef) -> bool {
        let (stream, ordinal) = split(op);
        self.invalid.get(&stream).is_some_and(|tickets| tickets.contains(ordinal))
    }
}

impl Check for ValidationGate {
    fn property(&self) -> Property {
        Property {
            id: "P29",
            name: "validation gate",
            statement: "Invalid input is refused: it takes no effect and is never acknowledged.",
            needs: &[Kind::Invalid, Kind::Rejected, Kind::Applied, Kind::Finished, Kind::FinalState],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Invalid { op, .. } => {
                let (stream, ordinal) = split(*op);
                self.invalid.entry(stream).or_default().insert(ordinal);
            }
            What::Rejected { op, .. } if self.is_invalid(*op) => self.refused += 1,
            What::Applied { op: Some(op), key, version, .. } if self.is_invalid(*op) => {
                findings.add(event.at_us, Some(*op), || {
                    let key = key.as_ref().map_or_else(|| "an event".to_owned(), ToString::to_string);
                    format!("invalid operation {op} took effect, as version {version} of {key}")
                });
            }
            What::FinalState { op: Some(op), key, .. } if self.is_invalid(*op) => {
                findings.add(event.at_us, Some(*op), || {
                    format!("{key} holds what the invalid operation {op} wrote")
                });
            }
            What::Finished { op, end: End::Failed, .. } if self.is_invalid(*op) => self.refused += 1,
            What::Finished { op, end: End::Done, .. } if self.is_invalid(*op) => {
                findings.add(event.at_us, Some(*op), || format!("invalid operation {op} was acknowledged"));
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.refused, "invalid operations refused")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::scenario::model::Hostile;

    fn invalid(ticket: u64) -> What {
        What::Invalid { op: op(ticket), hostile: Hostile::Teleport }
    }

    fn rejected(ticket: u64) -> What {
        let code = sync_core::wire::ErrorCode::RuleViolated;
        What::Rejected { op: op(ticket), code, why: "too far".to_owned() }
    }

    #[test]
    fn what_is_refused_passes_and_so_does_what_is_valid() {
        let history = vec![
            invalid(1),
            rejected(1),
            finished(1, End::Rejected),
            applied(2, None, 1),
            finished(2, End::Done),
            invalid(1 << 40),
            finished(1 << 40, End::Superseded),
        ];
        passes(ValidationGate::default(), history);
    }

    #[test]
    fn an_invalid_operation_that_takes_effect_fails() {
        let history = vec![invalid(1), applied(1, Some("PLAYER_POSITION/1/map0"), 3)];
        fails(ValidationGate::default(), history, "took effect, as version 3 of PLAYER_POSITION/1/map0");
    }

    #[test]
    fn an_invalid_operation_that_is_acknowledged_fails() {
        fails(ValidationGate::default(), vec![invalid(1), finished(1, End::Done)], "was acknowledged");
    }

    #[test]
    fn a_state_that_an_invalid_operation_wrote_fails() {
        let key = "PLAYER_POSITION/1/map0".parse().unwrap();
        let state = What::FinalState { key, version: 1, op: Some(op(1)), id: id(1), value: None };
        fails(ValidationGate::default(), vec![invalid(1), state], "holds what the invalid operation");
    }
}
