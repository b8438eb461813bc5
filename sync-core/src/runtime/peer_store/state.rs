//! How far everything has come: what a peer's database keeps beside rows. Read once and held in memory, since only one
//! process writes it; what a request changed of it is written with the request.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::totals::Totals;
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::position::{Frontier, Position};
use crate::peer_sync::row::{Origin, TableName};
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::TableDescription;
use crate::peer_sync::version::{NodeId, Stamp};
use crate::runtime::postgres::PostgresError;

const NODE: &str = "SELECT incarnation, own_xid, frontier, purged_floor, purged_snapshot FROM p2p_peer.node";
/// What changes with almost every request, in one statement. Whatever did not change is given as no rows.
const SAVE: &str = "WITH parts AS (
        UPDATE p2p_peer.digests AS d SET rows = u.rows::bigint[], sums = u.sums::bigint[]
        FROM unnest($1::integer[], $2::text[], $3::text[]) AS u (parts, rows, sums) WHERE d.parts = u.parts
    ), totals AS (
        UPDATE p2p_peer.tables AS t SET rows = u.rows, tombstones = u.tombstones, set_aside = u.set_aside, us = u.us,
            counter = u.counter, sum = u.sum
        FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
            AS u (table_name, rows, tombstones, set_aside, us, counter, sum)
        WHERE t.table_name = u.table_name COLLATE \"C\"
    ), node AS (
        UPDATE p2p_peer.node SET incarnation = $11, own_xid = $12, frontier = $13, purged_floor = $14,
            purged_snapshot = $15
        WHERE $16
    ), positions AS (
        INSERT INTO p2p_peer.positions SELECT * FROM unnest($17::text[], $18::text[])
        ON CONFLICT (peer) DO UPDATE SET position = excluded.position
    )
    SELECT CASE WHEN $19 IS NOT NULL THEN p2p_peer.absorb_stamp($19, $20) END";
const POSITIONS: &str = "SELECT peer, position FROM p2p_peer.positions";
const PASSED: &str = "SELECT peer, position FROM p2p_peer.passed";
const CLEAR_PASSED: &str = "DELETE FROM p2p_peer.passed";
const SAVE_PASSED: &str = "INSERT INTO p2p_peer.passed SELECT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT (peer) DO UPDATE SET position = excluded.position";
const REFUSED: &str = "SELECT peer FROM p2p_peer.refused";
const SAVE_REFUSED: &str = "INSERT INTO p2p_peer.refused SELECT unnest($1::text[]) ON CONFLICT DO NOTHING";
const CLEAR_REFUSED: &str = "DELETE FROM p2p_peer.refused WHERE peer <> ALL ($1::text[])";
const PURGED: &str = "SELECT xid FROM p2p_peer.purged";
const SAVE_PURGED: &str = "INSERT INTO p2p_peer.purged SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING";
const CLEAR_PURGED: &str = "DELETE FROM p2p_peer.purged WHERE xid < $1";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) incarnation: Incarnation,
    /// The last transaction of an application that was folded.
    pub(super) own_xid: Option<u64>,
    /// What is covered of everybody else's writes, and of own ones of earlier lives.
    pub(super) others: Frontier,
    pub(super) positions: BTreeMap<NodeId, Position>,
    pub(super) passed: BTreeMap<NodeId, Position>,
    pub(super) refused: BTreeSet<NodeId>,
    pub(super) purged: Purged,
    pub(super) totals: Totals,
}

/// What is remembered of rows that were purged or dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Purged {
    /// The last transactions whose rows they were.
    pub(super) xids: BTreeSet<u64>,
    /// All before this are taken for such transactions.
    pub(super) floor: u64,
    /// What was visible at the last purge: all that was purged was written before.
    pub(super) snapshot: Snapshot,
}

impl Purged {
    pub(super) fn add(&mut self, xid: u64) {
        self.xids.insert(xid);
        if self.xids.len() > limits::PURGED_TRANSACTIONS_KEPT
            && let Some(first) = self.xids.pop_first()
        {
            self.floor = self.floor.max(first + 1);
        }
    }

    /// Whether a reader has read all that is purged. What is still under way here wrote nothing that was purged.
    pub(super) fn passed_by(&self, read: &Snapshot, visible: &Snapshot) -> bool {
        let purged = |xid: &u64| (*xid < self.floor && visible.sees(*xid)) || self.xids.contains(xid);
        self.xids.last().is_none_or(|last| *last < read.xmax()) && !read.under_way().iter().any(purged)
    }
}

impl State {
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self, PostgresError> {
        let row = sqlx::query(NODE).fetch_one(&mut *connection).await?;
        let others: Frontier = parsed(row.try_get(2)?)?;
        let snapshot: &str = row.try_get(4)?;
        let mut state = Self {
            incarnation: Incarnation(row.try_get::<i64, _>(0)?.cast_unsigned()),
            own_xid: row.try_get::<Option<i64>, _>(1)?.map(i64::cast_unsigned),
            others,
            positions: positions(connection, POSITIONS).await?,
            passed: positions(connection, PASSED).await?,
            refused: BTreeSet::new(),
            purged: Purged {
                xids: BTreeSet::new(),
                floor: row.try_get::<i64, _>(3)?.cast_unsigned(),
                snapshot: snapshot.parse().map_err(|_| PostgresError::Unexpected)?,
            },
            totals: Totals::read(connection).await?,
        };
        let refused: Vec<String> = sqlx::query_scalar(REFUSED).fetch_all(&mut *connection).await?;
        for peer in refused {
            state.refused.insert(node(&peer)?);
        }
        let purged: Vec<i64> = sqlx::query_scalar(PURGED).fetch_all(connection).await?;
        state.purged.xids = purged.into_iter().map(i64::cast_unsigned).collect();
        Ok(state)
    }

    /// Writes what differs from what was there before, and takes in the greatest stamp that was seen.
    pub(super) async fn save(
        &self,
        connection: &mut PgConnection,
        before: &Self,
        seen: Option<Stamp>,
    ) -> Result<(), PostgresError> {
        let of_node = |state: &Self| {
            let Purged { floor, snapshot, .. } = &state.purged;
            (state.incarnation, state.own_xid, state.others.clone(), *floor, snapshot.clone())
        };
        let node_changed = of_node(self) != of_node(before);
        let (parts, part_rows, part_sums) = self.totals.changed_parts(&before.totals);
        let tables = self.totals.tables.iter();
        let tables: Vec<(&TableName, &TableDescription)> =
            tables.filter(|(name, totals)| before.totals.tables.get(*name) != Some(*totals)).collect();
        let positions = changed_positions(&self.positions, &before.positions)?;
        if node_changed
            || !parts.is_empty()
            || !tables.is_empty()
            || !positions.0.is_empty()
            || seen.is_some()
        {
            let of = |number: fn(&TableDescription) -> u64| -> Vec<i64> {
                tables.iter().map(|(_, totals)| number(totals).cast_signed()).collect()
            };
            sqlx::query(SAVE)
                .bind(parts)
                .bind(part_rows)
                .bind(part_sums)
                .bind(tables.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
                .bind(of(|totals| totals.rows))
                .bind(of(|totals| totals.tombstones))
                .bind(of(|totals| totals.set_aside))
                .bind(of(|totals| totals.stamp.us))
                .bind(of(|totals| totals.stamp.counter.into()))
                .bind(of(|totals| totals.sum))
                .bind(self.incarnation.0.cast_signed())
                .bind(self.own_xid.map(u64::cast_signed))
                .bind(if node_changed { text(&self.others)? } else { String::new() })
                .bind(self.purged.floor.cast_signed())
                .bind(self.purged.snapshot.to_string())
                .bind(node_changed)
                .bind(positions.0)
                .bind(positions.1)
                .bind(seen.map(|stamp| stamp.us.cast_signed()))
                .bind(seen.map(|stamp| i64::from(stamp.counter)))
                .execute(&mut *connection)
                .await?;
        }
        if before.passed.keys().any(|peer| !self.passed.contains_key(peer)) {
            sqlx::query(CLEAR_PASSED).execute(&mut *connection).await?;
            save_passed(connection, changed_positions(&self.passed, &BTreeMap::new())?).await?;
        } else {
            save_passed(connection, changed_positions(&self.passed, &before.passed)?).await?;
        }
        if self.refused != before.refused {
            let peers: Vec<&str> = self.refused.iter().map(NodeId::as_str).collect();
            sqlx::query(SAVE_REFUSED).bind(&peers).execute(&mut *connection).await?;
            sqlx::query(CLEAR_REFUSED).bind(&peers).execute(&mut *connection).await?;
        }
        if self.purged.xids != before.purged.xids {
            let added: Vec<i64> =
                self.purged.xids.difference(&before.purged.xids).map(|xid| xid.cast_signed()).collect();
            sqlx::query(SAVE_PURGED).bind(added).execute(&mut *connection).await?;
            let first = self.purged.xids.first().copied().unwrap_or(u64::MAX >> 1);
            sqlx::query(CLEAR_PURGED).bind(first.cast_signed()).execute(connection).await?;
        }
        Ok(())
    }

    /// Begins a new life. What was written here belongs to it from now on: peers may have read other things under
    /// the same numbers of the old life, and must not take these for those. Of the old life only that is still
    /// claimed to be covered which was there at the last purge: what came after may be what was lost.
    pub(super) fn renew(&mut self, node: &NodeId, incarnation: Incarnation) {
        let old = std::mem::replace(&mut self.incarnation, incarnation);
        let purged = self.purged.snapshot.clone();
        self.others.advance(node, old, &purged);
        self.passed.clear();
    }

    /// What is there of everybody's writes, as far as a snapshot of this database sees.
    pub(super) fn frontier(&self, node: &NodeId, visible: &Snapshot) -> Frontier {
        let mut frontier = self.others.clone();
        if let Some(last) = self.own_xid {
            frontier.advance(node, self.incarnation, &visible.up_to(last));
        }
        frontier
    }

    /// Whether what was written there is covered. Of a combined version nobody can tell: it counts as covered, so
    /// that nothing deleted lives again.
    pub(super) fn covers(&self, own: &NodeId, visible: &Snapshot, node: &NodeId, origin: Origin) -> bool {
        if origin.is_combined() {
            return true;
        }
        if node == own && origin.incarnation == self.incarnation {
            return visible.sees(origin.xid);
        }
        self.others.covers(node, origin)
    }
}

async fn positions(
    connection: &mut PgConnection,
    statement: &'static str,
) -> Result<BTreeMap<NodeId, Position>, PostgresError> {
    let rows: Vec<(String, String)> = sqlx::query_as(statement).fetch_all(connection).await?;
    rows.iter().map(|(peer, position)| Ok((node(peer)?, parsed(position)?))).collect()
}

/// Peers, and their positions as JSON.
type Positions<'a> = (Vec<&'a str>, Vec<String>);

fn changed_positions<'a>(
    now: &'a BTreeMap<NodeId, Position>,
    before: &BTreeMap<NodeId, Position>,
) -> Result<Positions<'a>, PostgresError> {
    let changed = now.iter().filter(|(peer, position)| before.get(*peer) != Some(*position));
    changed.map(|(peer, position)| Ok((peer.as_str(), text(position)?))).collect()
}

async fn save_passed(
    connection: &mut PgConnection,
    (peers, positions): Positions<'_>,
) -> Result<(), PostgresError> {
    if !peers.is_empty() {
        sqlx::query(SAVE_PASSED).bind(peers).bind(positions).execute(connection).await?;
    }
    Ok(())
}

fn node(name: &str) -> Result<NodeId, PostgresError> {
    NodeId::new(name).map_err(|_| PostgresError::Unexpected)
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, PostgresError> {
    serde_json::from_str(text).map_err(|_| PostgresError::Unexpected)
}

fn text(value: &impl serde::Serialize) -> Result<String, PostgresError> {
    serde_json::to_string(value).map_err(|_| PostgresError::Unexpected)
}
