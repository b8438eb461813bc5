//! What each request comes to.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Class, Stored, head};
use super::work::Work;
use crate::peer_sync::content::Content;
use crate::peer_sync::interface::changes::{ReadRow, ReadRows};
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::store::{Description, DigestPart, PeerReply, PeerRequest};
use crate::runtime::postgres::PostgresError;

const READ: &str = concat!(
    "SELECT ",
    head!(),
    " FROM p2p_peer.versions AS v WHERE v.table_name = $1 AND v.key > $2 AND v.us >= coalesce($3, 0) \
     AND ($3 IS NOT NULL OR (NOT v.deleted AND v.standing IS NULL) OR v.standing = '\"revived\"') \
     ORDER BY v.key LIMIT $4"
);

impl Work<'_> {
    /// Rows of a table in the order of their keys, with what applications see of them.
    pub(super) async fn read_table(&mut self, read: &ReadRows) -> Result<Vec<ReadRow>, PostgresError> {
        let rows = sqlx::query(READ)
            .bind(read.table.as_str())
            .bind(read.after.as_ref().map_or("", Content::as_canonical))
            .bind(read.since.map(|since| since.as_us().min(i64::MAX as u64).cast_signed()))
            .bind(i64::try_from(read.rows_max).unwrap_or(i64::MAX))
            .fetch_all(&mut *self.connection)
            .await?;
        let stored = rows
            .iter()
            .map(|row| Stored::read(row, 0, self.shared, self.own()))
            .collect::<Result<Vec<_>, _>>()?;
        let visible: Vec<bool> = stored.iter().map(|stored| stored.class() == Class::Visible).collect();
        let whole = self.with_contents(stored).await?;
        let shown = whole.into_iter().zip(visible).map(|(stored, is_visible)| ReadRow {
            visible: stored.image.content().filter(|_| is_visible).cloned(),
            stored,
        });
        Ok(shown.collect())
    }

    /// Executes a request, once everything is folded.
    pub(super) async fn perform(
        &mut self,
        request: PeerRequest,
        impossible: &BTreeSet<usize>,
    ) -> Result<PeerReply, PostgresError> {
        match request {
            PeerRequest::Describe => Ok(PeerReply::Described(self.describe())),
            PeerRequest::Feed(request) => self.read_feed(&request).await,
            PeerRequest::Merge(request) => self.merge(request, impossible).await,
            PeerRequest::FetchVersions(ids) => Ok(PeerReply::Versions(self.versions(ids).await?)),
            PeerRequest::ApplyIf(request) => self.apply_if(request, impossible).await,
            PeerRequest::Digests(parts) => Ok(PeerReply::Digests(self.digests(&parts).await?)),
            PeerRequest::Entries(parts) => self.entries(&parts).await,
            PeerRequest::Passed { peer, position, refused } => Ok(self.note_passed(peer, position, refused)),
            PeerRequest::Settle(peer) => {
                self.state.refused.remove(&peer);
                Ok(PeerReply::Settled)
            }
            PeerRequest::Drop(request) => self.drop_rows(&request).await,
            PeerRequest::Purge(request) => self.purge(&request).await,
            PeerRequest::Scrub(request) => self.scrub(&request).await,
            PeerRequest::Renew(incarnation) => {
                self.state.renew(&self.shared.node, incarnation);
                Ok(PeerReply::Renewed)
            }
        }
    }

    fn describe(&self) -> Description {
        // A table that no longer travels is not shown.
        let tables = self.state.totals.tables.iter();
        let tables = tables.filter(|(name, _)| self.shared.schema.table(name).is_some());
        Description {
            node: self.shared.node.clone(),
            incarnation: self.state.incarnation,
            snapshot: self.snapshot.clone(),
            frontier: self.state.frontier(&self.shared.node, &self.snapshot),
            positions: self.state.positions.clone(),
            refused: self.state.refused.clone(),
            tables: tables.map(|(name, totals)| (name.clone(), *totals)).collect(),
            digest: self.state.totals.digest(DigestPart::ALL),
            now: self.now,
        }
    }

    async fn versions(&mut self, ids: Vec<RowId>) -> Result<Vec<Option<RowVersion>>, PostgresError> {
        let distinct: BTreeSet<&RowId> = ids.iter().collect();
        let stored = self.find(distinct).await?;
        let whole = self.with_contents(stored).await?;
        let whole: BTreeMap<RowId, RowVersion> =
            whole.into_iter().map(|version| (version.row.clone(), version)).collect();
        Ok(ids.iter().map(|id| whole.get(id).cloned()).collect())
    }
}
