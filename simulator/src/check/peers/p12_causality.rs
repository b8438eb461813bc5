//! P12: causality: what is written after something was seen has the greater stamp (Lamport 1978; for hybrid clocks,
//! Kulkarni et al. 2014).
//!
//! A write's stamp is greater than that of the version it replaces, and than those of all that its peer had stored
//! when the transaction began. Whether a peer shows a write before the one that its session had seen just before is
//! counted and not judged: rows do not travel in causal order, and nobody promises that.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::peer_sync::version::{Stamp, Version};

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Held, RowNumber, Rule};
use crate::history::peers::{PeerWhat, Written};
use crate::history::{Event, Kind, OpRef, What};

pub(super) struct Causality {
    held: Held,
    /// The greatest stamp that was there from the start.
    stock: Stamp,
    /// By peer: the greatest stamp that it has stored.
    stored: BTreeMap<u32, Stamp>,
    /// By peer and session: its transaction, and the greatest stamp that the peer had stored when that began.
    began: BTreeMap<(u32, u32), (OpRef, Stamp)>,
    /// By peer and session: what it saw or wrote last.
    saw: BTreeMap<(u32, u32), (RowNumber, Version)>,
    /// By row: its latest write, and what the writer's session had seen just before.
    causes: FxHashMap<RowNumber, (Version, RowNumber, Version)>,
    writes: u64,
    without_cause: u64,
}

impl Causality {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            held: Held::new(terms),
            stock: Stamp::default(),
            stored: BTreeMap::new(),
            began: BTreeMap::new(),
            saw: BTreeMap::new(),
            causes: FxHashMap::default(),
            writes: 0,
            without_cause: 0,
        }
    }

    fn store(&mut self, peer: u32, stamp: Stamp) {
        let stored = self.stored.entry(peer).or_insert(self.stock);
        *stored = stamp.max(*stored);
    }

    fn wrote(&mut self, op: OpRef, began: Option<Stamp>, write: &Written) -> Option<String> {
        self.writes += 1;
        let Written { row, version, seen, .. } = write;
        if let Some(seen) = seen.as_ref().filter(|seen| version.stamp <= seen.stamp) {
            return Some(format!("{op} wrote {row} {version} over {seen}, which has no smaller stamp"));
        }
        let began = began.filter(|stored| version.stamp <= *stored)?;
        Some(format!("{op} wrote {row} {version} at a peer that had stored the stamp {began} before"))
    }

    /// Counts rows that a peer now holds without what their writers had seen before.
    fn took_effect(&mut self, node: u32, row: RowNumber, version: &Version) {
        let Some((latest, cause, seen)) = self.causes.get(&row) else { return };
        if latest == version
            && self.held.names.rule(*cause) == Rule::LastWriter
            && !self.held.has(node, *cause, seen)
        {
            self.without_cause += 1;
        }
    }
}

impl Check for Causality {
    fn property(&self) -> Property {
        Property {
            id: "P12",
            name: "causality",
            statement: "A write has a greater stamp than what it replaces and than all that its peer had stored before.",
            needs: &[
                Kind::PeerTransaction,
                Kind::PeerCommitted,
                Kind::PeerRead,
                Kind::Merged,
                Kind::PeerLife,
            ],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        self.held.observe(what);
        match what {
            PeerWhat::Stocked { rows } => {
                self.stock = rows.iter().map(|held| held.version.stamp).max().unwrap_or_default();
            }
            PeerWhat::Began { op, session, .. } => {
                let stored = self.stored.get(&op.host).copied().unwrap_or(self.stock);
                self.began.insert((op.host, *session), (*op, stored));
            }
            PeerWhat::Committed { op, session, writes, .. } => {
                let who = (op.host, *session);
                let began = self.began.get(&who).filter(|(began, _)| began == op).map(|(_, stored)| *stored);
                let cause = self.saw.get(&who).cloned();
                for write in writes {
                    if let Some(wrong) = self.wrote(*op, began, write) {
                        findings.add(event.at_us, Some(*op), || wrong);
                    }
                    let row = self.held.names.number(&write.row);
                    if let Some((seen_row, seen)) = cause.clone().filter(|(seen_row, _)| *seen_row != row) {
                        self.causes.insert(row, (write.version.clone(), seen_row, seen));
                    }
                    self.saw.insert(who, (row, write.version.clone()));
                    self.store(op.host, write.version.stamp);
                }
            }
            PeerWhat::Read { op, session, rows } => {
                let latest = rows.iter().rev().find_map(|seen| Some((&seen.row, seen.version.as_ref()?)));
                if let Some((row, version)) = latest {
                    let row = self.held.names.number(row);
                    self.saw.insert((op.host, *session), (row, version.clone()));
                }
            }
            PeerWhat::Merged { node, rows, .. } => {
                for merged in rows {
                    let Some(holds) = &merged.holds else { continue };
                    self.store(*node, holds.stamp);
                    if *holds == merged.version {
                        let row = self.held.names.number(&merged.row);
                        self.took_effect(*node, row, holds);
                    }
                }
            }
            PeerWhat::SetBack { node, holds } => {
                let stored = holds.iter().map(|held| held.version.stamp).max().unwrap_or_default();
                self.stored.insert(*node, stored);
                self.began.retain(|(peer, _), _| peer != node);
                self.saw.retain(|(peer, _), _| peer != node);
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let words = format!(
            "writes greater than what was there before; {} times a peer showed a write without the one before it",
            self.without_cause
        );
        Basis::new(self.writes, &words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> Causality {
        Causality::new(&terms())
    }

    #[test]
    fn greater_stamps_pass() {
        let history = vec![
            stocked(vec![(1, v(2, "a"))]),
            began(0, 1),
            committed(0, 1, 1, vec![write(1, v(3, "p0"), Some(v(2, "a")))]),
            merged(0, 1, vec![took(2, v(9, "p1"))]),
            began(0, 2),
            committed(0, 2, 2, vec![write(1, v(10, "p0"), Some(v(3, "p0")))]),
        ];
        assert_eq!(basis(check(), history.clone()), 2);
        passes(check(), history);
    }

    #[test]
    fn a_write_that_is_not_greater_than_what_it_replaces_fails() {
        let history = vec![committed(0, 1, 1, vec![write(1, v(3, "p0"), Some(v(3, "p1")))])];
        fails(check(), history, "0.1 wrote users(1) 3.0@p0 over 3.0@p1");
    }

    #[test]
    fn what_another_row_brought_counts_from_the_beginning_of_the_transaction() {
        let came = merged(0, 1, vec![took(2, v(9, "p1"))]);
        let wrote = committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]);
        fails(check(), vec![came.clone(), began(0, 1), wrote.clone()], "had stored the stamp 9.0 before");
        passes(check(), vec![began(0, 1), came.clone(), wrote.clone()]);
        let back = PeerWhat::SetBack { node: 0, holds: vec![] };
        passes(check(), vec![came, back, began(0, 1), wrote.clone()]);
        fails(check(), vec![stocked(vec![(2, v(6, "a"))]), began(0, 1), wrote], "had stored the stamp 6.0");
    }

    #[test]
    fn an_effect_without_its_cause_is_counted() {
        let mut check = check();
        let mut findings = Findings::default();
        let whats = vec![
            committed(0, 1, 1, vec![write(1, v(3, "p0"), None)]),
            committed(0, 2, 2, vec![write(2, v(4, "p0"), None)]),
            merged(1, 0, vec![took(1, v(3, "p0")), took(2, v(4, "p0"))]),
            merged(2, 0, vec![took(2, v(4, "p0"))]),
        ];
        history(whats).iter().for_each(|event| check.observe(event, &mut findings));
        assert_eq!((check.without_cause, findings.count()), (1, 0));
    }
}
