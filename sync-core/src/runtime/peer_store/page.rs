//! A page of the feed: what became visible since a position, in whole transactions. The rules are those of the in-memory
//! store; what it finds in its indexes is read here as far as one page may need it.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::Stored;
use super::transactions::{Group, TRANSACTION_LOOK, Transactions};
use super::work::Work;
use crate::limits;
use crate::peer_sync::position::{Position, Within};
use crate::peer_sync::row::RowId;
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::together::{self, Part, Together};
use crate::peer_sync::store::{Page, PeerReply, ReadFeed};
use crate::runtime::postgres::PostgresError;

/// Transactions that a position may have left out behind those that were read ahead of their turn. With more, the
/// latter are read again when it is their turn.
const LEFT_OUT_MAX: usize = 1_000;
/// From one transaction to the next: DISTINCT would look at every row of those that wrote many.
const BETWEEN: &str = "WITH RECURSIVE each (xid) AS (
        (SELECT xid FROM p2p_peer.versions WHERE xid >= $1 AND xid < $2 ORDER BY xid LIMIT 1)
        UNION ALL
        SELECT (SELECT v.xid FROM p2p_peer.versions AS v WHERE v.xid > each.xid AND v.xid < $2 ORDER BY v.xid LIMIT 1)
        FROM each WHERE each.xid IS NOT NULL
    )
    SELECT xid FROM each WHERE xid IS NOT NULL LIMIT $3";

/// Rows that are read beyond what there is room for.
const LOOK_AHEAD: usize = 64;

/// A page in the making.
#[derive(Default)]
struct Draft {
    rows: Vec<Stored>,
    groups: Vec<u32>,
    bytes: usize,
    /// Transactions that are in it.
    taken: BTreeSet<u64>,
    /// Rows that are left out, each with the place of its group.
    known: Vec<(u32, RowId)>,
    split: u32,
    omitted: u64,
    /// The first transaction that is not in it, and where in it the page ends.
    stop: Option<u64>,
    within: Option<Within>,
}

impl Work<'_> {
    /// A position at the end of what is visible.
    fn here(&self) -> Position {
        Position { incarnation: self.state.incarnation, snapshot: self.snapshot.clone(), within: None }
    }

    /// Whether a reader may have missed the purge of a tombstone, or stands in another life of this database.
    fn is_cut_off(&self, request: &ReadFeed) -> bool {
        match &request.since {
            // Who has nothing has nothing that was deleted.
            None => self.state.others.horizon().is_some() && !request.frontier.is_empty(),
            Some(since) => {
                since.incarnation != self.state.incarnation
                    || !self.snapshot.covers(&since.snapshot)
                    || !self.state.purged.passed_by(&since.snapshot, &self.snapshot)
            }
        }
    }

    pub(super) async fn read_feed(&mut self, request: &ReadFeed) -> Result<PeerReply, PostgresError> {
        if self.is_cut_off(request) {
            return Ok(PeerReply::MustReconcile(self.here()));
        }
        let read = request.since.as_ref().map(|since| since.snapshot.clone()).unwrap_or_default();
        let within = request.since.as_ref().and_then(|since| since.within.clone());
        // What is read in parts is beyond the bound, whatever is left of it: its parts are read where they are added.
        let begun = |xid: u64| within.as_ref().is_some_and(|within| within.xid == xid);
        let mut draft = Draft::default();
        // What was under way when the reader came last, and then what came after.
        for xid in self.late(read.under_way()).await? {
            if draft.stop.is_none() {
                let rows = match begun(xid) {
                    true => Vec::new(),
                    false => self.transaction(xid).await?,
                };
                let rows = BTreeMap::from([(xid, rows)]);
                self.add(&mut draft, request, &read, within.as_ref(), rows).await?;
            }
        }
        let mut from = read.xmax();
        if draft.stop.is_none() && begun(from) {
            let rows = BTreeMap::from([(from, Vec::new())]);
            self.add(&mut draft, request, &read, within.as_ref(), rows).await?;
            from += 1;
        }
        while draft.stop.is_none() {
            // What there is room for, and a little to see what comes next. A transaction that is larger is read again.
            let room = request.rows_max.min(limits::PAGE_ROWS_MAX).saturating_sub(draft.rows.len());
            let mut look = room + LOOK_AHEAD;
            let mut rows = self.transactions_from(from, look).await?;
            let is_one = rows.first().map(|row| row.xid) == rows.last().map(|row| row.xid);
            if rows.len() >= look && is_one && look < TRANSACTION_LOOK {
                look = TRANSACTION_LOOK;
                rows = self.transactions_from(from, look).await?;
            }
            let is_end = rows.len() < look;
            let (rows, next) = self.uncut(rows, look);
            self.add(&mut draft, request, &read, within.as_ref(), rows).await?;
            if is_end {
                break;
            }
            from = next;
        }
        let page = self.finish_page(draft, &read, within).await?;
        Ok(PeerReply::Page(page))
    }

    /// Rows by transaction, without a last one that may go on past the end; and from which transaction to read on.
    fn uncut(&self, rows: Vec<Stored>, look: usize) -> (BTreeMap<u64, Vec<Stored>>, u64) {
        let is_cut = rows.len() >= look;
        let mut by_xid: BTreeMap<u64, Vec<Stored>> = BTreeMap::new();
        for row in rows {
            by_xid.entry(row.xid).or_default().push(row);
        }
        let last = by_xid.last_key_value().map_or(0, |(xid, rows)| {
            // One beyond the bound is read in parts, whatever else it has.
            if is_cut && rows.len() < TRANSACTION_LOOK { *xid } else { *xid + 1 }
        });
        by_xid.retain(|xid, _| *xid < last);
        (by_xid, last)
    }

    /// Adds transactions in their order, until there is no room.
    async fn add(
        &mut self,
        draft: &mut Draft,
        request: &ReadFeed,
        read: &Snapshot,
        within: Option<&Within>,
        rows: BTreeMap<u64, Vec<Stored>>,
    ) -> Result<(), PostgresError> {
        let xids: Vec<u64> = rows.keys().copied().collect();
        let cache = &mut Transactions::of(rows);
        self.read_lost(cache, &xids).await?;
        for xid in xids {
            if read.sees(xid) || draft.taken.contains(&xid) {
                continue;
            }
            let begun = within.filter(|within| within.xid == xid);
            let fits = if begun.is_some() || cache.living(xid) > limits::TRANSACTION_ROWS_MAX {
                self.add_part(draft, request, xid, begun).await?
            } else {
                self.add_group(draft, cache, request, xid, read).await?
            };
            if !fits {
                draft.stop = Some(xid);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Adds a transaction and all that has to come with it; false if there is no room.
    async fn add_group(
        &mut self,
        draft: &mut Draft,
        cache: &mut Transactions,
        request: &ReadFeed,
        xid: u64,
        read: &Snapshot,
    ) -> Result<bool, PostgresError> {
        let Group { xids, known, ties, cut } = self.group(&draft.taken, cache, request, xid, read).await?;
        let together = Together::new(ties);
        let mut rows: Vec<(Part, &Stored)> = Vec::new();
        let mut known: Vec<(Part, RowId)> =
            known.into_iter().map(|(part, row)| (together.of(part), row)).collect();
        let mut omitted = 0;
        for stored in xids.iter().filter_map(|xid| cache.rows.get(xid)).flatten() {
            let part = together.of(stored.part());
            if needs(request, stored) {
                rows.push((part, stored));
            } else {
                omitted += 1;
                known.push((part, stored.row.clone()));
            }
        }
        rows.sort_unstable_by(|a, b| (a.0, &a.1.row).cmp(&(b.0, &b.1.row)));
        known.sort_unstable();
        known.dedup();
        let (groups, known) = together::numbered(&rows, known);
        let bytes = rows.iter().map(|(_, row)| row.bytes()).sum::<usize>()
            + known.iter().map(|(_, row)| row.bytes()).sum::<usize>();
        let full =
            draft.rows.len() + rows.len() > request.rows_max || draft.bytes + bytes > request.bytes_max;
        if full && !draft.rows.is_empty() && !rows.is_empty() {
            return Ok(false);
        }
        draft.split += u32::from(cut && !rows.is_empty());
        draft.taken.extend(xids);
        let first = draft.groups.len() as u32;
        draft.known.extend(known.into_iter().map(|(group, row)| (first + group, row)));
        draft.omitted += omitted;
        draft.add(groups, rows.into_iter().map(|(_, row)| row.clone()), bytes);
        Ok(true)
    }

    /// Adds what there is room for of a transaction beyond the bound; false if that is not all.
    async fn add_part(
        &mut self,
        draft: &mut Draft,
        request: &ReadFeed,
        xid: u64,
        begun: Option<&Within>,
    ) -> Result<bool, PostgresError> {
        let mut rows: Vec<Stored> = Vec::new();
        let mut bytes = 0;
        let mut after = begun.map(|within| within.after.clone());
        let full = 'read: loop {
            let more = self.part(xid, after.as_ref()).await?;
            let is_end = more.len() < limits::PAGE_ROWS_MAX;
            for row in more {
                after = Some(row.row.clone());
                if !needs(request, &row) {
                    draft.omitted += 1;
                    continue;
                }
                let empty = draft.rows.is_empty() && rows.is_empty();
                let full = draft.rows.len() + rows.len() >= request.rows_max
                    || draft.bytes + bytes + row.bytes() > request.bytes_max;
                if full && !empty {
                    break 'read true;
                }
                bytes += row.bytes();
                rows.push(row);
            }
            if is_end {
                break false;
            }
        };
        if full {
            let last = rows.last().map(|row| row.row.clone());
            draft.within = last.map(|after| Within { xid, after }).or_else(|| begun.cloned());
        } else {
            draft.taken.insert(xid);
        }
        draft.split += u32::from(!rows.is_empty());
        draft.add(Vec::from_iter((!rows.is_empty()).then_some(rows.len() as u32)), rows, bytes);
        Ok(!full)
    }

    async fn finish_page(
        &mut self,
        mut draft: Draft,
        read: &Snapshot,
        within: Option<Within>,
    ) -> Result<Page, PostgresError> {
        let visible = self.snapshot.clone();
        let snapshot = match draft.stop {
            None => read.union(&visible),
            Some(stop) => {
                let up_to = read.union(&visible.up_to(stop - 1));
                self.with_ahead(&draft, stop, &visible, &up_to).await?.unwrap_or(up_to)
            }
        };
        // A part that was begun and whose turn has not come again stays begun.
        let within = draft.within.or(within).filter(|within| !snapshot.sees(within.xid));
        let frontier = draft.stop.is_none().then(|| self.state.frontier(&self.shared.node, &visible));
        draft.known.sort_unstable();
        Ok(Page {
            rows: self.with_contents(draft.rows).await?,
            groups: draft.groups,
            known: draft.known,
            position: Position { incarnation: self.state.incarnation, snapshot, within },
            frontier,
            split: draft.split,
            omitted: draft.omitted,
        })
    }

    /// What is read, with the transactions that came ahead of their turn; none if that would leave out too many.
    async fn with_ahead(
        &mut self,
        draft: &Draft,
        stop: u64,
        visible: &Snapshot,
        up_to: &Snapshot,
    ) -> Result<Option<Snapshot>, PostgresError> {
        let Some(last) = draft.taken.last().copied().filter(|last| *last > stop) else { return Ok(None) };
        // What has no rows any more need not be read, so only the others are left out. Some of those that lie between
        // are read already.
        let most = LEFT_OUT_MAX + 1 + draft.taken.len() + up_to.under_way().len();
        let between: Vec<i64> = sqlx::query_scalar(BETWEEN)
            .bind(stop.cast_signed())
            .bind(last.cast_signed())
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(&mut *self.connection)
            .await?;
        let unread = |xid: &u64| !draft.taken.contains(xid) && !up_to.sees(*xid);
        let mut left_out: Vec<u64> = between.into_iter().map(i64::cast_unsigned).filter(unread).collect();
        if left_out.len() > LEFT_OUT_MAX {
            return Ok(None);
        }
        left_out.extend_from_slice(visible.under_way());
        Ok(Some(up_to.union(&Snapshot::new(last + 1, left_out))))
    }
}

impl Draft {
    /// A page is bounded far below 2^32 rows, and a group by the bound of transactions.
    fn add(&mut self, groups: Vec<u32>, rows: impl IntoIterator<Item = Stored>, bytes: usize) {
        self.groups.extend(groups);
        self.rows.extend(rows);
        self.bytes += bytes;
    }
}

/// Whether the reader has not got a row, nor what beats it.
pub(super) fn needs(request: &ReadFeed, row: &Stored) -> bool {
    !request.frontier.covers(&row.version.node, row.origin)
}
