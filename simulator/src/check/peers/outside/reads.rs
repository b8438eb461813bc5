//! What sessions are shown while a run goes on, held against what was written and shown before: P6, P9, P10, P11, P14, P16.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::peer_sync::version::ContentHash;
use sync_core::range_set::RangeSet;

use super::super::super::{Basis, Check, Findings, Property, split};
use super::ledger::{Ledger, RowNumber, WriteNumber};
use super::say;
use crate::history::peers::{PeerWhat, Seen};
use crate::history::{Event, Kind, OpRef, What};

const READS: &[Kind] = &[Kind::PeerCommitted, Kind::PeerRead, Kind::PeerLife];

/// P6 from the outside.
#[derive(Default)]
pub(super) struct NoPhantom {
    ledger: Ledger,
    judged: u64,
}

impl NoPhantom {
    fn judge(&mut self, row: &sync_core::peer_sync::row::RowId, shown: Option<ContentHash>) -> bool {
        self.judged += 1;
        let row = self.ledger.number(row);
        // That a row is not there is another matter (P5).
        shown.is_none() || self.ledger.may_show(row, shown)
    }
}

impl Check for NoPhantom {
    fn property(&self) -> Property {
        Property {
            id: "P6",
            name: "no phantom and no duplicate",
            statement: "Whatever is read, and whatever peers show in the end, some recorded transaction wrote to that row.",
            needs: &[Kind::PeerCommitted, Kind::PeerRead, Kind::PeerLife, Kind::FinalRow],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Read { op, rows, .. } => {
                for seen in rows {
                    if !self.judge(&seen.row, seen.visible) {
                        findings.add(event.at_us, Some(*op), || {
                            format!("{op} saw {} with {}, which nobody wrote", seen.row, say(seen.visible))
                        });
                    }
                }
            }
            PeerWhat::FinalRow { row, nodes, holds } => {
                let shown = holds.as_ref().and_then(|state| state.visible);
                if !self.judge(row, shown) {
                    findings.add(event.at_us, None, || {
                        let peers = super::super::list(nodes);
                        format!("peer {peers} ends with {row} with {}, which nobody wrote", say(shown))
                    });
                }
            }
            _ => self.ledger.observe(what),
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "sights of rows traced to what was written")
    }
}

/// Writes that somebody is known to have reached, by row.
type Reached<K> = BTreeMap<(K, RowNumber), WriteNumber>;

/// P9 from the outside.
#[derive(Default)]
pub(super) struct MonotonicReads {
    ledger: Ledger,
    saw: Reached<(u32, u32)>,
    judged: u64,
}

impl Check for MonotonicReads {
    fn property(&self) -> Property {
        Property {
            id: "P9",
            name: "monotonic reads",
            statement: "A session is not shown what is known to precede what it has seen of the row.",
            needs: READS,
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        let PeerWhat::Read { op, session, rows } = what else { return self.ledger.observe(what) };
        for seen in rows {
            let row = self.ledger.number(&seen.row);
            let key = ((op.host, *session), row);
            if let Some(before) = self.saw.get(&key).copied() {
                self.judged += 1;
                if self.ledger.is_stale(row, seen.visible, before) {
                    findings.add(event.at_us, Some(*op), || {
                        back(op.host, *session, seen, &self.ledger.say(row, before), "had seen")
                    });
                }
            }
            if let Some(number) = self.ledger.show(op.host, row, seen.visible) {
                self.saw.insert(key, number);
            }
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "rows seen again by a session")
    }
}

fn back(peer: u32, session: u32, seen: &Seen, write: &str, had: &str) -> String {
    let (row, shown) = (&seen.row, say(seen.visible));
    format!("session {session} of peer {peer} sees {row} with {shown}, and {had} {write}, which follows that")
}

/// P10 from the outside.
#[derive(Default)]
pub(super) struct OwnWrites {
    ledger: Ledger,
    wrote: Reached<(u32, u32)>,
    judged: u64,
}

impl Check for OwnWrites {
    fn property(&self) -> Property {
        Property {
            id: "P10",
            name: "read your writes",
            statement: "A session is shown what it wrote itself, or what is not known to precede that.",
            needs: READS,
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Read { op, session, rows } => {
                for seen in rows {
                    let row = self.ledger.number(&seen.row);
                    if let Some(wrote) = self.wrote.get(&((op.host, *session), row)).copied() {
                        self.judged += 1;
                        if self.ledger.is_stale(row, seen.visible, wrote) {
                            findings.add(event.at_us, Some(*op), || {
                                back(op.host, *session, seen, &self.ledger.say(row, wrote), "had made")
                            });
                        }
                    }
                    self.ledger.show(op.host, row, seen.visible);
                }
            }
            PeerWhat::Committed { op, session, writes, .. } => {
                self.ledger.observe(what);
                for write in writes {
                    let row = self.ledger.number(&write.row);
                    if let Some((number, _)) = self.ledger.writes(row).last() {
                        self.wrote.insert(((op.host, *session), row), number);
                    }
                }
            }
            _ => self.ledger.observe(what),
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "rows seen by the session that wrote them")
    }
}

/// P11 from the outside.
#[derive(Default)]
pub(super) struct KeyOrder {
    ledger: Ledger,
    /// By peer, row and writer: the place of the latest of its writes that was seen.
    latest: BTreeMap<(u32, RowNumber, u32), u64>,
    judged: u64,
}

impl Check for KeyOrder {
    fn property(&self) -> Property {
        Property {
            id: "P11",
            name: "per-key order",
            statement: "Of the writes of one peer to one row no earlier one is seen at a peer after a later one.",
            needs: READS,
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        let PeerWhat::Read { op, rows, .. } = what else { return self.ledger.observe(what) };
        for seen in rows {
            let row = self.ledger.number(&seen.row);
            let shown = self.ledger.show(op.host, row, seen.visible);
            let Some((writer, ordinal)) = shown.and_then(|number| self.ledger.author(row, number)) else {
                continue;
            };
            self.judged += 1;
            let latest = self.latest.entry((op.host, row, writer)).or_insert(ordinal);
            if *latest > ordinal {
                findings.add(event.at_us, Some(*op), || {
                    let name = &seen.row;
                    format!("{op} saw the {ordinal}. write of peer {writer} to {name} at a peer that had shown its {latest}.")
                });
            }
            *latest = ordinal.max(*latest);
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "writes seen in the order of their writers")
    }
}

/// P14 from the outside.
#[derive(Default)]
pub(super) struct ExactlyOnce {
    ledger: Ledger,
    /// By peer and row: the write seen last, and those seen before that it is known to follow.
    seen: BTreeMap<(u32, RowNumber), (WriteNumber, BTreeSet<WriteNumber>)>,
    /// By peer and stream.
    committed: BTreeMap<(u32, u64), RangeSet>,
    judged: u64,
}

impl ExactlyOnce {
    /// Whether a write that is seen had been seen, and been replaced, before.
    fn again(&mut self, peer: u32, row: RowNumber, number: WriteNumber) -> bool {
        self.judged += 1;
        let Some((last, gone)) = self.seen.get_mut(&(peer, row)) else {
            self.seen.insert((peer, row), (number, BTreeSet::new()));
            return false;
        };
        if gone.contains(&number) {
            return true;
        }
        let before = std::mem::replace(last, number);
        if self.ledger.precedes(row, before, number) {
            if gone.len() == GONE_MAX {
                gone.pop_first();
            }
            gone.insert(before);
        }
        false
    }
}

impl Check for ExactlyOnce {
    fn property(&self) -> Property {
        Property {
            id: "P14",
            name: "exactly-once effect",
            statement: "A transaction commits at most once, and no write is seen at a peer again after one that is known to follow it.",
            needs: &[Kind::PeerTransaction, Kind::PeerCommitted, Kind::PeerRead, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        self.ledger.observe(what);
        match what {
            PeerWhat::Committed { op, .. } => {
                self.judged += 1;
                let (stream, ordinal) = split(op.ticket);
                if !self.committed.entry((op.host, stream)).or_default().insert(ordinal) {
                    findings.add(event.at_us, Some(*op), || format!("transaction {op} committed again"));
                }
            }
            PeerWhat::Read { op, rows, .. } => {
                for seen in rows {
                    let row = self.ledger.number(&seen.row);
                    let Some(number) = self.ledger.show(op.host, row, seen.visible) else { continue };
                    if self.again(op.host, row, number) {
                        findings.add(event.at_us, Some(*op), || {
                            let (write, peer) = (self.ledger.say(row, number), op.host);
                            format!("{op} saw {write} to {} again at peer {peer}, which had shown what follows it", seen.row)
                        });
                    }
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "transactions and sights told apart")
    }
}

/// Writes of a row that were replaced at a peer and are remembered.
const GONE_MAX: usize = 16;

/// P16 from the outside.
#[derive(Default)]
pub(super) struct AtomicBatches {
    ledger: Ledger,
    /// What transactions of several rows wrote.
    batches: BTreeMap<OpRef, Vec<(RowNumber, WriteNumber)>>,
    judged: u64,
}

impl Check for AtomicBatches {
    fn property(&self) -> Property {
        Property {
            id: "P16",
            name: "atomic batches",
            statement: "Who sees a write of a transaction sees in no other row of it what is known to precede it.",
            needs: READS,
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        self.ledger.observe(what);
        match what {
            PeerWhat::Committed { op, writes, .. } if writes.len() > 1 => {
                let mut batch = Vec::with_capacity(writes.len());
                for write in writes {
                    let row = self.ledger.number(&write.row);
                    batch.extend(self.ledger.writes(row).last().map(|(number, _)| (row, number)));
                }
                if self.batches.len() == BATCHES_MAX {
                    self.batches.pop_first();
                }
                self.batches.insert(*op, batch);
            }
            PeerWhat::Read { op, rows, .. } => {
                let mut sights = Vec::with_capacity(rows.len());
                for seen in rows {
                    let row = self.ledger.number(&seen.row);
                    let number = self.ledger.show(op.host, row, seen.visible);
                    sights.push((row, seen.visible, number));
                }
                for (row, _, number) in &sights {
                    let by = number.and_then(|number| self.ledger.op(*row, number));
                    let Some((by, batch)) = by.and_then(|by| Some((by, self.batches.get(&by)?))) else {
                        continue;
                    };
                    for (other, shown, _) in sights.iter().filter(|(other, ..)| other != row) {
                        let Some((_, write)) = batch.iter().find(|(of, _)| of == other) else { continue };
                        self.judged += 1;
                        if self.ledger.is_stale(*other, *shown, *write) {
                            findings.add(event.at_us, Some(*op), || {
                                let (one, two) = (self.ledger.name(*row), self.ledger.name(*other));
                                format!("{op} saw what {by} wrote to {one}, and {two} with {}, which precedes what it wrote there", say(*shown))
                            });
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "times a transaction of several rows was looked for whole")
    }
}

/// Transactions of several rows that are remembered.
const BATCHES_MAX: usize = 4_096;
