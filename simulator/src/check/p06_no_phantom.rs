//! P6: no phantom and no duplicate: every visible value is exactly what some recorded write wrote, once.
//!
//! An effect belongs to an operation that an application asked for, and to no operation twice; a version of a
//! state is one operation's; and what a state holds at the end is what the write with its version wrote.

use rustc_hash::FxHashMap;
use sync_core::range_set::RangeSet;

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, OpRef, StateName, What, WireId};

#[derive(Default)]
pub(super) struct NoPhantom {
    /// By host and stream of tickets.
    seen: FxHashMap<(u32, u64), Seen>,
    /// The greatest version seen to take effect, for each state.
    greatest: FxHashMap<StateName, (u64, WireId, OpRef)>,
    looked_at: u64,
}

#[derive(Default)]
struct Seen {
    asked: RangeSet,
    effects: RangeSet,
}

impl NoPhantom {
    fn applied(&mut self, at_us: u64, op: OpRef, id: WireId, findings: &mut Findings) {
        let (stream, ordinal) = super::split(op.ticket);
        let seen = self.seen.entry((op.host, stream)).or_default();
        if !seen.asked.contains(ordinal) {
            findings
                .add(at_us, Some(op), || format!("{op} took effect as {id}, and nobody had asked for it"));
        }
        if !seen.effects.insert(ordinal) {
            findings.add(at_us, Some(op), || format!("what {op} wrote is there twice, now as {id}"));
        }
    }
}

impl Check for NoPhantom {
    fn property(&self) -> Property {
        Property {
            id: "P6",
            name: "no phantom and no duplicate",
            statement: "Every visible value is exactly what some recorded write wrote, once.",
            needs: &[Kind::Asked, Kind::Applied, Kind::FinalState],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let at_us = event.at_us;
        match &event.what {
            What::Asked { op, .. } => {
                let (stream, ordinal) = super::split(op.ticket);
                self.seen.entry((op.host, stream)).or_default().asked.insert(ordinal);
            }
            What::Applied { op, id, key, version, .. } => {
                self.looked_at += 1;
                self.applied(at_us, *op, *id, findings);
                let Some(key) = key else { return };
                match self.greatest.get_mut(key) {
                    Some(greatest) if greatest.0 == *version => {
                        let other = greatest.2;
                        findings.add(at_us, Some(*op), || {
                            format!("version {version} of {key} was written by {op} and by {other}")
                        });
                    }
                    Some(greatest) if greatest.0 < *version => *greatest = (*version, *id, *op),
                    Some(_) => {}
                    None => {
                        self.greatest.insert(key.clone(), (*version, *id, *op));
                    }
                }
            }
            What::FinalState { key, version, op, id } => {
                self.looked_at += 1;
                match self.greatest.get(key) {
                    // What fell back to an older version is lost, not a phantom.
                    Some((greatest, ..)) if version < greatest => {}
                    Some((greatest, greatest_id, _)) if (version, id) == (greatest, greatest_id) => {}
                    _ => findings.add(at_us, Some(*op), || {
                        format!("{key} ends at version {version} as {op} wrote it ({id}), and no such write was seen")
                    }),
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.looked_at, "effects and final states traced to their writes")
    }
}

#[cfg(test)]
mod tests {
    use sync_core::host_sync::operation::Lane;

    use super::super::testing::*;
    use super::*;

    const KEY: &str = "PLAYER_DATA/1/m";

    fn asked(ticket: u64) -> What {
        asked_on(ticket, Lane::Normal, 0)
    }

    fn last(ticket: u64, version: u64) -> What {
        What::FinalState { key: KEY.parse().unwrap(), version, op: op(ticket), id: id(ticket) }
    }

    #[test]
    fn what_was_asked_for_and_written_once_passes() {
        let history =
            vec![asked(0), asked(1), applied(0, Some(KEY), 1), applied(1, Some(KEY), 2), last(1, 2)];
        passes(NoPhantom::default(), history);
    }

    #[test]
    fn an_effect_that_nobody_asked_for_fails() {
        fails(NoPhantom::default(), vec![asked(0), applied(7, None, 1)], "nobody had asked for it");
    }

    #[test]
    fn an_effect_that_is_there_twice_fails() {
        let history = vec![asked(0), applied(0, None, 1), applied_as(0, 9, None, 2)];
        fails(NoPhantom::default(), history, "there twice");
        let history = vec![asked(0), asked(1), applied(0, Some(KEY), 1), applied(1, Some(KEY), 1)];
        fails(NoPhantom::default(), history, "was written by 0.1 and by 0.0");
    }

    #[test]
    fn a_final_value_that_no_write_wrote_fails() {
        let history = || vec![asked(0), asked(1), applied(0, Some(KEY), 1)];
        let with = |ticket, version| history().into_iter().chain([last(ticket, version)]).collect();
        fails(NoPhantom::default(), with(1, 1), "no such write was seen");
        fails(NoPhantom::default(), with(0, 2), "no such write was seen");
        fails(NoPhantom::default(), vec![asked(0), last(0, 1)], "no such write was seen");
    }
}
