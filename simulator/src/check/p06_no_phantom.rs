//! P6: no phantom and no duplicate: every visible value is exactly what some recorded write wrote, once.
//!
//! An effect belongs to an operation that an application asked for, under the id that it was given, and to no operation
//! twice; a version of a state is one operation's. What took effect is what was asked for, byte for byte, and what a state
//! holds at the end, or a host is given of it, is what the write with its version wrote. A value that names no operation is
//! nobody's.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use sync_core::range_set::RangeSet;

use super::{Basis, Check, Findings, Property, said};
use crate::history::{End, Event, Kind, OpRef, StateName, What, WireId};

#[derive(Default)]
pub(super) struct NoPhantom {
    /// By host and stream of tickets.
    seen: FxHashMap<(u32, u64), Seen>,
    /// Writes that have not taken effect, and still may.
    open: FxHashMap<OpRef, Asked>,
    states: FxHashMap<StateName, State>,
    /// What hosts were given and was not seen to take effect yet: where effects are read from rows, they are seen later.
    ahead: FxHashMap<(StateName, u64), Vec<Given>>,
    looked_at: u64,
    values: u64,
}

#[derive(Default)]
struct Seen {
    asked: RangeSet,
    effects: RangeSet,
}

/// What was asked for.
#[derive(Default)]
struct Asked {
    value: Option<u64>,
    id: Option<WireId>,
}

/// The writes of a state that were seen to take effect, the latest of them, ascending.
#[derive(Default)]
struct State {
    writes: VecDeque<Write>,
    /// Whether older ones were forgotten.
    is_cut: bool,
}

struct Write {
    version: u64,
    id: WireId,
    op: Option<OpRef>,
    value: Option<u64>,
}

/// A value that a host was given.
struct Given {
    at_us: u64,
    reader: OpRef,
    by: Option<OpRef>,
    value: u64,
}

/// Writes of a state that are remembered. Of an older one that shows again nothing is said.
const WRITES_KEPT: usize = 32;

impl Write {
    /// Whether a value is another one.
    fn differs(&self, by: Option<OpRef>, value: Option<u64>) -> bool {
        by != self.op || matches!((self.value, value), (Some(own), Some(value)) if own != value)
    }
}

impl State {
    fn find(&self, version: u64) -> Option<&Write> {
        let place = self.writes.binary_search_by_key(&version, |write| write.version);
        place.ok().map(|place| &self.writes[place])
    }

    fn is_forgotten(&self, version: u64) -> bool {
        self.is_cut && version > 0 && self.writes.front().is_some_and(|oldest| version < oldest.version)
    }

    fn add(&mut self, write: Write) {
        // Versions come in their order, or nearly so.
        let place = self.writes.partition_point(|other| other.version < write.version);
        self.writes.insert(place, write);
        if self.writes.len() > WRITES_KEPT {
            self.writes.pop_front();
            self.is_cut = true;
        }
    }
}

impl NoPhantom {
    /// An operation takes effect. Gives the digest of what it wrote, as it was asked for.
    fn applied(&mut self, at_us: u64, op: OpRef, id: WireId, findings: &mut Findings) -> Option<u64> {
        let (stream, ordinal) = super::split(op.ticket);
        let seen = self.seen.entry((op.host, stream)).or_default();
        if !seen.asked.contains(ordinal) {
            findings
                .add(at_us, Some(op), || format!("{op} took effect as {id}, and nobody had asked for it"));
        }
        if !seen.effects.insert(ordinal) {
            findings.add(at_us, Some(op), || format!("what {op} wrote is there twice, now as {id}"));
        }
        let asked = self.open.remove(&op)?;
        if let Some(own) = asked.id.filter(|own| *own != id) {
            findings.add(at_us, Some(op), || format!("what {op} wrote as {own} took effect as {id}"));
        }
        asked.value
    }

    fn wrote(&mut self, at_us: u64, key: &StateName, write: Write, findings: &mut Findings) {
        let state = self.states.entry(key.clone()).or_default();
        let version = write.version;
        if let Some(other) = state.find(version) {
            let (op, other) = (said(write.op), said(other.op));
            findings.add(at_us, write.op, || {
                format!("version {version} of {key} was written by {op} and by {other}")
            });
            return;
        }
        if state.is_forgotten(version) {
            return;
        }
        state.add(write);
        if !self.ahead.is_empty() {
            for given in self.ahead.remove(&(key.clone(), version)).unwrap_or_default() {
                self.given(key, version, given, findings);
            }
        }
    }

    fn given(&mut self, key: &StateName, version: u64, given: Given, findings: &mut Findings) {
        let state = self.states.get(key);
        let Some(write) = state.and_then(|state| state.find(version)) else {
            if !state.is_some_and(|state| state.is_forgotten(version)) {
                self.ahead.entry((key.clone(), version)).or_default().push(given);
            }
            return;
        };
        self.values += 1;
        if write.differs(given.by, Some(given.value)) {
            let (reader, by, op) = (given.reader, said(given.by), said(write.op));
            findings.add(given.at_us, Some(reader), || {
                format!(
                    "{reader} was given version {version} of {key} as {by} might have written it, but not as \
                     {op} did"
                )
            });
        }
    }

    fn ends(&mut self, at_us: u64, key: &StateName, ends: &Write, findings: &mut Findings) {
        let (version, op) = (ends.version, ends.op);
        if op.is_none() {
            findings.add(at_us, None, || format!("{key} ends at version {version} with a value of nobody's"));
        }
        let state = self.states.get(key);
        match state.and_then(|state| state.find(version)) {
            Some(write) if write.id == ends.id && !write.differs(op, ends.value) => {}
            Some(write) if write.id == ends.id && write.op == op => findings.add(at_us, op, || {
                format!("{key} ends at version {version} with another value than {} wrote", said(write.op))
            }),
            // What fell back to an older version is lost, not a phantom.
            None if state.is_some_and(|state| state.is_forgotten(version)) => {}
            _ => findings.add(at_us, op, || {
                let (op, id) = (said(op), ends.id);
                format!("{key} ends at version {version} as {op} wrote it ({id}), and no such write was seen")
            }),
        }
    }
}

impl Check for NoPhantom {
    fn property(&self) -> Property {
        Property {
            id: "P6",
            name: "no phantom and no duplicate",
            statement: "Every visible value is exactly what some recorded write wrote, once.",
            needs: &[
                Kind::Asked,
                Kind::Accepted,
                Kind::Refused,
                Kind::Applied,
                Kind::Finished,
                Kind::Given,
                Kind::FinalState,
            ],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let at_us = event.at_us;
        match &event.what {
            What::Asked { op, writes, value, .. } => {
                let (stream, ordinal) = super::split(op.ticket);
                self.seen.entry((op.host, stream)).or_default().asked.insert(ordinal);
                if *writes {
                    self.open.insert(*op, Asked { value: *value, id: None });
                }
            }
            What::Accepted { op, id } => {
                if let Some(asked) = self.open.get_mut(op) {
                    asked.id = Some(*id);
                }
            }
            What::Refused { op, .. }
            | What::Finished { op, end: End::Rejected | End::Superseded | End::Displaced, .. } => {
                self.open.remove(op);
            }
            What::Applied { op, id, key, version, value, .. } => {
                self.looked_at += 1;
                let asked = op.and_then(|op| self.applied(at_us, op, *id, findings));
                match op {
                    None => findings.add(at_us, None, || format!("{id} wrote a value of nobody's")),
                    Some(op) if matches!((asked, value), (Some(asked), Some(value)) if asked != *value) => {
                        findings.add(at_us, Some(*op), || {
                            format!("{op} took effect as {id} with another value than was asked for")
                        });
                    }
                    Some(_) => {}
                }
                if let Some(key) = key {
                    let write = Write { version: *version, id: *id, op: *op, value: value.or(asked) };
                    self.wrote(at_us, key, write, findings);
                }
            }
            What::Given { op, key, version, by, value } => {
                let given = Given { at_us, reader: *op, by: *by, value: *value };
                self.given(key, *version, given, findings);
            }
            What::FinalState { key, version, op, id, value } => {
                self.looked_at += 1;
                let ends = Write { version: *version, id: *id, op: *op, value: *value };
                self.ends(at_us, key, &ends, findings);
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let mut ahead: Vec<_> = self.ahead.drain().collect();
        ahead.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for ((key, version), given) in ahead {
            for Given { at_us, reader, by, .. } in given {
                findings.add(at_us, Some(reader), || {
                    let by = said(by);
                    format!(
                        "{reader} was given version {version} of {key} by {by}, and no such write was seen"
                    )
                });
            }
        }
        let values = self.values;
        let words = format!(
            "effects and final states traced to their writes, and {values} values that hosts were given"
        );
        Basis::new(self.looked_at, &words)
    }
}

#[cfg(test)]
mod tests {
    use sync_core::host_sync::operation::Lane;

    use super::super::testing::*;
    use super::*;

    const KEY: &str = "PLAYER_DATA/1/m";
    const READER: u64 = 99;

    /// Ticket `n` is to write the value `n`.
    fn asked(ticket: u64) -> What {
        let mut what = asked_on(ticket, Lane::Normal, 0);
        if let What::Asked { value, .. } = &mut what {
            *value = Some(ticket);
        }
        what
    }

    /// Writes the state, and this value.
    fn wrote(ticket: u64, version: u64, written: u64) -> What {
        let mut what = applied(ticket, Some(KEY), version);
        if let What::Applied { value, .. } = &mut what {
            *value = Some(written);
        }
        what
    }

    fn nobody(mut what: What) -> What {
        if let What::Applied { op, .. } | What::FinalState { op, .. } = &mut what {
            *op = None;
        }
        what
    }

    fn holds(ticket: u64, version: u64, value: u64) -> What {
        let (key, value) = (KEY.parse().unwrap(), Some(value));
        What::FinalState { key, version, op: Some(op(ticket)), id: id(ticket), value }
    }

    fn last(ticket: u64, version: u64) -> What {
        holds(ticket, version, ticket)
    }

    fn given(version: u64, by: Option<u64>, value: u64) -> What {
        What::Given { op: op(READER), key: KEY.parse().unwrap(), version, by: by.map(op), value }
    }

    /// Two writes in their order, and what comes then.
    fn then(more: &[What]) -> Vec<What> {
        let writes = [asked(0), asked(1), wrote(0, 1, 0), wrote(1, 2, 1)];
        writes.into_iter().chain(more.iter().cloned()).collect()
    }

    #[test]
    fn what_was_asked_for_and_written_once_passes() {
        passes(NoPhantom::default(), then(&[given(1, Some(0), 0), given(2, Some(1), 1), last(1, 2)]));
        // Where effects are read from rows: they are seen later, and in any order, and only the last value is there.
        let unread = |ticket, version| applied(ticket, Some(KEY), version);
        let late = vec![asked(0), asked(1), given(2, Some(1), 1), unread(1, 2), unread(0, 1), last(1, 2)];
        passes(NoPhantom::default(), late);
        // A value that fell back is lost, and one that nobody remembers says nothing.
        passes(NoPhantom::default(), then(&[last(0, 1)]));
        let many: Vec<_> = (2..99).flat_map(|n| [asked(n), wrote(n, n + 1, n)]).collect();
        passes(NoPhantom::default(), then(&[many, vec![given(1, Some(7), 7), last(98, 99)]].concat()));
    }

    #[test]
    fn an_effect_that_nobody_asked_for_fails() {
        fails(NoPhantom::default(), vec![asked(0), applied(7, None, 1)], "nobody had asked for it");
        fails(NoPhantom::default(), then(&[nobody(applied(7, None, 1))]), "wrote a value of nobody's");
    }

    #[test]
    fn an_effect_that_is_there_twice_fails() {
        let history = vec![asked(0), applied(0, None, 1), applied_as(0, 9, None, 2)];
        fails(NoPhantom::default(), history, "there twice");
        let history = vec![asked(0), asked(1), applied(0, Some(KEY), 1), applied(1, Some(KEY), 1)];
        fails(NoPhantom::default(), history, "was written by 0.1 and by 0.0");
    }

    #[test]
    fn an_effect_with_another_value_or_id_fails() {
        fails(NoPhantom::default(), vec![asked(0), wrote(0, 1, 8)], "with another value than was asked for");
        let accepted = What::Accepted { op: op(0), id: id(5) };
        fails(NoPhantom::default(), vec![asked(0), accepted, wrote(0, 1, 0)], "took effect as");
    }

    #[test]
    fn a_final_value_that_no_write_wrote_fails() {
        for (end, why) in [
            (last(0, 2), "no such write was seen"),
            (last(1, 3), "no such write was seen"),
            (holds(1, 2, 0), "ends at version 2 with another value than 0.1 wrote"),
            // The value of another write under the version and the id of this one.
            (
                What::FinalState {
                    key: KEY.parse().unwrap(),
                    version: 2,
                    op: Some(op(0)),
                    id: id(1),
                    value: Some(0),
                },
                "ends at version 2 as 0.0 wrote it",
            ),
            (holds(0, 1, 9), "ends at version 1 with another value"),
            (nobody(last(1, 2)), "with a value of nobody's"),
        ] {
            fails(NoPhantom::default(), then(&[end]), why);
        }
        fails(NoPhantom::default(), vec![asked(0), last(0, 1)], "no such write was seen");
    }

    #[test]
    fn a_host_that_is_given_what_no_write_wrote_fails() {
        for (given, why) in [
            (given(2, Some(1), 7), "but not as 0.1 did"),
            (given(2, Some(0), 0), "as 0.0 might have written it, but not as 0.1 did"),
            (given(2, None, 1), "as no operation might"),
            (given(3, Some(1), 1), "was given version 3"),
            (given(0, None, 1), "was given version 0"),
        ] {
            fails(NoPhantom::default(), then(&[given]), why);
        }
    }
}
