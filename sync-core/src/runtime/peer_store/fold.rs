//! What applications wrote, from the log into the versions.
//!
//! Every request does this before anything else, so each decision is taken on what is committed. One statement takes
//! entries out of the log and looks at what the rows hold, so both belong to one moment; a later write of the same row
//! that is not seen yet has an entry of its own and comes next time.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Shared;
use super::base::Base;
use super::rows::{Class, Stored};
use super::work::{Put, Work};
use crate::peer_sync::content::Content;
use crate::peer_sync::resolver::Write;
use crate::peer_sync::row::{Extra, Origin, RowId, TableName};
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::{ContentHash, Stamp, Version};
use crate::runtime::postgres::PostgresError;

/// Entries that are taken at once: what is held in memory of a bulk statement.
const CHUNK: i64 = 20_000;
/// Rows of one transaction that folds: what is lost when it is given up.
const ROWS_MAX: usize = 20_000;

impl Work<'_> {
    /// Folds what is committed, and settles what follows for other rows. False if there was more than a transaction
    /// should hold: then the transaction is committed and the next one goes on, before any request is decided.
    pub(super) async fn fold(&mut self) -> Result<bool, PostgresError> {
        let mut changed: BTreeMap<RowId, Put> = BTreeMap::new();
        'tables: for table in self.written.clone() {
            loop {
                if self.folded >= ROWS_MAX {
                    break 'tables;
                }
                let puts = self.take(&table).await?;
                let Some(puts) = puts else { break };
                self.put(&puts).await?;
                if self.shared.is_tied(&table) {
                    for mut put in puts {
                        if let Some(before) = changed.remove(&put.new.row) {
                            put.found = before.found;
                        }
                        changed.insert(put.new.row.clone(), put);
                    }
                }
            }
        }
        let changed: Vec<Put> = changed.into_values().collect();
        let mut settled = self.settle(&changed, &[]).await?;
        let mut base = Base::default();
        for put in &changed {
            // Applications have written what they see; only what they should not see is still to be taken away.
            let stored = settled.take(&put.new);
            if put.new.deleted || stored.class() != Class::Visible {
                base.show(&stored, !put.new.deleted, false);
            }
        }
        settled.show(&mut base);
        self.write_base(base).await?;
        Ok(self.folded < ROWS_MAX)
    }

    /// Takes entries of a table out of the log, as versions to be stored; none at the end of the log.
    async fn take(&mut self, table: &TableName) -> Result<Option<Vec<Put>>, PostgresError> {
        let shared = self.shared;
        let statements = shared.statements(table)?;
        let rows = sqlx::query(statements.fold.clone())
            .bind(table.as_str())
            .bind(CHUNK)
            .bind(shared.keeps_content(table))
            .fetch_all(&mut *self.connection)
            .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let taken = rows.iter().map(|row| self.entry(table, row)).collect::<Result<Vec<_>, _>>()?;
        let found = self.find(taken.iter().map(|(new, _)| &new.row)).await?;
        let mut found: BTreeMap<RowId, Stored> =
            found.into_iter().map(|stored| (stored.row.clone(), stored)).collect();
        let by_version = shared.schema.table(table).is_some_and(Table::goes_by_version);
        let mut puts = Vec::with_capacity(taken.len());
        let mut late = BTreeSet::new();
        for (mut new, mut xids) in taken {
            self.state.own_xid = self.state.own_xid.max(Some(new.xid));
            let found = found.remove(&new.row);
            if let Some(found) = &found {
                new.born = found.born;
                // The log is taken in pieces; a later write of the row may have come with an earlier one.
                if found.version.node == shared.node && found.version.stamp > new.version.stamp {
                    late.extend(
                        xids.into_iter()
                            .filter(|xid| *xid != found.xid)
                            .map(|xid| (xid, new.row.clone(), found.born)),
                    );
                    continue;
                }
            }
            if !by_version {
                new.keep_beside(shared, found.as_ref());
            }
            xids.remove(&new.xid);
            puts.push(Put { new, found, losers: xids.into_iter().collect() });
        }
        self.folded += rows.len();
        self.lose(late).await?;
        Ok(Some(puts))
    }

    /// One row of the fold: the version that it makes, and the transactions that wrote the row.
    fn entry(&self, table: &TableName, row: &PgRow) -> Result<(Stored, BTreeSet<u64>), PostgresError> {
        let key: Vec<String> = row.try_get(0)?;
        let xids: Vec<i64> = row.try_get(1)?;
        let xids: Vec<u64> = xids.into_iter().map(i64::cast_unsigned).collect();
        let hash: Option<&[u8]> = row.try_get(7)?;
        let content: Option<&str> = row.try_get(5)?;
        let content = content.map(Content::from_canonical).transpose();
        let content = content.map_err(|_| PostgresError::Unexpected)?;
        // A row that was taken away where no trigger saw it is deleted, too.
        let deleted = row.try_get::<bool, _>(4)? || hash.is_none();
        let hash = match hash.filter(|_| !deleted) {
            Some(hash) => ContentHash(hash.try_into().map_err(|_| PostgresError::Unexpected)?),
            None => Content::tombstone_hash(content.as_ref()),
        };
        let content_bytes = if deleted {
            content.as_ref().map_or(0, |content| content.as_canonical().len())
        } else {
            usize::try_from(row.try_get::<i64, _>(6)?).map_err(|_| PostgresError::Unexpected)?
        };
        let (Some(xid), Some(born)) = (xids.first().copied(), xids.last().copied()) else {
            return Err(PostgresError::Unexpected);
        };
        let stamp = Stamp {
            us: row.try_get::<i64, _>(2)?.cast_unsigned(),
            counter: u32::try_from(row.try_get::<i64, _>(3)?).map_err(|_| PostgresError::Unexpected)?,
        };
        let (node, incarnation) = self.own();
        let stored = Stored {
            row: RowId {
                table: table.clone(),
                key: Content::new(key.iter().map(|column| Some(column.as_str()))),
            },
            version: Version { stamp, node: node.clone(), hash },
            deleted,
            content,
            content_bytes,
            extra: Extra::None,
            xid,
            born,
            origin: Origin { incarnation, xid },
            standing: None,
        };
        Ok((stored, xids.into_iter().collect()))
    }
}

impl Stored {
    /// What the policy of its table keeps beside a local write of what was stored before. What a policy cannot hold goes
    /// without, and whoever receives it says so: the application's statement is long over.
    fn keep_beside(&mut self, shared: &Shared, seen: Option<&Stored>) {
        let Some(table) = shared.schema.table(&self.row.table) else { return };
        let Some(resolver) = shared.tables.resolvers.of(&table.name) else { return };
        let seen = seen.map(|seen| seen.clone().with_content(seen.content.clone()));
        let write = Write {
            row: self.row.clone(),
            content: self.content.clone().filter(|_| !self.deleted),
            stamp: self.version.stamp,
            node: self.version.node.clone(),
            origin: self.origin,
        };
        if let Ok(extra) = resolver.on_write(table, seen.as_ref(), &write) {
            self.version.hash = self.clone().with_content(self.content.clone()).image.hash_with(&extra);
            self.extra = extra;
        }
    }
}
