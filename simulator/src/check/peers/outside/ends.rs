//! What peers show in the end, held against what was written: P2, P5, P7 and P8.

use std::collections::BTreeMap;

use sync_core::peer_sync::version::ContentHash;

use super::super::super::{Basis, Check, Findings, Property};
use super::super::{PeerTerms, list};
use super::ledger::{Ledger, RowNumber, Write, WriteNumber};
use super::say;
use crate::history::peers::PeerWhat;
use crate::history::{Event, Kind, What};

/// What some peers show of a row.
type State = (Option<ContentHash>, Vec<u32>);

/// The ledger, and what peers show of each row in the end.
#[derive(Default)]
struct Ends {
    ledger: Ledger,
    rows: BTreeMap<RowNumber, Vec<State>>,
    last_us: u64,
}

impl Ends {
    fn observe(&mut self, event: &Event) {
        self.last_us = event.at_us;
        match &event.what {
            What::Peer(PeerWhat::FinalRow { row, nodes, holds }) => {
                let row = self.ledger.number(row);
                let shown = holds.as_ref().and_then(|state| state.visible);
                self.rows.entry(row).or_default().push((shown, nodes.clone()));
            }
            What::Peer(PeerWhat::Read { op, rows, .. }) => {
                for seen in rows {
                    let row = self.ledger.number(&seen.row);
                    self.ledger.show(op.host, row, seen.visible);
                }
            }
            What::Peer(what) => self.ledger.observe(what),
            _ => {}
        }
    }

    /// Each write that a test chooses, with the states that are known to precede it.
    fn stale(
        &self,
        chosen: fn(&Write) -> bool,
        mut each: impl FnMut(RowNumber, WriteNumber, &[State], Vec<usize>),
    ) -> u64 {
        let mut count = 0;
        for row in self.ledger.rows() {
            let states = self.rows.get(&row).map_or(&[][..], Vec::as_slice);
            for (number, _) in self.ledger.writes(row).filter(|(_, write)| chosen(write)) {
                count += 1;
                let stale = |place: &usize| self.ledger.is_stale(row, states[*place].0, number);
                each(row, number, states, (0..states.len()).filter(stale).collect());
            }
        }
        count
    }
}

const ENDS: &[Kind] =
    &[Kind::PeerTransaction, Kind::PeerCommitted, Kind::PeerRead, Kind::PeerLife, Kind::FinalRow];

/// P2 from the outside.
pub(super) struct Liveness {
    ends: Ends,
    within_us: u64,
    healed_us: Option<u64>,
    /// When all peers last began to show the same.
    equal_us: Option<u64>,
}

impl Liveness {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { ends: Ends::default(), within_us: terms.converge_within_us, healed_us: None, equal_us: None }
    }
}

impl Check for Liveness {
    fn property(&self) -> Property {
        Property {
            id: "P2",
            name: "liveness after heal",
            statement: "Once faults stop, every peer shows each acknowledged write, or one that is not known to precede it, within the stated time.",
            needs: &[
                Kind::PeerTransaction,
                Kind::PeerCommitted,
                Kind::PeerRead,
                Kind::PeerLife,
                Kind::Fault,
                Kind::Equal,
                Kind::FinalRow,
            ],
        }
    }

    fn observe(&mut self, event: &Event, _: &mut Findings) {
        match &event.what {
            What::Healed => (self.healed_us, self.equal_us) = (Some(event.at_us), None),
            What::Peer(PeerWhat::Equal { .. }) => self.equal_us = Some(event.at_us),
            _ => self.ends.observe(event),
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let Some(healed_us) = self.healed_us else { return Basis::new(0, "heals") };
        let ends = &self.ends;
        let judged = ends.stale(
            |write| write.acknowledged,
            |row, number, states, stale| {
                for (shown, nodes) in stale.into_iter().map(|place| &states[place]) {
                    findings.add(ends.last_us, ends.ledger.op(row, number), || {
                        let (name, write) = (ends.ledger.name(row), ends.ledger.say(row, number));
                        let (peers, shown) = (list(nodes), say(*shown));
                        format!("{name}: {write} was acknowledged, and peer {peers} ends with {shown}, which precedes it")
                    });
                }
            },
        );
        let (within_us, took_us) = (self.within_us, self.equal_us.map(|equal_us| equal_us - healed_us));
        if judged > 0 && took_us.is_none_or(|took_us| took_us > within_us) {
            findings.add(self.ends.last_us, None, || {
                let took = took_us.map_or_else(|| "never".to_owned(), |took_us| format!("{took_us} us"));
                format!("all peers showed the same {took} after the heal; at most {within_us} us are stated")
            });
        }
        Basis::new(judged, "acknowledged writes looked for at every peer after the heal")
    }
}

/// P5 from the outside.
#[derive(Default)]
pub(super) struct NothingLost(Ends);

impl NothingLost {
    pub(super) fn new() -> Self {
        Self::default()
    }
}

impl Check for NothingLost {
    fn property(&self) -> Property {
        Property {
            id: "P5",
            name: "no acknowledged write is lost",
            statement: "In the end some peer shows each acknowledged write, or one that is not known to precede it.",
            needs: ENDS,
        }
    }

    fn observe(&mut self, event: &Event, _: &mut Findings) {
        self.0.observe(event);
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let ends = &self.0;
        let judged = ends.stale(
            |write| write.acknowledged,
            |row, number, states, stale| {
                if stale.len() < states.len() {
                    return;
                }
                findings.add(ends.last_us, ends.ledger.op(row, number), || {
                    let (name, write) = (ends.ledger.name(row), ends.ledger.say(row, number));
                    let shown: Vec<String> = states.iter().map(|(shown, _)| say(*shown)).collect();
                    format!(
                        "{name}: {write} was acknowledged; in the end peers show {}, which precedes it",
                        shown.join(", ")
                    )
                });
            },
        );
        Basis::new(judged, "acknowledged writes looked for at the end")
    }
}

/// P7 from the outside.
#[derive(Default)]
pub(super) struct NoResurrection(Ends);

impl NoResurrection {
    pub(super) fn new() -> Self {
        Self::default()
    }
}

impl Check for NoResurrection {
    fn property(&self) -> Property {
        Property {
            id: "P7",
            name: "no resurrection",
            statement: "What is known to precede a delete of its row is not shown where that delete is known, nor anywhere in the end.",
            needs: ENDS,
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        if let What::Peer(PeerWhat::Read { op, rows, .. }) = &event.what {
            for seen in rows {
                let row = self.0.ledger.number(&seen.row);
                let grave = seen.visible.and_then(|shown| self.0.ledger.grave(op.host, row, shown));
                if let Some(grave) = grave {
                    findings.add(event.at_us, Some(*op), || {
                        let delete = self.0.ledger.say(row, grave);
                        format!(
                            "{op} saw {} with {}, which precedes {delete}, known there",
                            seen.row,
                            say(seen.visible)
                        )
                    });
                }
            }
        }
        self.0.observe(event);
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let ends = &self.0;
        let judged = ends.stale(
            |write| write.content.is_none(),
            |row, number, states, stale| {
                for (shown, nodes) in stale.into_iter().map(|place| &states[place]) {
                    findings.add(ends.last_us, ends.ledger.op(row, number), || {
                        let (name, delete) = (ends.ledger.name(row), ends.ledger.say(row, number));
                        let (peers, shown) = (list(nodes), say(*shown));
                        format!(
                            "{name} lives at peer {peers} in the end with {shown}, which precedes {delete}"
                        )
                    });
                }
            },
        );
        Basis::new(judged, "deletes")
    }
}

/// P8 from the outside.
#[derive(Default)]
pub(super) struct DeleteSymmetry(Ends);

impl DeleteSymmetry {
    pub(super) fn new() -> Self {
        Self::default()
    }
}

impl Check for DeleteSymmetry {
    fn property(&self) -> Property {
        Property {
            id: "P8",
            name: "delete and re-insert symmetry",
            statement: "Rows that were deleted and written besides end alike at all peers.",
            needs: ENDS,
        }
    }

    fn observe(&mut self, event: &Event, _: &mut Findings) {
        self.0.observe(event);
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let ends = &self.0;
        let mut judged = 0;
        for (row, states) in &ends.rows {
            let deletes = ends.ledger.writes(*row).filter(|(_, write)| write.content.is_none()).count();
            if deletes == 0 || deletes == ends.ledger.writes(*row).count() {
                continue;
            }
            judged += 1;
            if let [first, second, ..] = states.as_slice() {
                findings.add(ends.last_us, None, || {
                    let name = ends.ledger.name(*row);
                    let (one, other) = (say(first.0), say(second.0));
                    let (ones, others) = (list(&first.1), list(&second.1));
                    format!("{name} was deleted and written: peer {ones} ends with {one}, peer {others} with {other}")
                });
            }
        }
        Basis::new(judged, "rows that were deleted and written besides")
    }
}
