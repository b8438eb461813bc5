//! What the store knows of each table: the form that its rows must have, and totals over them.

use std::collections::BTreeMap;

use crate::limits;
use crate::peer_sync::content::Content;
use crate::peer_sync::resolver::{Resolver, Resolvers};
use crate::peer_sync::row::{Image, RowId, RowVersion, TableName};
use crate::peer_sync::schema::{Policy, Schema, Table};
use crate::peer_sync::store::{TableDescription, Unsound};
use crate::peer_sync::version::Stamp;

/// The tables of a schema, by number.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    schema: Schema,
    pub(crate) resolvers: Resolvers,
    rules: Vec<Rules>,
    numbers: BTreeMap<TableName, u32>,
}

/// One table.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) table: Table,
    /// Places of the primary key's columns.
    key: Vec<usize>,
    /// Whether the store decides alone which version wins.
    pub(crate) greater_version_wins: bool,
    pub(crate) totals: TableDescription,
}

impl Tables {
    pub(crate) fn new(schema: Schema) -> Self {
        let rules: Vec<Rules> = schema.tables().map(Rules::new).collect();
        let numbers =
            rules.iter().zip(0..).map(|(rules, number)| (rules.table.name.clone(), number)).collect();
        Self { resolvers: Resolvers::declared(&schema), schema, rules, numbers }
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(crate) fn number(&self, name: &TableName) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Rules> {
        self.rules.get(number as usize)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Rules> {
        self.rules.get_mut(number as usize)
    }

    /// The number of the table that a received row belongs to, if it is a row of that table.
    pub(crate) fn check(&self, row: &RowVersion) -> Result<u32, Unsound> {
        let number = self.number(&row.row.table).ok_or(Unsound::Table)?;
        let rules = self.get(number).ok_or(Unsound::Table)?;
        // No text of PostgreSQL holds a NUL.
        let has_nul = |content: &Content| content.as_canonical().contains('\0');
        if !rules.holds(&row.row, &row.image)
            || has_nul(&row.row.key)
            || row.image.content().is_some_and(has_nul)
        {
            return Err(Unsound::Columns);
        }
        if !self.accepts(rules, row) {
            return Err(Unsound::Extra);
        }
        let key_bytes = row.row.key.as_canonical().len();
        if row.bytes() > limits::ROW_BYTES_MAX || key_bytes > limits::ROW_KEY_BYTES_MAX {
            return Err(Unsound::Size);
        }
        if !row.is_sound() {
            return Err(Unsound::Hash);
        }
        Ok(number)
    }

    /// Whether what is kept beside a row has the form of the table's policy. A team's own resolver that is not known
    /// here has decided that elsewhere.
    fn accepts(&self, rules: &Rules, row: &RowVersion) -> bool {
        if rules.greater_version_wins {
            return row.extra.is_none();
        }
        self.resolver(rules).is_none_or(|resolver| resolver.accepts(&rules.table, row))
    }

    /// The resolver of a table; none for a team's own that was not given.
    pub(crate) fn resolver(&self, rules: &Rules) -> Option<&dyn Resolver> {
        self.resolvers.of(&rules.table.name)
    }

    /// The greatest stamp that was ever stored.
    pub(crate) fn greatest_stamp(&self) -> Stamp {
        self.rules.iter().map(|rules| rules.totals.stamp).max().unwrap_or_default()
    }

    /// Each table's totals, by name.
    pub(crate) fn describe(&self) -> BTreeMap<TableName, TableDescription> {
        self.rules.iter().map(|rules| (rules.table.name.clone(), rules.totals)).collect()
    }
}

impl Rules {
    fn new(table: &Table) -> Self {
        Self {
            key: table.key.iter().filter_map(|column| table.place(column)).collect(),
            greater_version_wins: table.policy == Policy::LastWriterByRow,
            totals: TableDescription::default(),
            table: table.clone(),
        }
    }

    /// Whether the content has this table's columns, and the key is made of its key columns.
    fn holds(&self, row: &RowId, image: &Image) -> bool {
        match image {
            Image::Row(content) | Image::Tombstone(Some(content)) => {
                content.columns().count() == self.table.columns.len()
                    && row.key.columns().eq(self.key.iter().map(|place| content.column(*place)))
                    && row.key.columns().all(|column| column.is_some())
            }
            Image::Tombstone(None) => {
                row.key.columns().count() == self.key.len()
                    && row.key.columns().all(|column| column.is_some())
            }
        }
    }
}
