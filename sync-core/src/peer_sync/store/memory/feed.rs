//! Which transaction put which rows here: what a feed is read from.
//!
//! Each row is listed under the transaction of its stored version only. A transaction remembers which of its rows
//! others hold: because they overwrote them, or because a received row was beaten by what was here. Whoever reads
//! what is left of the transaction needs those with it, or sees a part. A transaction that merged a page consists of
//! parts, its groups. They are read at once, too; but rows that the reader has already are named only where their part, or one
//! that is tied to it by a lost row, brings something.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::rows::{Place, Row, Rows};
use crate::limits;
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::store::together::Part;

/// Rows by the transaction that put their version here.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed {
    transactions: BTreeMap<u64, Wrote>,
}

/// What one transaction wrote. It is forgotten when nothing that it wrote is stored any more.
#[derive(Clone, Debug, Default)]
struct Wrote {
    /// Places of its rows, and of some that others have overwritten since.
    places: Vec<Place>,
    /// Rows that are still as it wrote them.
    living: usize,
    /// Rows of it that others hold: of which part, place, and transaction in which the row was born.
    lost: Vec<(u32, Place, u64)>,
    /// Its rows in order; made when it is read in parts.
    ordered: Option<BTreeMap<RowId, Place>>,
}

/// Transactions that have to be read together.
pub(super) struct Group {
    pub(super) xids: BTreeSet<u64>,
    /// Places of rows of these transactions that the reader has, or what beats them, with the part that lost them; some more
    /// than once.
    pub(super) known: Vec<(Part, Place)>,
    /// Parts of these transactions of which one lost a row that the other holds.
    pub(super) ties: Vec<(Part, Part)>,
    /// Whether others belonged to it that were left out for its size.
    pub(super) cut: bool,
}

impl Feed {
    /// A transaction put a version of a row here.
    pub(super) fn wrote(&mut self, xid: u64, place: Place) {
        let wrote = self.transactions.entry(xid).or_default();
        wrote.places.push(place);
        wrote.living += 1;
    }

    /// A row of the part, at this place and born in this transaction, is held by another.
    pub(super) fn lost(&mut self, (xid, nth): Part, place: Place, born: u64) {
        // Whoever wrote more than the bound is read in parts anyway.
        let wrote = self.transactions.get_mut(&xid);
        if let Some(wrote) = wrote.filter(|wrote| wrote.lost.len() < limits::TRANSACTION_ROWS_MAX) {
            wrote.lost.push((nth, place, born));
        }
    }

    /// A row that the transaction had written is not stored any more as it wrote it.
    pub(super) fn gone(&mut self, xid: u64, rows: &Rows) {
        let Some(wrote) = self.transactions.get_mut(&xid) else { return };
        wrote.living -= 1;
        if wrote.living == 0 {
            self.transactions.remove(&xid);
        } else if wrote.places.len() > 2 * wrote.living + 8 {
            // Half of it and more is stale: looking through it now is paid for by what became stale.
            wrote.places.retain(|place| rows.at(*place).is_some_and(|row| row.xid == xid));
        }
    }

    /// The first transaction from this one on that has rows.
    pub(super) fn next(&self, xid: u64) -> Option<u64> {
        self.transactions.range(xid..).next().map(|(xid, _)| *xid)
    }

    /// Transactions with rows between two.
    pub(super) fn between(&self, low: u64, high: u64) -> impl Iterator<Item = u64> {
        self.transactions.range(low..high.max(low)).map(|(xid, _)| *xid)
    }

    /// Rows that are still as a transaction wrote them.
    pub(super) fn living(&self, xid: u64) -> usize {
        self.transactions.get(&xid).map_or(0, |wrote| wrote.living)
    }

    /// Those rows, in no order that means anything.
    pub(super) fn rows<'a>(&'a self, xid: u64, rows: &'a Rows) -> impl Iterator<Item = (Place, &'a Row)> {
        let places = self.transactions.get(&xid).map(|wrote| &wrote.places);
        places.into_iter().flatten().filter_map(move |place| Some((*place, of(rows, *place, xid)?)))
    }

    /// Those rows from after one of them, in the order of their ids, for a transaction that is read in parts.
    pub(super) fn rows_after<'a>(
        &'a mut self,
        xid: u64,
        after: Option<&RowId>,
        rows: &'a Rows,
    ) -> impl Iterator<Item = &'a RowVersion> {
        let ordered = self.transactions.get_mut(&xid).map(|wrote| {
            &*wrote.ordered.get_or_insert_with(|| {
                let own = wrote.places.iter().filter_map(|place| Some((*place, of(rows, *place, xid)?)));
                own.map(|(place, row)| (row.stored.row.clone(), place)).collect()
            })
        });
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        ordered
            .into_iter()
            .flat_map(move |ordered| ordered.range::<RowId, _>(range))
            .filter_map(move |(_, place)| of(rows, *place, xid).map(|row| &row.stored))
    }

    /// What has to be read with a transaction: those that hold rows which it has lost, and so on, but for what the
    /// reader has and for rows that it does not need. None of them if they are too many for one transaction.
    pub(super) fn group(
        &self,
        first: u64,
        rows: &Rows,
        has: impl Fn(u64) -> bool,
        needs: impl Fn(&RowVersion) -> bool,
    ) -> Group {
        let mut xids = BTreeSet::from([first]);
        let mut known = Vec::new();
        let mut ties = Vec::new();
        let mut living = self.living(first);
        let mut open = vec![first];
        while let Some(xid) = open.pop() {
            let lost = self.transactions.get(&xid).map(|wrote| &wrote.lost);
            for (nth, place, born) in lost.into_iter().flatten() {
                let part = (xid, *nth);
                let Some(row) = rows.at(*place).filter(|row| row.born == *born) else { continue };
                if xids.contains(&row.xid) {
                    ties.push((part, row.part()));
                    continue;
                }
                if has(row.xid) || !needs(&row.stored) {
                    known.push((part, *place));
                    continue;
                }
                living += self.living(row.xid);
                if living > limits::TRANSACTION_ROWS_MAX {
                    return Group { xids: BTreeSet::from([first]), known, ties, cut: true };
                }
                xids.insert(row.xid);
                ties.push((part, row.part()));
                open.push(row.xid);
            }
        }
        Group { xids, known, ties, cut: false }
    }
}

/// The row at a place, if it is still as the transaction wrote it.
fn of(rows: &Rows, place: Place, xid: u64) -> Option<&Row> {
    rows.at(place).filter(|row| row.xid == xid)
}
