//! Tombstones that nobody needs any more, and rows of which others say that they were deleted.

use std::collections::BTreeSet;

use sqlx::Row as _;

use super::base::Base;
use super::rows::{Class, Stored, columns_of, head};
use super::work::Work;
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::position::Position;
use crate::peer_sync::row::{Origin, RowId};
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::{DropRows, PeerReply, Purge};
use crate::peer_sync::version::NodeId;
use crate::runtime::postgres::PostgresError;

/// Tombstones that are looked at at once.
const LOOK: i64 = 5_000;
const TOMBSTONES: &str = concat!(
    "SELECT v.stored_us, ",
    head!(),
    " FROM p2p_peer.versions AS v WHERE v.deleted AND (v.xid, v.table_name, v.key) > ($1, $2, $3) \
     ORDER BY v.xid, v.table_name, v.key LIMIT $4"
);
const BEATS: &str = "SELECT b.table_name, b.key, b.node, b.incarnation, b.xid
    FROM unnest($1::text[], $2::text[]) AS u (t, k)
    JOIN p2p_peer.beats AS b ON b.table_name = u.t COLLATE \"C\" AND b.key = u.k COLLATE \"C\"";

impl Work<'_> {
    /// Who refused rows says how far it has read, which shows that this database was set back, and no more: a
    /// tombstone that it refused waits for it.
    pub(super) fn note_passed(&mut self, peer: NodeId, position: Position, refused: bool) -> PeerReply {
        if position.incarnation != self.state.incarnation {
            return PeerReply::Noted { ahead: false };
        }
        if !self.snapshot.covers(&position.snapshot) {
            return PeerReply::Noted { ahead: true };
        }
        let passed = &mut self.state.passed;
        let known = passed.len() < limits::PEERS_MAX || passed.contains_key(&peer);
        if known && !refused {
            passed.insert(peer, position);
        }
        PeerReply::Noted { ahead: false }
    }

    pub(super) async fn purge(&mut self, request: &Purge) -> Result<PeerReply, PostgresError> {
        let passed = self.passed_by(&request.peers);
        // Who knows nobody does not know who has still to hear of it.
        let passed = passed.filter(|passed| !passed.is_empty());
        let oldest = self.now.saturating_sub(request.retention).as_us();
        let mut ready: Vec<Stored> = Vec::new();
        let mut after: (u64, Option<RowId>) = (0, None);
        while ready.len() < request.rows_max {
            let looked = self.tombstones(&after).await?;
            let Some((last, _)) = looked.last() else { break };
            after = (last.xid, Some(last.row.clone()));
            let needless = |(stored, stored_us): &(Stored, u64)| {
                let everybody =
                    passed.as_ref().is_some_and(|all| all.iter().all(|read| read.sees(stored.xid)));
                // One that is demanded back, even in vain, may be needed.
                (everybody || *stored_us < oldest) && stored.standing.is_none()
            };
            let needless: Vec<Stored> =
                looked.into_iter().filter(needless).map(|(stored, _)| stored).collect();
            ready.extend(self.may_go(needless).await?);
        }
        ready.truncate(request.rows_max);
        self.forget(&ready).await?;
        if !ready.is_empty() {
            self.state.purged.snapshot = self.snapshot.clone();
        }
        self.settle_without(&ready).await?;
        Ok(PeerReply::Purged(ready.len() as u64))
    }

    /// How far each of these has read; none if one has said nothing.
    fn passed_by(&self, peers: &[NodeId]) -> Option<Vec<Snapshot>> {
        peers.iter().map(|peer| Some(self.state.passed.get(peer)?.snapshot.clone())).collect()
    }

    /// Drops rows of which others say that they were deleted, without tombstones, each if it is still in this version.
    pub(super) async fn drop_rows(&mut self, request: &DropRows) -> Result<PeerReply, PostgresError> {
        let entries = &request.entries;
        let passed = self.passed_by(&request.readers);
        let passed =
            |stored: &Stored| passed.as_ref().is_some_and(|all| all.iter().all(|read| read.sees(stored.xid)));
        let wanted: BTreeSet<(&RowId, _)> =
            entries.iter().map(|entry| (&entry.row, &entry.version)).collect();
        let ids: BTreeSet<&RowId> = entries.iter().map(|entry| &entry.row).collect();
        let found = self.find(ids).await?.into_iter();
        let gone: Vec<Stored> = found
            .filter(|stored| wanted.contains(&(&stored.row, &stored.version)))
            // What is demanded back here is so with whoever says that it is gone, once the demand is there.
            .filter(|stored| !stored.deleted || (stored.standing.is_none() && passed(stored)))
            .collect();
        self.forget(&gone).await?;
        let mut base = Base::default();
        for stored in gone.iter().filter(|stored| stored.class() == Class::Visible) {
            base.hide(&stored.row);
        }
        self.write_base(base).await?;
        self.settle_without(&gone).await?;
        // In the order of the request.
        let gone: BTreeSet<&RowId> = gone.iter().map(|stored| &stored.row).collect();
        let dropped =
            entries.iter().map(|entry| &entry.row).filter(|row| gone.contains(row)).cloned().collect();
        Ok(PeerReply::Dropped(dropped))
    }

    async fn settle_without(&mut self, gone: &[Stored]) -> Result<(), PostgresError> {
        let settled = self.settle(&[], gone).await?;
        let mut base = Base::default();
        settled.show(&mut base);
        self.write_base(base).await
    }

    async fn tombstones(
        &mut self,
        (xid, after): &(u64, Option<RowId>),
    ) -> Result<Vec<(Stored, u64)>, PostgresError> {
        let (table, key) =
            after.as_ref().map_or(("", ""), |after| (after.table.as_str(), after.key.as_canonical()));
        let query = sqlx::query(TOMBSTONES).bind(xid.cast_signed()).bind(table).bind(key).bind(LOOK);
        let rows = query.fetch_all(&mut *self.connection).await?;
        let read = rows.iter().map(|row| {
            let stored = Stored::read(row, 1, self.shared, self.own())?;
            Ok((stored, row.try_get::<i64, _>(0)?.cast_unsigned()))
        });
        read.collect()
    }

    /// Those of which nothing that they are known to beat would be taken for a new row if it came again, nor they.
    async fn may_go(&mut self, stored: Vec<Stored>) -> Result<Vec<Stored>, PostgresError> {
        let (tables, keys) = columns_of(stored.iter().map(|stored| &stored.row));
        let rows = sqlx::query(BEATS).bind(tables).bind(keys).fetch_all(&mut *self.connection).await?;
        let mut uncovered: BTreeSet<(String, String)> = BTreeSet::new();
        for row in &rows {
            let node: &str = row.try_get(2)?;
            let origin = Origin {
                incarnation: Incarnation(row.try_get::<i64, _>(3)?.cast_unsigned()),
                xid: row.try_get::<i64, _>(4)?.cast_unsigned(),
            };
            let node = NodeId::new(node).map_err(|_| PostgresError::Unexpected)?;
            if !self.covers(&node, origin) {
                uncovered.insert((row.try_get(0)?, row.try_get(1)?));
            }
        }
        let may_go = |stored: &Stored| {
            let id = (stored.row.table.as_str().to_owned(), stored.row.key.as_canonical().to_owned());
            self.covers(&stored.version.node, stored.origin) && !uncovered.contains(&id)
        };
        Ok(stored.into_iter().filter(|stored| may_go(stored)).collect())
    }
}
