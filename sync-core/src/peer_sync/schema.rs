//! Which tables and columns travel, and what must hold between rows: the allow-list of a peer.
//!
//! Names never come from the wire: what a message names is looked up here, and what is not here is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::content::Content;
use super::row::{RowId, TableName};
use super::version::NodeId;
use crate::limits;

/// The tables that travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    tables: BTreeMap<TableName, Table>,
    /// Parents before children.
    order: Vec<TableName>,
    fingerprint: u64,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// The columns that travel, in this order; the canonical content has exactly these.
    pub columns: Vec<String>,
    /// The columns of the primary key.
    pub key: Vec<String>,
    /// References to other rows.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// Natural keys: columns that no two visible rows may have alike. A null is like nothing.
    #[serde(default)]
    pub unique: Vec<Vec<String>>,
    /// Who wins.
    #[serde(default)]
    pub policy: Policy,
}

/// Columns that name a row of another table, or of the same, by its primary key. A null names nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The columns here, in the order of the other table's primary key.
    pub columns: Vec<String>,
    /// The other table.
    pub table: TableName,
    /// What happens to a child whose parent is deleted.
    #[serde(default)]
    pub on_deleted: OnDeleted,
}

/// What a deleted parent and a living child come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeleted {
    /// The parent lives again, with what its deleter saw, as long as a child needs it.
    #[default]
    Revive,
    /// The child goes, too.
    Cascade,
    /// A child older than the deletion keeps its parent alive; a younger one is set aside.
    Restrict,
}

/// Who wins when two versions of a row meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The greater (stamp, node, hash), by row.
    #[default]
    LastWriterByRow,
    /// The same for each column by itself.
    LastWriterByColumn,
    /// Of two rows that were inserted side by side, the one inserted first; of two writes of one row, the later.
    FirstWriter,
    /// Of writes side by side, the one of the node that comes first here; nodes that are not named come last. A write
    /// inherits the rank of what it replaces.
    NodePriority(Vec<NodeId>),
    /// These columns are sums to which each node adds; the others go by the last writer by row.
    CounterDelta(Vec<String>),
    /// A team's own resolver, known to the program under this name.
    Custom(String),
}

/// What is wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSchema {
    /// A name has the wrong form.
    #[error("`{0}` is no name of a table or column: 1 to {max} characters out of `a-z 0-9 _`, a letter first", max = limits::SQL_NAME_BYTES_MAX)]
    Name(String),
    /// A table is there twice.
    #[error("table `{0}` is declared twice")]
    TableTwice(TableName),
    /// A column is there twice in one list.
    #[error("table `{table}`: column `{column}` is listed twice")]
    ColumnTwice {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A key, reference, natural key or policy names a column that does not travel.
    #[error("table `{table}`: `{column}` is none of its columns; list it under `columns`")]
    UnknownColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A table without a primary key, or a natural key or reference without columns.
    #[error("table `{0}`: a key or a reference without columns")]
    NoColumns(TableName),
    /// A reference to a table that does not travel.
    #[error("table `{table}` refers to `{parent}`, which is not declared; declare it or drop the reference")]
    UnknownParent {
        /// The table.
        table: TableName,
        /// The other.
        parent: TableName,
    },
    /// A reference has not as many columns as the other table's key.
    #[error("table `{table}`: a reference to `{parent}` needs {expected} columns, as its primary key has")]
    Arity {
        /// The table.
        table: TableName,
        /// The other.
        parent: TableName,
        /// Columns of its key.
        expected: usize,
    },
    /// Tables refer to each other in a circle (a table may refer to itself).
    #[error("tables refer to each other in a circle through `{0}`; drop one of the references")]
    Circle(TableName),
    /// Too many tables, columns or references.
    #[error("`{0}` has too many parts: at most {tables} tables, {columns} columns in each", tables = limits::TABLES_MAX, columns = limits::COLUMNS_MAX)]
    TooMany(String),
}

impl Schema {
    /// Checks the tables and puts parents before children.
    pub fn new(tables: impl IntoIterator<Item = Table>) -> Result<Self, InvalidSchema> {
        let mut by_name = BTreeMap::new();
        for table in tables {
            table.check()?;
            if by_name.len() == limits::TABLES_MAX {
                return Err(InvalidSchema::TooMany("the schema".to_owned()));
            }
            let name = table.name.clone();
            if by_name.insert(name.clone(), table).is_some() {
                return Err(InvalidSchema::TableTwice(name));
            }
        }
        for table in by_name.values() {
            for reference in &table.references {
                let parent = by_name.get(&reference.table).ok_or_else(|| InvalidSchema::UnknownParent {
                    table: table.name.clone(),
                    parent: reference.table.clone(),
                })?;
                if parent.key.len() != reference.columns.len() {
                    return Err(InvalidSchema::Arity {
                        table: table.name.clone(),
                        parent: parent.name.clone(),
                        expected: parent.key.len(),
                    });
                }
            }
        }
        let order = parents_first(&by_name)?;
        let fingerprint = fingerprint(&by_name);
        Ok(Self { tables: by_name, order, fingerprint })
    }

    /// A table by its name.
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.get(name)
    }

    /// A table by its name in text, as a message or a person gives it.
    pub fn find(&self, name: &str) -> Option<&Table> {
        self.tables.values().find(|table| table.name.as_str() == name)
    }

    /// The tables, parents before children, else by name.
    pub fn tables(&self) -> impl DoubleEndedIterator<Item = &Table> {
        self.order.iter().filter_map(|name| self.tables.get(name))
    }

    /// Tells schemas apart: peers whose fingerprints differ do not exchange rows.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The row that a content of a table belongs to; none if the table is unknown, the number of columns
    /// is wrong or a key column is null.
    pub fn row_id(&self, table: &TableName, content: &Content) -> Option<RowId> {
        let table = self.table(table)?;
        if content.columns().count() != table.columns.len() {
            return None;
        }
        let key = table.pick(&table.key, content)?;
        Some(RowId { table: table.name.clone(), key })
    }
}

/// The first eight bytes of SHA-256 over the tables as JSON, in the order of their names.
fn fingerprint(tables: &BTreeMap<TableName, Table>) -> u64 {
    let text = serde_json::to_vec(&tables.values().collect::<Vec<_>>()).unwrap_or_default();
    let digest = Sha256::digest(&text);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Table {
    /// A table whose columns are all its own, without references and natural keys.
    pub fn new(name: &str, columns: &[&str], key: &[&str]) -> Result<Self, InvalidSchema> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let table = Self {
            name: TableName(name.into()),
            columns: owned(columns),
            key: owned(key),
            references: Vec::new(),
            unique: Vec::new(),
            policy: Policy::default(),
        };
        table.check()?;
        Ok(table)
    }

    /// Whether a database decides alone who wins, by the greater version. Under any other policy the winner may have
    /// the smaller version, or be neither: rows are decided by a [`Resolver`](super::resolver::Resolver), and of
    /// two peers with different versions of a row each has to hear the other's.
    pub fn goes_by_version(&self) -> bool {
        self.policy == Policy::LastWriterByRow
    }

    /// Whether a write is without effect if a greater tombstone of its row is there; other policies may prefer it.
    pub fn later_write_wins(&self) -> bool {
        matches!(self.policy, Policy::LastWriterByRow | Policy::LastWriterByColumn)
    }

    /// The place of a column.
    pub fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// These columns of a row; none if one of them is null.
    pub fn pick(&self, columns: &[String], content: &Content) -> Option<Content> {
        let values: Vec<Option<&str>> = content.columns().collect();
        let picked: Option<Vec<Option<&str>>> = columns
            .iter()
            .map(|column| self.place(column).and_then(|place| values.get(place).copied().flatten()).map(Some))
            .collect();
        Some(Content::new(picked?))
    }

    fn check(&self) -> Result<(), InvalidSchema> {
        check_name(self.name.as_str())?;
        if self.columns.len() > limits::COLUMNS_MAX
            || self.references.len() + self.unique.len() > limits::COLUMNS_MAX
        {
            return Err(InvalidSchema::TooMany(format!("table `{}`", self.name)));
        }
        self.columns.iter().try_for_each(|column| check_name(column))?;
        let counters = match &self.policy {
            Policy::CounterDelta(columns) => Some(columns),
            _ => None,
        };
        let lists = self.references.iter().map(|reference| &reference.columns).chain(&self.unique);
        for list in lists.chain([&self.columns, &self.key]).chain(counters) {
            if list.is_empty() {
                return Err(InvalidSchema::NoColumns(self.name.clone()));
            }
            let mut seen = BTreeSet::new();
            for column in list {
                let at = || (self.name.clone(), column.clone());
                if self.place(column).is_none() {
                    let (table, column) = at();
                    return Err(InvalidSchema::UnknownColumn { table, column });
                }
                if !seen.insert(column) {
                    let (table, column) = at();
                    return Err(InvalidSchema::ColumnTwice { table, column });
                }
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), InvalidSchema> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let first = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if first && name.len() <= limits::SQL_NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(InvalidSchema::Name(name.chars().take(limits::SQL_NAME_BYTES_MAX).collect()))
}

/// Parents before children, else by name.
fn parents_first(tables: &BTreeMap<TableName, Table>) -> Result<Vec<TableName>, InvalidSchema> {
    let mut order: Vec<TableName> = Vec::with_capacity(tables.len());
    let mut left: BTreeMap<&TableName, &Table> = tables.iter().collect();
    while !left.is_empty() {
        let ready: Vec<&TableName> = left
            .iter()
            .filter(|(name, table)| {
                table.references.iter().all(|r| r.table == ***name || !left.contains_key(&r.table))
            })
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            let circle = left.keys().next().map(|name| (*name).clone());
            return Err(InvalidSchema::Circle(circle.unwrap_or(TableName("".into()))));
        }
        for name in ready {
            left.remove(name);
            order.push(name.clone());
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Table {
        Table::new(name, &["id", "parent", "email"], &["id"]).unwrap()
    }

    fn child(name: &str, parent: &str) -> Table {
        let mut table = table(name);
        table.references.push(Reference {
            columns: vec!["parent".to_owned()],
            table: TableName(parent.into()),
            on_deleted: OnDeleted::Revive,
        });
        table
    }

    #[test]
    fn parents_come_first_whatever_the_names() {
        let schema = Schema::new([child("a", "b"), child("b", "c"), table("c"), child("d", "d")]).unwrap();
        let order: Vec<_> = schema.tables().map(|table| table.name.as_str()).collect();
        assert_eq!(order, ["c", "d", "b", "a"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_place() {
        let check = |tables: Vec<Table>, expected: &str| {
            let error = Schema::new(tables).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(vec![child("a", "b"), child("b", "a")], "circle");
        check(vec![child("a", "b")], "not declared");
        check(vec![table("a"), table("a")], "twice");
        let mut wrong = table("a");
        wrong.unique.push(vec!["nick".to_owned()]);
        check(vec![wrong], "`nick`");
        assert!(Table::new("a;drop", &["id"], &["id"]).is_err());
        assert!(Table::new("a", &["id"], &[]).is_err());
    }

    #[test]
    fn a_row_is_named_by_its_key_and_a_null_names_none() {
        let schema = Schema::new([table("a")]).unwrap();
        let name = TableName("a".into());
        let row = schema.row_id(&name, &Content::new([Some("7"), None, None])).unwrap();
        assert_eq!(row.to_string(), "a(7)");
        assert_eq!(schema.row_id(&name, &Content::new([None, None, None])), None);
        assert_eq!(schema.row_id(&name, &Content::new([Some("7")])), None);
    }
}
