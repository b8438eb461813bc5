//! P16: what a peer wrote in one transaction is seen whole or not at all, at every peer; beaten rows excepted.
//!
//! After each transaction that carries rows of a feed, and in each read, no transaction up to the bound is partly
//! there. Larger ones travel in parts and are counted. A comparison of everything brings rows one by one, and whoever
//! took them so passes them on so: what that leaves in parts is counted, and not judged until it is whole. The same goes
//! for a transaction of which a peer refuses rows: too far ahead, or deleted before.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Held, Holding, RowNumber, Rule};
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat, Seen, Written};
use crate::history::{Event, Kind, OpRef, What};

pub(super) struct AtomicBatches {
    rows_max: usize,
    held: Held,
    /// By a number in the order of commits. Those of which no row is the latest any more are forgotten.
    transactions: BTreeMap<u64, Transaction>,
    next: u64,
    /// By row: the latest write, and its transaction if that is kept.
    latest: Vec<Option<(Holding, Option<u64>)>>,
    /// By row: versions of transactions that are kept.
    writers: Vec<Vec<(Version, u64)>>,
    /// Transactions that are in parts at a peer, where that is no violation or was told.
    excused: BTreeSet<(u64, u32)>,
    /// Transactions of which a comparison brought rows to a peer, there or on the way there.
    by_row: BTreeSet<(u64, u32)>,
    /// By peer and row: the greatest version that it refused as too far ahead.
    too_far: BTreeMap<(u32, RowNumber), Version>,
    /// By row: the greatest tombstone.
    graves: FxHashMap<RowNumber, Version>,
    /// Whether a peer purged tombstones.
    purged: bool,
    judged: u64,
    split: u64,
    compared: u64,
}

struct Transaction {
    op: OpRef,
    rows: Vec<(RowNumber, Holding)>,
    /// Of how many rows it has the latest version.
    latest: usize,
}

/// A row of a transaction that is there, and one that is not.
struct Torn {
    there: RowNumber,
    missing: RowNumber,
}

impl AtomicBatches {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            rows_max: terms.transaction_rows_max,
            held: Held::new(terms),
            transactions: BTreeMap::new(),
            next: 0,
            latest: Vec::new(),
            writers: Vec::new(),
            excused: BTreeSet::new(),
            by_row: BTreeSet::new(),
            too_far: BTreeMap::new(),
            graves: FxHashMap::default(),
            purged: false,
            judged: 0,
            split: 0,
            compared: 0,
        }
    }

    fn committed(&mut self, op: OpRef, writes: &[Written]) {
        let id = self.next;
        self.next += 1;
        let kept = (2..=self.rows_max).contains(&writes.len());
        self.split += u64::from(writes.len() > self.rows_max);
        let mut transaction = Transaction { op, rows: Vec::new(), latest: 0 };
        for write in writes {
            let row = self.held.names.number(&write.row);
            if self.latest.len() <= row as usize {
                self.latest.resize(row as usize + 1, None);
                self.writers.resize(row as usize + 1, Vec::new());
            }
            let holding = Holding { version: write.version.clone(), deleted: write.deleted };
            if write.deleted {
                let grave = self.graves.entry(row).or_insert_with(|| write.version.clone());
                *grave = write.version.clone().max(grave.clone());
            }
            let latest = &mut self.latest[row as usize];
            if latest.as_ref().is_none_or(|(latest, _)| latest.version < write.version) {
                let before = latest.replace((holding.clone(), kept.then_some(id)));
                transaction.latest += 1;
                self.superseded(before.and_then(|(_, id)| id));
            }
            transaction.rows.push((row, holding));
        }
        if kept && transaction.latest > 0 {
            for (row, wrote) in &transaction.rows {
                self.writers[*row as usize].push((wrote.version.clone(), id));
            }
            self.transactions.insert(id, transaction);
        }
    }

    /// A row of the transaction has a later version elsewhere.
    fn superseded(&mut self, id: Option<u64>) {
        let Some(id) = id else { return };
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        transaction.latest -= 1;
        if transaction.latest == 0 {
            for (row, _) in std::mem::take(&mut transaction.rows) {
                self.writers[row as usize].retain(|(_, writer)| *writer != id);
            }
            self.transactions.remove(&id);
            self.excused.retain(|(excused, _)| *excused != id);
            self.by_row.retain(|(compared, _)| *compared != id);
        }
    }

    fn writer(&self, row: RowNumber, version: &Version) -> Option<u64> {
        let writers = self.writers.get(row as usize)?;
        writers.iter().find(|(written, _)| written == version).map(|(_, id)| *id)
    }

    /// Whether nothing at all is as good as a version of the row: a tombstone beats it that may have been purged.
    fn may_be_absent(&self, row: RowNumber, version: &Version) -> bool {
        self.purged && self.graves.get(&row).is_some_and(|grave| grave >= version)
    }

    /// Looks whether a transaction is partly there at a peer. `refused` were offered and refused.
    fn torn(&mut self, node: u32, id: u64, refused: &[RowNumber]) -> Option<Torn> {
        let rows = &self.transactions.get(&id)?.rows;
        let (mut there, mut missing) = (None, None);
        for (row, wrote) in rows {
            // A delete of a row of which nothing is there shows nothing, be its tombstone purged or not.
            let idle = wrote.deleted && self.held.of(node, *row).is_none();
            if self.held.has(node, *row, &wrote.version) {
                there = there.or(Some(*row));
            } else if !idle && !refused.contains(row) && !self.may_be_absent(*row, &wrote.version) {
                missing = missing.or(Some(*row));
            }
        }
        Some(Torn { there: there?, missing: missing? })
    }

    fn merged(&mut self, node: u32, from: u32, rows: &[MergedRow], by_feed: bool) -> Vec<(OpRef, String)> {
        let (mut touched, mut refused) = (BTreeSet::new(), Vec::new());
        for merged in rows {
            let row = self.held.merged(node, merged);
            match merged.outcome {
                MergeOutcome::Expired | MergeOutcome::Unsound => refused.push(row),
                MergeOutcome::TooFarAhead => {
                    let too_far = self.too_far.entry((node, row)).or_insert_with(|| merged.version.clone());
                    *too_far = merged.version.clone().max(too_far.clone());
                    // Who refused a part of a transaction passes on what is left of it.
                    let id = self.writer(row, &merged.version);
                    self.by_row.extend(id.map(|id| (id, node)));
                }
                MergeOutcome::Inserted | MergeOutcome::Updated => {
                    touched.extend(self.writer(row, &merged.version))
                }
                MergeOutcome::Equal | MergeOutcome::Beaten => {}
            }
        }
        let mut found = Vec::new();
        for id in touched {
            let by_feed = by_feed && !self.by_row.contains(&(id, from));
            if !by_feed {
                self.by_row.insert((id, node));
            }
            self.judged += u64::from(by_feed);
            let torn = self.torn(node, id, &[]);
            let told = self.excused.contains(&(id, node));
            let Some(torn) = torn else {
                self.excused.remove(&(id, node));
                continue;
            };
            self.compared += u64::from(!by_feed && !told);
            self.excused.insert((id, node));
            let rows = self.transactions.get(&id).map_or(&[][..], |transaction| &transaction.rows);
            let too_far = |(row, wrote): &&(RowNumber, Holding)| {
                self.too_far.get(&(node, *row)).is_some_and(|too_far| *too_far >= wrote.version)
            };
            let explained: Vec<_> =
                rows.iter().filter(too_far).map(|(row, _)| *row).chain(refused.iter().copied()).collect();
            let unexplained = self.torn(node, id, &explained).is_some();
            if !unexplained {
                self.by_row.insert((id, node));
            }
            if by_feed && !told && unexplained {
                let transaction = &self.transactions[&id];
                let (op, size) = (transaction.op, transaction.rows.len());
                let (there, missing) = (self.held.names.row(torn.there), self.held.names.row(torn.missing));
                found.push((
                    op,
                    format!(
                        "of the {size} rows of transaction {op} peer {node} holds {there} and not {missing}"
                    ),
                ));
            }
        }
        found
    }

    fn read(&mut self, op: OpRef, rows: &[Seen]) -> Vec<String> {
        let mut seen = BTreeMap::new();
        for row in rows {
            seen.insert(self.held.names.number(&row.row), row.version.as_ref());
        }
        let writer =
            |(row, version): (&RowNumber, &Option<&Version>)| Some((*row, self.writer(*row, (*version)?)?));
        let written: Vec<_> = seen.iter().filter_map(writer).collect();
        let mut found = Vec::new();
        let mut told = BTreeSet::new();
        for (there, id) in written {
            if self.excused.contains(&(id, op.host)) || !told.insert(id) {
                continue;
            }
            let transaction = &self.transactions[&id];
            let others = transaction.rows.iter().filter(|(row, _)| *row != there && seen.contains_key(row));
            for (row, wrote) in others {
                self.judged += 1;
                let last_writer = self.held.names.rule(*row) == Rule::LastWriter;
                let whole = match seen[row] {
                    Some(seen) => !last_writer || *seen >= wrote.version,
                    None => wrote.deleted,
                };
                if !whole && !self.may_be_absent(*row, &wrote.version) {
                    let (there, missing) = (self.held.names.row(there), self.held.names.row(*row));
                    found.push(format!(
                        "{op} saw {there} as transaction {} wrote it, and not {missing}",
                        transaction.op
                    ));
                }
            }
        }
        found
    }
}

impl Check for AtomicBatches {
    fn property(&self) -> Property {
        Property {
            id: "P16",
            name: "atomic batches",
            statement: "No peer and no reader sees part of a transaction up to the bound, beaten rows excepted; larger ones are counted.",
            needs: &[Kind::PeerCommitted, Kind::PeerRead, Kind::Merged, Kind::Purged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Committed { op, writes, .. } => {
                self.held.observe(what);
                self.committed(*op, writes);
            }
            PeerWhat::Merged { node, from, rows, repair, reconcile, .. } => {
                for (op, wrong) in self.merged(*node, *from, rows, !repair && !reconcile) {
                    findings.add(event.at_us, Some(op), || wrong);
                }
            }
            PeerWhat::Read { op, rows, .. } => {
                for wrong in self.read(*op, rows) {
                    findings.add(event.at_us, Some(*op), || wrong);
                }
            }
            PeerWhat::Purged { .. } => self.purged = true,
            _ => self.held.observe(what),
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let words = format!(
            "times a transaction of several rows was looked for whole; {} larger than {} rows were split, {} came in parts by comparison",
            self.split, self.rows_max, self.compared
        );
        Basis::new(self.judged, &words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> AtomicBatches {
        AtomicBatches::new(&terms())
    }

    /// Peer 0 writes rows 1 and 2 in one transaction.
    fn then(rest: Vec<PeerWhat>) -> Vec<PeerWhat> {
        let both = vec![write(1, v(5, "p0"), None), write(2, v(6, "p0"), None)];
        let mut history = vec![stocked(vec![(2, v(1, "a"))]), committed(0, 1, 1, both)];
        history.extend(rest);
        history
    }

    fn one() -> PeerWhat {
        merged(1, 0, vec![took(1, v(5, "p0"))])
    }

    #[test]
    fn a_whole_transaction_passes_beaten_rows_excepted() {
        let whole = merged(1, 0, vec![took(1, v(5, "p0")), beat(2, v(6, "p0"))]);
        let reads = read(1, 2, vec![saw(1, v(5, "p0")), saw(2, v(6, "p0"))]);
        assert_eq!(basis(check(), then(vec![whole.clone(), reads.clone()])), 2);
        passes(check(), then(vec![whole, reads]));
        let beaten = merged(1, 0, vec![took(1, v(5, "p0")), lost(2, v(6, "p0"), v(7, "p1"))]);
        passes(check(), then(vec![merged(1, 2, vec![beat(2, v(7, "p1"))]), beaten]));
        let refused = came(2, v(6, "p0"), MergeOutcome::TooFarAhead, Some(v(1, "a")));
        passes(check(), then(vec![merged(1, 0, vec![took(1, v(5, "p0")), refused])]));
    }

    #[test]
    fn a_part_fails() {
        fails(
            check(),
            then(vec![one()]),
            "of the 2 rows of transaction 0.1 peer 1 holds users(1) and not users(2)",
        );
    }

    #[test]
    fn a_delete_of_what_is_not_there_need_not_come() {
        let both = |second| vec![committed(0, 1, 1, vec![write(1, v(5, "p0"), None), second]), one()];
        let again = committed(0, 2, 2, vec![write(3, v(8, "p0"), None)]);
        let mut history = both(delete(3, v(6, "p0"), None));
        history.insert(1, again.clone());
        passes(check(), history);
        let mut history = both(write(3, v(6, "p0"), None));
        history.insert(1, again);
        fails(check(), history, "and not users(3)");
    }

    #[test]
    fn a_read_of_a_part_fails() {
        let reads = |rows| then(vec![read(1, 2, rows)]);
        fails(check(), reads(vec![saw(1, v(5, "p0")), saw(2, v(1, "a"))]), "and not users(2)");
        fails(check(), reads(vec![saw_nothing(1, None), saw(2, v(6, "p0"))]), "and not users(1)");
        decides_nothing(check(), reads(vec![saw_nothing(1, None), saw(2, v(1, "a"))]));
        passes(check(), reads(vec![saw(1, v(5, "p0")), saw(2, v(7, "p1"))]));
    }

    #[test]
    fn what_is_larger_than_the_bound_or_compared_may_come_in_parts() {
        let large = committed(0, 2, 2, (3..7).map(|key| write(key, v(9, "p0"), None)).collect());
        decides_nothing(check(), then(vec![large, merged(1, 0, vec![took(3, v(9, "p0"))])]));
        let compared = PeerWhat::Merged {
            node: 1,
            from: 0,
            xid: Some(1),
            rows: vec![took(1, v(5, "p0"))],
            repair: false,
            reconcile: true,
        };
        let passed_on = merged(2, 1, vec![took(1, v(5, "p0"))]);
        decides_nothing(check(), then(vec![compared.clone(), passed_on.clone()]));
        fails(check(), then(vec![passed_on]), "peer 2 holds users(1) and not users(2)");
        decides_nothing(
            check(),
            then(vec![compared, read(1, 2, vec![saw(1, v(5, "p0")), saw(2, v(1, "a"))])]),
        );
    }

    #[test]
    fn a_transaction_that_was_overwritten_is_forgotten() {
        let later = committed(0, 2, 2, vec![write(1, v(8, "p0"), None), write(2, v(9, "p0"), None)]);
        let mut check = check();
        let mut findings = Findings::default();
        history(then(vec![later])).iter().for_each(|event| check.observe(event, &mut findings));
        assert_eq!(check.transactions.len(), 1);
        assert_eq!(check.writers.iter().map(Vec::len).sum::<usize>(), 2);
    }
}
