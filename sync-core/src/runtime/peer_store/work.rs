//! One request at work: a transaction, what it has read, and what it changes beside the rows that it is asked for.
//!
//! Every version goes through [`Work::put`] and [`Work::forget`], which keep totals, ties and what transactions
//! have lost in step with the versions, as the in-memory store's places of the same names do.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::rows::{self, Life, Stored};
use super::state::State;
use super::{Shared, settle};
use crate::limits;
use crate::peer_sync::row::{Origin, RowId, TableName};
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::together::Part;
use crate::peer_sync::version::{NodeId, Stamp};
use crate::runtime::postgres::PostgresError;
use crate::time::Timestamp;

/// A transaction that has locked rows has its number already. Its snapshot's text then begins with that, although it is not
/// among those under way, so it is no text of a [`Snapshot`].
const LOOK: &str = "SELECT p2p_peer.clock_us(), pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
    ARRAY(SELECT xid::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) AS xid),
    ARRAY(SELECT DISTINCT table_name FROM p2p_peer.log), CASE WHEN $1 THEN pg_current_xact_id()::text::bigint END";
const XID: &str = "SELECT pg_current_xact_id()::text::bigint";
/// Of transactions of which something is left, and so many rows of each as belong together at most. Each transaction is
/// looked for once: of one whose rows were all overwritten the index holds as many dead entries.
const LOSE: &str = "WITH alive AS MATERIALIZED (
        SELECT x.xid, $5 - (SELECT count(*) FROM (SELECT FROM p2p_peer.lost AS l WHERE l.xid = x.xid LIMIT $5) AS c) AS room
        FROM (SELECT DISTINCT xid FROM unnest($1::bigint[]) AS d (xid)) AS x
        WHERE $6 OR EXISTS (SELECT FROM p2p_peer.versions AS v WHERE v.xid = x.xid)
    )
    INSERT INTO p2p_peer.lost (xid, part, table_name, key, born)
    SELECT u.xid, u.part, u.t, u.k, u.born FROM alive JOIN (
        SELECT *, row_number() OVER (PARTITION BY xid) AS n
        FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $7::integer[]) AS u (xid, t, k, born, part)
    ) AS u ON u.xid = alive.xid AND u.n <= alive.room
    ON CONFLICT (xid, part, table_name, key) DO UPDATE SET born = excluded.born";
const FORGET_LOST: &str = "WITH gone AS MATERIALIZED (
        SELECT x.xid FROM (SELECT DISTINCT xid FROM unnest($1::bigint[]) AS d (xid)) AS x
        WHERE EXISTS (SELECT FROM p2p_peer.lost AS l WHERE l.xid = x.xid)
        AND NOT EXISTS (SELECT FROM p2p_peer.versions AS v WHERE v.xid = x.xid)
    )
    DELETE FROM p2p_peer.lost AS l USING gone WHERE l.xid = gone.xid";
const BEAT: &str = "INSERT INTO p2p_peer.beats (table_name, key, node, incarnation, xid)
    SELECT u.t, u.k, u.n, u.i, max(u.x)
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS u (t, k, n, i, x) GROUP BY 1, 2, 3, 4
    ON CONFLICT (table_name, key, node, incarnation) DO UPDATE SET xid = greatest(beats.xid, excluded.xid)";
const FORGET_BEATS: &str = "DELETE FROM p2p_peer.beats AS b USING unnest($1::text[], $2::text[]) AS u (t, k)
    WHERE b.table_name = u.t COLLATE \"C\" AND b.key = u.k COLLATE \"C\"";

/// Rows that are remembered of what one transaction has lost. Whoever wrote more than that is read in parts anyway.
const LOST_MAX: i64 = limits::TRANSACTION_ROWS_MAX as i64;

/// See the module.
pub(super) struct Work<'a> {
    pub(super) connection: &'a mut PgConnection,
    pub(super) shared: &'a Shared,
    pub(super) state: State,
    /// The database's clock when the request began to work.
    pub(super) now: Timestamp,
    pub(super) snapshot: Snapshot,
    /// Tables in which applications have written since they were folded last.
    pub(super) written: Vec<TableName>,
    /// Whether rows are deleted and inserted where an update may meet another's natural key on its way.
    pub(super) replaces: bool,
    /// Rows that were folded.
    pub(super) folded: usize,
    /// The greatest stamp that was taken in.
    pub(super) seen: Option<Stamp>,
    xid: Option<u64>,
}

/// A version to be stored.
pub(super) struct Put {
    pub(super) new: Stored,
    /// What is stored now.
    pub(super) found: Option<Stored>,
    /// Transactions that had written the row in between and have lost it.
    pub(super) losers: Vec<u64>,
}

/// The part of a transaction that has lost a row, the row, and the transaction in which that was born.
pub(super) type Lost = (Part, RowId, u64);

impl<'a> Work<'a> {
    /// Looks at the clock, and at what is visible. In a transaction with one snapshot everything after sees the same. With
    /// `draws` the transaction gets its number at once.
    pub(super) async fn begin(
        connection: &'a mut PgConnection,
        shared: &'a Shared,
        state: State,
        draws: bool,
    ) -> Result<Self, PostgresError> {
        let row = sqlx::query(LOOK).bind(draws).fetch_one(&mut *connection).await?;
        let xmax = row.try_get::<i64, _>(1)?.cast_unsigned();
        let under_way: Vec<i64> = row.try_get(2)?;
        let written: Vec<String> = row.try_get(3)?;
        Ok(Self {
            now: Timestamp::from_us(row.try_get::<i64, _>(0)?.cast_unsigned()),
            snapshot: Snapshot::new(xmax, under_way.into_iter().map(i64::cast_unsigned)),
            written: written.iter().filter_map(|name| shared.table_name(name).ok()).collect(),
            connection,
            shared,
            state,
            replaces: false,
            folded: 0,
            xid: row.try_get::<Option<i64>, _>(4)?.map(i64::cast_unsigned),
            seen: None,
        })
    }

    pub(super) fn own(&self) -> Life<'a> {
        (&self.shared.node, self.state.incarnation)
    }

    /// Whether what was written there is covered, see [`State::covers`].
    pub(super) fn covers(&self, node: &NodeId, origin: Origin) -> bool {
        self.state.covers(&self.shared.node, &self.snapshot, node, origin)
    }

    pub(super) async fn find<'i>(
        &mut self,
        ids: impl IntoIterator<Item = &'i RowId>,
    ) -> Result<Vec<Stored>, PostgresError> {
        rows::find(self.connection, self.shared, (&self.shared.node, self.state.incarnation), ids).await
    }

    /// The number of this transaction.
    pub(super) async fn xid(&mut self) -> Result<u64, PostgresError> {
        if let Some(xid) = self.xid {
            return Ok(xid);
        }
        let xid: i64 = sqlx::query_scalar(XID).fetch_one(&mut *self.connection).await?;
        self.xid = Some(xid.cast_unsigned());
        Ok(xid.cast_unsigned())
    }

    /// Stores versions, each row once; how they stand because of others is settled after.
    pub(super) async fn put(&mut self, puts: &[Put]) -> Result<(), PostgresError> {
        let lost = self.keep(puts).await?;
        self.lose(lost, false).await
    }

    /// The same, without noting what transactions have lost by it: that it gives back.
    pub(super) async fn keep(&mut self, puts: &[Put]) -> Result<BTreeSet<Lost>, PostgresError> {
        let own = self.own();
        let (stored_us, shared) = (self.now.as_us(), self.shared);
        let new = puts.iter().filter(|put| put.found.is_none()).map(|put| &put.new);
        rows::write(self.connection, shared, own, true, stored_us, new).await?;
        let changed = puts.iter().filter(|put| put.found.is_some()).map(|put| &put.new);
        rows::write(self.connection, shared, own, false, stored_us, changed).await?;
        settle::tie(self.connection, shared, puts.iter().map(|put| (put.found.as_ref(), Some(&put.new))))
            .await?;
        let mut lost = BTreeSet::new();
        let mut beats = Vec::new();
        for Put { new, found, losers } in puts {
            self.state.totals.replace(found.as_ref(), Some(new));
            lost.extend(losers.iter().map(|xid| ((*xid, 0), new.row.clone(), new.born)));
            let Some(found) = found else { continue };
            if found.part() != new.part() {
                lost.insert((found.part(), new.row.clone(), found.born));
            }
            if found.version != new.version && !self.covers(&found.version.node, found.origin) {
                beats.push((new.row.clone(), found.version.node.clone(), found.origin));
            }
        }
        self.beat(&beats).await?;
        Ok(lost)
    }

    /// Notes that rows of transactions are held by others. Only of transactions of which something is left, unless what
    /// is left of them may be yet to come.
    pub(super) async fn lose(&mut self, lost: BTreeSet<Lost>, more: bool) -> Result<(), PostgresError> {
        if lost.is_empty() {
            return Ok(());
        }
        let xids: Vec<i64> = lost.iter().map(|((xid, _), ..)| xid.cast_signed()).collect();
        let parts: Vec<i32> = lost.iter().map(|((_, nth), ..)| nth.cast_signed()).collect();
        let born: Vec<i64> = lost.iter().map(|(.., born)| born.cast_signed()).collect();
        let (tables, keys) = rows::columns_of(lost.iter().map(|(_, row, _)| row));
        let lose = sqlx::query(LOSE)
            .bind(&xids)
            .bind(tables)
            .bind(keys)
            .bind(born)
            .bind(LOST_MAX)
            .bind(more)
            .bind(parts);
        lose.execute(&mut *self.connection).await?;
        if more {
            return Ok(());
        }
        sqlx::query(FORGET_LOST).bind(xids).execute(&mut *self.connection).await?;
        Ok(())
    }

    /// Notes what stored versions are known to beat.
    pub(super) async fn beat(&mut self, beats: &[(RowId, NodeId, Origin)]) -> Result<(), PostgresError> {
        if beats.is_empty() {
            return Ok(());
        }
        let (tables, keys) = rows::columns_of(beats.iter().map(|(row, ..)| row));
        let nodes: Vec<&str> = beats.iter().map(|(_, node, _)| node.as_str()).collect();
        let lives: Vec<i64> = beats.iter().map(|(.., origin)| origin.incarnation.0.cast_signed()).collect();
        let xids: Vec<i64> = beats.iter().map(|(.., origin)| origin.xid.cast_signed()).collect();
        let beat = sqlx::query(BEAT).bind(tables).bind(keys).bind(nodes).bind(lives).bind(xids);
        beat.execute(&mut *self.connection).await?;
        Ok(())
    }

    /// Takes rows away without a trace but for the horizon.
    pub(super) async fn forget(&mut self, gone: &[Stored]) -> Result<(), PostgresError> {
        if gone.is_empty() {
            return Ok(());
        }
        let ids = || gone.iter().map(|stored| &stored.row);
        rows::delete(self.connection, ids()).await?;
        let (tables, keys) = rows::columns_of(ids());
        sqlx::query(FORGET_BEATS).bind(tables).bind(keys).execute(&mut *self.connection).await?;
        self.dig(gone).await?;
        settle::tie(self.connection, self.shared, gone.iter().map(|stored| (Some(stored), None))).await?;
        let mut xids = Vec::new();
        for stored in gone {
            self.state.totals.replace(Some(stored), None);
            self.state.purged.add(stored.xid);
            self.state.others.raise_horizon(&stored.version);
            xids.push(stored.xid.cast_signed());
        }
        sqlx::query(FORGET_LOST).bind(xids).execute(&mut *self.connection).await?;
        Ok(())
    }
}
