//! What applications wrote, from the log into the versions.
//!
//! Every request does this before anything else, so each decision is taken on what is committed. One statement takes
//! entries out of the log and looks at what the rows hold, so both belong to one moment; a later write of the same row
//! that is not seen yet has an entry of its own and comes next time.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Shared;
use super::base::{self, Base};
use super::rows::{Class, Life, Stored};
use super::work::{Lost, Put, Work};
use crate::peer_sync::content::Content;
use crate::peer_sync::resolver::Write;
use crate::peer_sync::row::{Extra, Origin, RowId, TableName};
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::{Stamp, Version};
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
        let mut hidden = Vec::new();
        // Noted when all tables are folded: a transaction that wrote in several is not forgotten between them.
        let mut lost = BTreeSet::new();
        'tables: for table in self.written.clone() {
            loop {
                if self.folded >= ROWS_MAX {
                    break 'tables;
                }
                let puts = self.take(&table, &mut hidden, &mut lost).await?;
                let Some(puts) = puts else { break };
                lost.extend(self.keep(&puts).await?);
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
        let more = self.folded >= ROWS_MAX;
        self.lose(lost, more).await?;
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
        hidden.iter().for_each(|row| base.hide(row));
        self.write_base(base).await?;
        Ok(!more)
    }

    /// Takes entries of a table out of the log, as versions to be stored; none at the end of the log. Adds to `hidden`
    /// the rows that applications must no longer see although they have written them, and to `lost` what transactions
    /// have lost beside what storing the versions says.
    async fn take(
        &mut self,
        table: &TableName,
        hidden: &mut Vec<RowId>,
        lost: &mut BTreeSet<Lost>,
    ) -> Result<Option<Vec<Put>>, PostgresError> {
        let shared = self.shared;
        let statements = shared.statements(table)?;
        let query = sqlx::query(statements.fold.clone()).bind(table.as_str()).bind(CHUNK);
        let rows = query.fetch_all(&mut *self.connection).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        self.folded += rows.len();
        let mut taken: BTreeMap<RowId, Taken> = BTreeMap::new();
        for row in &rows {
            let (id, entry) = Taken::read(shared, table, row)?;
            match taken.entry(id) {
                Entry::Vacant(first) => drop(first.insert(entry)),
                Entry::Occupied(mut held) => held.get_mut().join(entry),
            }
        }
        drop(rows);
        let found = self.find(taken.keys()).await?;
        let mut found: BTreeMap<RowId, Stored> =
            found.into_iter().map(|stored| (stored.row.clone(), stored)).collect();
        let by_version = shared.schema.table(table).is_some_and(Table::goes_by_version);
        let mut puts = Vec::with_capacity(taken.len());
        for (id, taken) in taken {
            self.state.own_xid = self.state.own_xid.max(Some(taken.xid));
            let found = found.remove(&id);
            let (mut new, mut losers) = taken.stored(shared, id, self.own());
            if let Some(found) = &found {
                new.born = found.born;
                // The log is taken in pieces; a later write of the row may have come with an earlier one.
                let is_late = found.version.node == shared.node && found.version.stamp > new.version.stamp;
                // A row that nobody saw could not be locked: while an application was inserting it, a greater version
                // came from a peer that hides it, as a delete does.
                let is_beaten = by_version && found.class() != Class::Visible && found.version > new.version;
                if is_late || is_beaten {
                    if !is_late && !new.deleted {
                        hidden.push(new.row.clone());
                    }
                    losers.insert(new.xid);
                    losers.remove(&found.xid);
                    lost.extend(losers.into_iter().map(|xid| ((xid, 0), new.row.clone(), found.born)));
                    continue;
                }
            }
            if !by_version {
                new.keep_beside(shared, found.as_ref());
            }
            puts.push(Put { new, found, losers: losers.into_iter().collect() });
        }
        Ok(Some(puts))
    }
}

/// What the log says of one row.
struct Taken {
    /// The last write.
    stamp: Stamp,
    xid: u64,
    deleted: bool,
    content: Option<Content>,
    /// The first write.
    born: (Stamp, u64),
    /// Other transactions that wrote the row.
    losers: BTreeSet<u64>,
}

impl Taken {
    /// One entry.
    fn read(shared: &Shared, table: &TableName, row: &PgRow) -> Result<(RowId, Self), PostgresError> {
        let key: Vec<String> = row.try_get(0)?;
        let id =
            RowId { table: table.clone(), key: Content::new(key.iter().map(|column| Some(column.as_str()))) };
        let xid = row.try_get::<i64, _>(1)?.cast_unsigned();
        let stamp = Stamp {
            us: row.try_get::<i64, _>(2)?.cast_unsigned(),
            counter: u32::try_from(row.try_get::<i64, _>(3)?).map_err(|_| PostgresError::Unexpected)?,
        };
        let mut deleted = row.try_get(4)?;
        let content = if deleted {
            let content: Option<&str> = row.try_get(5)?;
            content.map(Content::from_canonical).transpose().map_err(|_| PostgresError::Unexpected)?
        } else {
            let rules = shared.schema.table(table).ok_or(PostgresError::Unexpected)?;
            let content = base::content_at(row, 6, rules.columns.len())?;
            // No column of a key is null: a row that was taken away where no trigger saw it is deleted, too.
            let key = rules.key.first().and_then(|column| rules.place(column));
            deleted = key.is_none_or(|place| content.column(place).is_none());
            Some(content).filter(|_| !deleted)
        };
        Ok((id, Self { stamp, xid, deleted, content, born: (stamp, xid), losers: BTreeSet::new() }))
    }

    /// Takes in another entry of the row.
    fn join(&mut self, other: Self) {
        self.losers.extend([self.xid, other.xid]);
        self.born = self.born.min(other.born);
        if other.stamp > self.stamp {
            (self.stamp, self.xid) = (other.stamp, other.xid);
            (self.deleted, self.content) = (other.deleted, other.content);
        }
        self.losers.remove(&self.xid);
    }

    /// The version that it comes to, and the transactions that have lost the row to it.
    fn stored(self, shared: &Shared, row: RowId, (node, incarnation): Life<'_>) -> (Stored, BTreeSet<u64>) {
        let Self { stamp, xid, deleted, content, born: (_, born), losers } = self;
        let hash = match &content {
            Some(content) if !deleted => content.hash(),
            content => Content::tombstone_hash(content.as_ref()),
        };
        let keeps = deleted || shared.keeps_content(&row.table);
        let stored = Stored {
            version: Version { stamp, node: node.clone(), hash },
            deleted,
            content_bytes: content.as_ref().map_or(0, |content| content.as_canonical().len()),
            content: content.filter(|_| keeps),
            extra: Extra::None,
            xid,
            nth: 0,
            born,
            origin: Origin { incarnation, xid },
            standing: None,
            row,
        };
        (stored, losers)
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
