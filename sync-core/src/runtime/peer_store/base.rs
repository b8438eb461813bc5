//! The tables of applications: what they show, read and written in sets.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row as _, SqlStr};

use super::Shared;
use super::copy::{self, Lines};
use super::rows::{Class, Stored};
use super::sql::Statements;
use super::work::Work;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{RowId, RowVersion, TableName};
use crate::runtime::postgres::PostgresError;

/// What applications have committed since the log was emptied, which is little.
const MET: &str = "SELECT table_name, key FROM p2p_peer.log LIMIT $1";
/// More than that is not looked at: the request begins anew, and folds it first.
const MET_MAX: i64 = 10_000;

/// What is to be done to rows that applications see.
#[derive(Debug, Default)]
pub(super) struct Base {
    tables: BTreeMap<TableName, Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    delete: Vec<RowId>,
    update: Vec<Content>,
    insert: Vec<Content>,
}

impl Base {
    /// Shows a row as it stands now, or no longer. With `anew` it is written whatever seems to be there.
    pub(super) fn show(&mut self, stored: &Stored, was_visible: bool, anew: bool) {
        let is_visible = stored.class() == Class::Visible;
        if !was_visible && !is_visible && !anew {
            return;
        }
        let changes = self.tables.entry(stored.row.table.clone()).or_default();
        if (was_visible && !is_visible) || anew {
            changes.delete.push(stored.row.clone());
        }
        let Some(content) = stored.content.clone().filter(|_| is_visible) else { return };
        if was_visible && !anew { changes.update.push(content) } else { changes.insert.push(content) }
    }

    /// Shows a row no longer.
    pub(super) fn hide(&mut self, row: &RowId) {
        self.tables.entry(row.table.clone()).or_default().delete.push(row.clone());
    }
}

impl Work<'_> {
    /// Writes what applications see: what goes first, so that a natural key is free before another row takes it.
    pub(super) async fn write_base(&mut self, base: Base) -> Result<(), PostgresError> {
        for (table, mut changes) in base.tables {
            let statements = self.shared.statements(&table)?;
            let Some(rules) = self.shared.schema.table(&table) else { continue };
            if self.replaces && !rules.unique.is_empty() {
                let ids =
                    changes.update.iter().filter_map(|content| self.shared.schema.row_id(&table, content));
                changes.delete.extend(ids);
                changes.insert.append(&mut changes.update);
            }
            if !changes.delete.is_empty() {
                let mut query = sqlx::query(statements.delete.clone());
                for column in keys(rules.key.len(), &changes.delete) {
                    query = query.bind(column);
                }
                query.execute(&mut *self.connection).await?;
            }
            if let Some(update) = &statements.update {
                write(self.connection, update, rules.columns.len(), &changes.update).await?;
            }
            match &statements.copy {
                Some(copy) if changes.insert.len() >= copy::ROWS_MIN => {
                    let mut lines = Lines::default();
                    for content in &changes.insert {
                        content.columns().for_each(|column| lines.text(column));
                        lines.end();
                    }
                    lines.send(self.connection, copy).await?;
                }
                _ => {
                    write(self.connection, &statements.insert, rules.columns.len(), &changes.insert).await?;
                }
            }
        }
        Ok(())
    }

    /// Stored versions with what they hold: from the versions where these keep it, else from the tables.
    pub(super) async fn with_contents(
        &mut self,
        stored: Vec<Stored>,
    ) -> Result<Vec<RowVersion>, PostgresError> {
        let elsewhere = |stored: &&Stored| stored.content.is_none() && !stored.deleted;
        let mut shown = self.shown(stored.iter().filter(elsewhere).map(|stored| &stored.row)).await?;
        let whole = stored.into_iter().map(|stored| {
            let content = stored.content.clone().or_else(|| shown.remove(&stored.row));
            stored.with_content(content)
        });
        Ok(whole.collect())
    }

    /// What applications see of rows.
    pub(super) async fn shown<'i>(
        &mut self,
        ids: impl IntoIterator<Item = &'i RowId>,
    ) -> Result<BTreeMap<RowId, Content>, PostgresError> {
        let mut tables: BTreeMap<&TableName, Vec<&RowId>> = BTreeMap::new();
        for id in ids {
            tables.entry(&id.table).or_default().push(id);
        }
        let mut shown = BTreeMap::new();
        for (table, ids) in tables {
            let Statements { content, .. } = self.shared.statements(table)?;
            let columns = self.shared.schema.table(table).map_or(0, |table| table.columns.len());
            let numbers: Vec<i64> = (0..).take(ids.len()).collect();
            let mut query = sqlx::query(content.clone()).bind(numbers);
            for column in keys(self.shared.key_columns(table), ids.iter().copied()) {
                query = query.bind(column);
            }
            for row in query.fetch_all(&mut *self.connection).await? {
                let number: i64 = row.try_get(0)?;
                let id = usize::try_from(number).ok().and_then(|number| ids.get(number));
                let content = content_at(&row, 1, columns)?;
                shown.insert((*id.ok_or(PostgresError::Unexpected)?).clone(), content);
            }
        }
        Ok(shown)
    }
}

/// Whether applications have committed anything about these rows since everything was folded. Rows that they saw were
/// locked, but one that was not there can have come and gone again, by writes that are later than what was decided.
pub(super) async fn met(
    connection: &mut PgConnection,
    shared: &Shared,
    ids: &BTreeSet<&RowId>,
) -> Result<bool, PostgresError> {
    let entries = sqlx::query(MET).bind(MET_MAX).fetch_all(connection).await?;
    let mut met = entries.len() as i64 >= MET_MAX;
    for entry in entries {
        let (name, key): (&str, Vec<String>) = (entry.try_get(0)?, entry.try_get(1)?);
        let key = Content::new(key.iter().map(|column| Some(column.as_str())));
        // A table that no longer travels has no rows among these.
        met |= shared.table_name(name).is_ok_and(|table| ids.contains(&RowId { table, key }));
    }
    Ok(met)
}

/// Locks the rows that applications see of these, in the order of their keys.
pub(super) async fn lock<'i>(
    connection: &mut PgConnection,
    shared: &Shared,
    ids: impl IntoIterator<Item = &'i RowId>,
) -> Result<(), PostgresError> {
    let mut tables: BTreeMap<&TableName, Vec<&RowId>> = BTreeMap::new();
    for id in ids {
        if shared.has_key(id) {
            tables.entry(&id.table).or_default().push(id);
        }
    }
    for (table, ids) in tables {
        let mut query = sqlx::query(shared.statements(table)?.lock.clone());
        for column in keys(shared.key_columns(table), ids) {
            query = query.bind(column);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Tries whether the tables can hold rows: writes them as if nothing else were there. For a transaction that is
/// rolled back.
pub(super) async fn hold<'i>(
    connection: &mut PgConnection,
    shared: &Shared,
    rows: impl IntoIterator<Item = &'i RowVersion>,
) -> Result<(), PostgresError> {
    let mut tables: BTreeMap<&TableName, (Vec<&RowId>, Vec<Content>)> = BTreeMap::new();
    for row in rows {
        let (ids, contents) = tables.entry(&row.row.table).or_default();
        ids.push(&row.row);
        contents.extend(row.image.content().cloned());
    }
    for (table, (ids, contents)) in tables {
        let statements = shared.statements(table)?;
        let mut delete = sqlx::query(statements.delete.clone());
        for column in keys(shared.key_columns(table), ids) {
            delete = delete.bind(column);
        }
        delete.execute(&mut *connection).await?;
        let columns = shared.schema.table(table).map_or(0, |table| table.columns.len());
        write(connection, &statements.insert, columns, &contents).await?;
    }
    Ok(())
}

/// Executes a statement with the columns of contents, one array each.
async fn write(
    connection: &mut PgConnection,
    statement: &SqlStr,
    count: usize,
    contents: &[Content],
) -> Result<(), PostgresError> {
    if contents.is_empty() {
        return Ok(());
    }
    let mut query = sqlx::query(statement.clone());
    for column in columns(count, contents) {
        query = query.bind(column);
    }
    query.execute(connection).await?;
    Ok(())
}

/// Reads the texts of a row's columns, the first at `first`.
pub(super) fn content_at(row: &PgRow, first: usize, count: usize) -> Result<Content, PostgresError> {
    let mut texts: Vec<Option<&str>> = Vec::with_capacity(count);
    for place in first..first + count {
        texts.push(row.try_get(place)?);
    }
    Ok(Content::new(texts))
}

/// The columns of keys, one array each.
fn keys<'a>(count: usize, ids: impl IntoIterator<Item = &'a RowId>) -> Vec<Vec<Option<&'a str>>> {
    let mut columns = vec![Vec::new(); count];
    for id in ids {
        for (column, value) in columns.iter_mut().zip(id.key.columns()) {
            column.push(value);
        }
    }
    columns
}

/// The columns of contents, one array each.
fn columns(count: usize, contents: &[Content]) -> Vec<Vec<Option<&str>>> {
    let mut columns = vec![Vec::with_capacity(contents.len()); count];
    for content in contents {
        for (column, value) in columns.iter_mut().zip(content.columns()) {
            column.push(value);
        }
    }
    columns
}
