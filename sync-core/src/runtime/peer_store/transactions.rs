//! Transactions as a feed is read from them: the rows that are still as each wrote them, and what each has lost.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;

use super::page::needs;
use super::rows::{Stored, head};
use super::work::Work;
use crate::limits;
use crate::peer_sync::row::RowId;
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::ReadFeed;
use crate::peer_sync::store::together::Part;
use crate::runtime::postgres::PostgresError;

/// Rows of one transaction that are read to find out whether it is beyond the bound.
pub(super) const TRANSACTION_LOOK: usize = limits::TRANSACTION_ROWS_MAX + 1;

/// Rows of transactions from one on, in the order of transactions and ids.
const FROM: &str = concat!(
    "SELECT ",
    head!(),
    " FROM p2p_peer.versions AS v WHERE v.xid >= $1 ORDER BY v.xid, v.table_name, v.key LIMIT $2"
);
/// One transaction at a time: of a join with several PostgreSQL reads the whole index in its order for the sake of the bound.
const OF: &str = concat!(
    "SELECT ",
    head!(),
    " FROM p2p_peer.versions AS v WHERE v.xid = $1 ORDER BY v.table_name, v.key LIMIT $2"
);
const AFTER: &str = concat!(
    "SELECT ",
    head!(),
    " FROM p2p_peer.versions AS v WHERE v.xid = $1 AND (v.table_name, v.key) > ($2, $3) \
     ORDER BY v.table_name, v.key LIMIT $4"
);
const LOST: &str = concat!(
    "SELECT l.xid, l.part, ",
    head!(),
    " FROM unnest($1::bigint[]) AS u (xid) JOIN p2p_peer.lost AS l ON l.xid = u.xid \
     JOIN p2p_peer.versions AS v ON v.table_name = l.table_name AND v.key = l.key AND v.born = l.born \
     WHERE v.xid <> l.xid OR v.part <> l.part"
);
const LATE: &str = "SELECT u.xid FROM unnest($1::bigint[]) AS u (xid)
    WHERE EXISTS (SELECT FROM p2p_peer.versions AS v WHERE v.xid = u.xid) ORDER BY u.xid";
/// What has been read of transactions: the rows that are still as each wrote them, and those that it has lost.
#[derive(Default)]
pub(super) struct Transactions {
    pub(super) rows: BTreeMap<u64, Vec<Stored>>,
    lost: BTreeMap<u64, Vec<(u32, Stored)>>,
}

/// Transactions that have to be read together.
pub(super) struct Group {
    pub(super) xids: BTreeSet<u64>,
    /// Rows of these transactions that the reader has, or what beats them, with the part that lost them.
    pub(super) known: Vec<(Part, RowId)>,
    /// Parts of these transactions of which one lost a row that the other holds.
    pub(super) ties: Vec<(Part, Part)>,
    /// Whether others belonged to it that were left out for its size.
    pub(super) cut: bool,
}

impl Work<'_> {
    /// What has to be read with a transaction: those that hold rows which it has lost, and so on, but for what the
    /// reader has and for rows that it does not need. None of them if they are too many for one transaction.
    pub(super) async fn group(
        &mut self,
        taken: &BTreeSet<u64>,
        cache: &mut Transactions,
        request: &ReadFeed,
        first: u64,
        read: &Snapshot,
    ) -> Result<Group, PostgresError> {
        let mut xids = BTreeSet::from([first]);
        let mut known = Vec::new();
        let mut ties = Vec::new();
        let mut living = cache.living(first);
        let mut open = vec![first];
        while let Some(xid) = open.pop() {
            self.read_lost(cache, &[xid]).await?;
            for (nth, row) in cache.lost.get(&xid).cloned().unwrap_or_default() {
                let part = (xid, nth);
                if xids.contains(&row.xid) {
                    ties.push((part, row.part()));
                    continue;
                }
                if read.sees(row.xid) || taken.contains(&row.xid) || !needs(request, &row) {
                    known.push((part, row.row));
                    continue;
                }
                if let Entry::Vacant(unread) = cache.rows.entry(row.xid) {
                    unread.insert(self.transaction(row.xid).await?);
                }
                living += cache.living(row.xid);
                if living > limits::TRANSACTION_ROWS_MAX {
                    return Ok(Group { xids: BTreeSet::from([first]), known, ties, cut: true });
                }
                xids.insert(row.xid);
                ties.push((part, row.part()));
                open.push(row.xid);
            }
        }
        Ok(Group { xids, known, ties, cut: false })
    }

    /// Which of these transactions have rows.
    pub(super) async fn late(&mut self, xids: &[u64]) -> Result<Vec<u64>, PostgresError> {
        if xids.is_empty() {
            return Ok(Vec::new());
        }
        let xids: Vec<i64> = xids.iter().map(|xid| xid.cast_signed()).collect();
        let late: Vec<i64> = sqlx::query_scalar(LATE).bind(xids).fetch_all(&mut *self.connection).await?;
        Ok(late.into_iter().map(i64::cast_unsigned).collect())
    }

    pub(super) async fn transactions_from(
        &mut self,
        xid: u64,
        rows_max: usize,
    ) -> Result<Vec<Stored>, PostgresError> {
        let query = sqlx::query(FROM).bind(xid.cast_signed()).bind(bounded(rows_max));
        let rows = query.fetch_all(&mut *self.connection).await?;
        rows.iter().map(|row| Stored::read(row, 0, self.shared, self.own())).collect()
    }

    /// Rows of one transaction, as many as tell whether it is beyond the bound.
    pub(super) async fn transaction(&mut self, xid: u64) -> Result<Vec<Stored>, PostgresError> {
        let query = sqlx::query(OF).bind(xid.cast_signed()).bind(bounded(TRANSACTION_LOOK));
        let rows = query.fetch_all(&mut *self.connection).await?;
        rows.iter().map(|row| Stored::read(row, 0, self.shared, self.own())).collect()
    }

    pub(super) async fn part(
        &mut self,
        xid: u64,
        after: Option<&RowId>,
    ) -> Result<Vec<Stored>, PostgresError> {
        let (table, key) = after.map_or(("", ""), |after| (after.table.as_str(), after.key.as_canonical()));
        let query = sqlx::query(AFTER).bind(xid.cast_signed()).bind(table).bind(key);
        let rows = query.bind(bounded(limits::PAGE_ROWS_MAX)).fetch_all(&mut *self.connection).await?;
        rows.iter().map(|row| Stored::read(row, 0, self.shared, self.own())).collect()
    }

    /// Reads what transactions have lost, unless that is known.
    pub(super) async fn read_lost(
        &mut self,
        cache: &mut Transactions,
        xids: &[u64],
    ) -> Result<(), PostgresError> {
        let unknown: Vec<u64> = xids.iter().copied().filter(|xid| !cache.lost.contains_key(xid)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let numbers: Vec<i64> = unknown.iter().map(|xid| xid.cast_signed()).collect();
        cache.lost.extend(unknown.into_iter().map(|xid| (xid, Vec::new())));
        for row in &sqlx::query(LOST).bind(numbers).fetch_all(&mut *self.connection).await? {
            let xid = row.try_get::<i64, _>(0)?.cast_unsigned();
            let nth = row.try_get::<i32, _>(1)?.cast_unsigned();
            let stored = Stored::read(row, 2, self.shared, self.own())?;
            cache.lost.entry(xid).or_default().push((nth, stored));
        }
        Ok(())
    }
}

impl Transactions {
    pub(super) fn of(rows: BTreeMap<u64, Vec<Stored>>) -> Self {
        Self { rows, ..Self::default() }
    }

    pub(super) fn living(&self, xid: u64) -> usize {
        self.rows.get(&xid).map_or(0, Vec::len)
    }
}

fn bounded(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
