//! What is remembered of rows that were purged or dropped: their last version.

use std::collections::BTreeMap;

use super::rows::{Stored, columns_of, named};
use super::work::Work;
use crate::limits;
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::Version;
use crate::runtime::postgres::PostgresError;

const DIG: &str = "INSERT INTO p2p_peer.graves AS g (table_name, key, us, counter, node, hash)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[])
    ON CONFLICT (table_name, key) DO UPDATE
    SET us = excluded.us, counter = excluded.counter, node = excluded.node, hash = excluded.hash, dug = DEFAULT
    WHERE (g.us, g.counter, g.node, g.hash) < (excluded.us, excluded.counter, excluded.node, excluded.hash)";
const FORGET: &str = "DELETE FROM p2p_peer.graves WHERE dug <= (SELECT max(dug) FROM p2p_peer.graves) - $1";
const OF: &str = "SELECT g.table_name, g.key, g.us, g.counter, g.node, g.hash
    FROM unnest($1::text[], $2::text[]) AS u (t, k)
    JOIN p2p_peer.graves AS g ON g.table_name = u.t COLLATE \"C\" AND g.key = u.k COLLATE \"C\"";

/// How many graves are remembered.
const KEPT: i64 = limits::GRAVES_MAX as i64;

impl Work<'_> {
    /// These rows are gone.
    pub(super) async fn dig(&mut self, gone: &[Stored]) -> Result<(), PostgresError> {
        let (tables, keys) = columns_of(gone.iter().map(|stored| &stored.row));
        let versions = || gone.iter().map(|stored| &stored.version);
        let us: Vec<i64> = versions().map(|version| version.stamp.us.cast_signed()).collect();
        let counters: Vec<i64> = versions().map(|version| i64::from(version.stamp.counter)).collect();
        let nodes: Vec<&str> = versions().map(|version| version.node.as_str()).collect();
        let hashes: Vec<&[u8]> = versions().map(|version| version.hash.0.as_slice()).collect();
        let dig = sqlx::query(DIG).bind(tables).bind(keys).bind(us).bind(counters).bind(nodes).bind(hashes);
        dig.execute(&mut *self.connection).await?;
        sqlx::query(FORGET).bind(KEPT).execute(&mut *self.connection).await?;
        Ok(())
    }

    /// The graves of these rows.
    pub(super) async fn graves<'i>(
        &mut self,
        rows: impl IntoIterator<Item = &'i RowId>,
    ) -> Result<BTreeMap<RowId, Version>, PostgresError> {
        // Nothing was ever purged or dropped.
        if self.state.others.horizon().is_none() {
            return Ok(BTreeMap::new());
        }
        let (tables, keys) = columns_of(rows.into_iter().filter(|id| self.shared.has_key(id)));
        let found = sqlx::query(OF).bind(tables).bind(keys).fetch_all(&mut *self.connection).await?;
        found.iter().map(|row| named(row, 0, self.shared)).collect()
    }

    /// Whether it is known to be beaten by what is gone; the rule of the in-memory store.
    pub(super) fn is_buried(&self, graves: &BTreeMap<RowId, Version>, row: &RowVersion) -> bool {
        let table = || self.shared.schema.table(&row.row.table);
        graves.get(&row.row).is_some_and(|dead| row.version <= *dead)
            && (table().is_some_and(Table::later_write_wins) || self.covers(row.node(), row.origin))
    }
}
