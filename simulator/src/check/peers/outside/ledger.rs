//! What was written to each row, what each peer has shown of it, and which write is known to precede which.
//!
//! Of each row the latest writes are kept; memory is bounded by rows times peers.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::version::ContentHash;

use crate::history::OpRef;
use crate::history::peers::{PeerWhat, Written};

/// The number of a row, from 0, in the order in which they are first named.
pub(super) type RowNumber = usize;
/// The number of a write of a row, from 0; it never means another.
pub(super) type WriteNumber = u64;

/// By writer, how many of its writes of a row are known.
type Known = BTreeMap<u32, u64>;

/// Who wrote what was there from the start. Everybody knows it.
const STOCK: u32 = u32::MAX;
/// Writes of a row that are kept.
const KEPT_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    numbers: FxHashMap<RowId, RowNumber>,
    rows: Vec<Row>,
    /// By peer and row.
    views: BTreeMap<(u32, RowNumber), Known>,
    /// What transactions wrote that are not acknowledged yet.
    open: BTreeMap<OpRef, Vec<(RowNumber, WriteNumber)>>,
}

#[derive(Debug)]
struct Row {
    name: RowId,
    writes: VecDeque<Write>,
    /// How many were forgotten.
    forgotten: u64,
    by_writer: Known,
}

/// One write of one row.
#[derive(Debug)]
pub(super) struct Write {
    /// None for what was there from the start.
    pub(super) op: Option<OpRef>,
    /// None for a delete.
    pub(super) content: Option<ContentHash>,
    pub(super) acknowledged: bool,
    writer: u32,
    /// Its place among its writer's, from 1.
    ordinal: u64,
    /// All that it is known to follow.
    past: Known,
}

impl Ledger {
    /// The number of a row.
    pub(super) fn number(&mut self, row: &RowId) -> RowNumber {
        if let Some(number) = self.numbers.get(row) {
            return *number;
        }
        let number = self.rows.len();
        self.numbers.insert(row.clone(), number);
        let (name, writes) = (row.clone(), VecDeque::new());
        self.rows.push(Row { name, writes, forgotten: 0, by_writer: Known::new() });
        number
    }

    pub(super) fn name(&self, row: RowNumber) -> &RowId {
        &self.rows[row].name
    }

    pub(super) fn rows(&self) -> std::ops::Range<RowNumber> {
        0..self.rows.len()
    }

    /// The writes of a row that are kept.
    pub(super) fn writes(&self, row: RowNumber) -> impl Iterator<Item = (WriteNumber, &Write)> {
        let row = &self.rows[row];
        (row.forgotten..).zip(&row.writes)
    }

    /// Takes what was written and acknowledged.
    pub(super) fn observe(&mut self, what: &PeerWhat) {
        match what {
            PeerWhat::Stocked { rows } => {
                for held in rows {
                    let row = self.number(&held.row);
                    let content = (!held.deleted).then_some(held.version.hash);
                    self.add(row, STOCK, None, content);
                }
            }
            PeerWhat::Committed { op, writes, .. } => {
                let mut open = Vec::with_capacity(writes.len());
                for Written { row, version, deleted, seen, .. } in writes {
                    let row = self.number(row);
                    self.show(op.host, row, seen.as_ref().map(|seen| seen.hash));
                    let number = self.add(row, op.host, Some(*op), (!deleted).then_some(version.hash));
                    open.push((row, number));
                }
                self.open.insert(*op, open);
            }
            PeerWhat::Acknowledged { op } => {
                for (row, number) in self.open.remove(op).unwrap_or_default() {
                    let known = &mut self.rows[row];
                    let place =
                        number.checked_sub(known.forgotten).and_then(|place| usize::try_from(place).ok());
                    if let Some(write) = place.and_then(|place| known.writes.get_mut(place)) {
                        write.acknowledged = true;
                    }
                }
            }
            PeerWhat::Indefinite { op } => drop(self.open.remove(op)),
            _ => {}
        }
    }

    fn add(
        &mut self,
        row: RowNumber,
        writer: u32,
        op: Option<OpRef>,
        content: Option<ContentHash>,
    ) -> WriteNumber {
        // What was there from the start follows nothing.
        let past = if writer == STOCK { Known::new() } else { self.view(writer, row).clone() };
        let known = &mut self.rows[row];
        let ordinal = known.by_writer.entry(writer).or_default();
        *ordinal += 1;
        let (ordinal, acknowledged) = (*ordinal, op.is_none());
        known.writes.push_back(Write { op, content, acknowledged, writer, ordinal, past });
        if known.writes.len() > KEPT_MAX {
            known.writes.pop_front();
            known.forgotten += 1;
        }
        let number = known.forgotten + known.writes.len() as u64 - 1;
        self.view(writer, row).insert(writer, ordinal);
        number
    }

    fn view(&mut self, peer: u32, row: RowNumber) -> &mut Known {
        self.views.entry((peer, row)).or_insert_with(|| Known::from([(STOCK, 1)]))
    }

    /// A peer shows this of a row. Gives the write that it is, if it can be one only.
    pub(super) fn show(
        &mut self,
        peer: u32,
        row: RowNumber,
        shown: Option<ContentHash>,
    ) -> Option<WriteNumber> {
        let number = self.only(row, shown)?;
        let write = self.get(row, number)?;
        let (mut join, writer, ordinal) = (write.past.clone(), write.writer, write.ordinal);
        join.insert(writer, ordinal);
        let view = self.view(peer, row);
        for (writer, ordinal) in join {
            let known = view.entry(writer).or_default();
            *known = ordinal.max(*known);
        }
        Some(number)
    }

    /// The only write of this content, where no row at all is not what there was before the first write.
    fn only(&self, row: RowNumber, shown: Option<ContentHash>) -> Option<WriteNumber> {
        let known = &self.rows[row];
        if shown.is_none() && (known.forgotten > 0 || !known.by_writer.contains_key(&STOCK)) {
            return None;
        }
        let mut found = self.writes(row).filter(|(_, write)| write.content == shown);
        let first = found.next()?.0;
        found.next().is_none().then_some(first)
    }

    fn get(&self, row: RowNumber, number: WriteNumber) -> Option<&Write> {
        let known = &self.rows[row];
        known.writes.get(usize::try_from(number.checked_sub(known.forgotten)?).ok()?)
    }

    /// Whether the first is known to precede the second.
    pub(super) fn precedes(&self, row: RowNumber, first: WriteNumber, second: WriteNumber) -> bool {
        let (Some(one), Some(other)) = (self.get(row, first), self.get(row, second)) else { return false };
        first != second && other.past.get(&one.writer).is_some_and(|known| *known >= one.ordinal)
    }

    /// Whether what is shown is known to precede this write: whatever wrote it does. What the row held before its first
    /// write precedes them all; what is forgotten may be anything.
    pub(super) fn is_stale(&self, row: RowNumber, shown: Option<ContentHash>, write: WriteNumber) -> bool {
        if self.rows[row].forgotten > 0 || self.get(row, write).is_none() {
            return false;
        }
        let mut found = self.writes(row).filter(|(_, write)| write.content == shown).peekable();
        // A content that nobody wrote is another matter (P6).
        if found.peek().is_none() && shown.is_some() {
            return false;
        }
        found.all(|(number, _)| self.precedes(row, number, write))
    }

    /// Whether somebody wrote this, as far as that is still known. A row may be absent until somebody writes it.
    pub(super) fn may_show(&self, row: RowNumber, shown: Option<ContentHash>) -> bool {
        let known = &self.rows[row];
        known.forgotten > 0
            || self.writes(row).any(|(_, write)| write.content == shown)
            || (shown.is_none() && !known.by_writer.contains_key(&STOCK))
    }

    /// The delete that a peer knows of and that what it shows is known to precede.
    pub(super) fn grave(&mut self, peer: u32, row: RowNumber, shown: ContentHash) -> Option<WriteNumber> {
        let view = self.view(peer, row).clone();
        let known = |write: &Write| view.get(&write.writer).is_some_and(|known| *known >= write.ordinal);
        let mut deletes = self.writes(row).filter(|(_, write)| write.content.is_none() && known(write));
        deletes.find(|(number, _)| self.is_stale(row, Some(shown), *number)).map(|(number, _)| number)
    }

    /// Who wrote it and as which of its writes of the row.
    pub(super) fn author(&self, row: RowNumber, number: WriteNumber) -> Option<(u32, u64)> {
        self.get(row, number).map(|write| (write.writer, write.ordinal))
    }

    /// The operation of a write, in a sentence.
    pub(super) fn say(&self, row: RowNumber, number: WriteNumber) -> String {
        match self.get(row, number) {
            Some(Write { op: Some(op), content: Some(_), .. }) => format!("the write of {op}"),
            Some(Write { op: Some(op), content: None, .. }) => format!("the delete of {op}"),
            _ => "what was there from the start".to_owned(),
        }
    }

    pub(super) fn op(&self, row: RowNumber, number: WriteNumber) -> Option<OpRef> {
        self.get(row, number)?.op
    }
}
