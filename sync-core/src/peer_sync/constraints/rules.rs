//! A schema's references and natural keys by the places of their columns, and what one row says of them.

use std::collections::BTreeMap;

use super::demands;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{RowId, RowVersion, TableName};
use crate::peer_sync::schema::{OnDeleted, Schema};
use crate::peer_sync::version::Version;

/// What must hold between rows of a schema.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Parents before children.
    order: Vec<TableName>,
    tables: BTreeMap<TableName, TableRules>,
}

/// What must hold for the rows of one table.
#[derive(Clone, Debug)]
pub(super) struct TableRules {
    /// Its references, in the declared order.
    pub(super) references: Vec<ReferenceRule>,
    /// Its natural keys: the places of their columns.
    unique: Vec<Vec<usize>>,
    columns: usize,
    /// Whether another table, or this one, refers to it.
    referenced: bool,
}

/// One reference.
#[derive(Clone, Debug)]
pub(super) struct ReferenceRule {
    places: Vec<usize>,
    pub(super) table: TableName,
    pub(super) on_deleted: OnDeleted,
    /// To the same table.
    pub(super) own: bool,
}

/// What one row says: whom it needs, and what nobody else may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ties {
    /// The row that each reference names; none for a null.
    pub(super) parents: Vec<Option<RowId>>,
    /// Each natural key; none with a null in it.
    pub(super) unique: Vec<Option<Content>>,
}

impl Rules {
    pub(super) fn new(schema: &Schema) -> Self {
        let mut tables: BTreeMap<TableName, TableRules> = BTreeMap::new();
        for table in schema.tables() {
            // A schema is checked: its references and keys name columns of the table.
            let places =
                |columns: &[String]| columns.iter().filter_map(|column| table.place(column)).collect();
            let references = table.references.iter().map(|reference| ReferenceRule {
                places: places(&reference.columns),
                table: reference.table.clone(),
                on_deleted: reference.on_deleted,
                own: reference.table == table.name,
            });
            let rules = TableRules {
                references: references.collect(),
                unique: table.unique.iter().map(|columns| places(columns)).collect(),
                columns: table.columns.len(),
                referenced: false,
            };
            tables.insert(table.name.clone(), rules);
        }
        for reference in schema.tables().flat_map(|table| &table.references) {
            if let Some(parent) = tables.get_mut(&reference.table) {
                parent.referenced = true;
            }
        }
        Self { order: schema.tables().map(|table| table.name.clone()).collect(), tables }
    }

    /// The tables, parents before children.
    pub(super) fn order(&self) -> impl DoubleEndedIterator<Item = (&TableName, &TableRules)> {
        self.order.iter().filter_map(|name| Some((name, self.tables.get(name)?)))
    }

    pub(super) fn order_len(&self) -> usize {
        self.order.len()
    }

    /// A table by its place in the order.
    pub(super) fn at(&self, place: usize) -> Option<(&TableName, &TableRules)> {
        let name = self.order.get(place)?;
        Some((name, self.tables.get(name)?))
    }

    pub(super) fn table(&self, name: &TableName) -> Option<&TableRules> {
        self.tables.get(name)
    }
}

impl TableRules {
    /// Whether a row of this table can stand in another way than as it was written.
    pub(super) fn ties(&self) -> bool {
        self.referenced || !self.references.is_empty() || !self.unique.is_empty()
    }

    /// Whether a wanted row that says this demands a tombstone back.
    pub(super) fn demands_back(&self, ties: &Ties, child: &Version, tombstone: &RowVersion) -> bool {
        self.references.iter().zip(&ties.parents).any(|(rule, parent)| {
            parent.as_ref() == Some(&tombstone.row) && demands(rule.on_deleted, child, &tombstone.version)
        })
    }

    /// What a version says; nothing for a tombstone without content.
    pub(super) fn of(&self, row: &RowVersion) -> Ties {
        let columns: Vec<Option<&str>> =
            row.image.content().map(|content| content.columns().collect()).unwrap_or_default();
        // What has not the table's columns is refused before it is stored; here it ties to nothing.
        let columns = if columns.len() == self.columns { columns } else { Vec::new() };
        let pick = |places: &[usize]| -> Option<Content> {
            let values: Option<Vec<Option<&str>>> =
                places.iter().map(|place| columns.get(*place).copied().flatten().map(Some)).collect();
            Some(Content::new(values?))
        };
        let parents = self
            .references
            .iter()
            .map(|reference| Some(RowId { table: reference.table.clone(), key: pick(&reference.places)? }));
        Ties { parents: parents.collect(), unique: self.unique.iter().map(|places| pick(places)).collect() }
    }
}
