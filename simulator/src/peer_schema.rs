//! The tables of a scenario among peers, as the core knows them, and how rows are named and filled.

use std::collections::BTreeMap;

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::{InvalidSchema, OnDeleted, Policy, Reference, Schema, Table};
use sync_core::peer_sync::version::NodeId;

use crate::draw::{Draws, Label};
use crate::history::OpRef;
use crate::scenario::model::{self, DeclaredTable, Peers, Put, TablePolicy, Tables, Texts};

/// The schema of a scenario.
///
/// # Errors
/// What is wrong with declared tables.
pub fn schema(peers: &Peers) -> Result<Schema, InvalidSchema> {
    let tables = tables(peers);
    Schema::new(tables.iter().map(|table| declared(table, peers.count)).collect::<Result<Vec<_>, _>>()?)
}

/// The tables of a scenario, as they would be declared.
pub(crate) fn tables(peers: &Peers) -> Vec<DeclaredTable> {
    match &peers.tables {
        Tables::ProductReviews => product_reviews(),
        Tables::Declared(tables) => tables.clone(),
    }
}

/// The node id of a peer: `n0`, or `n07` among more than ten.
pub fn node_id(peer: u32, count: u32) -> NodeId {
    let digits = count.saturating_sub(1).max(1).ilog10() as usize + 1;
    NodeId::new(&format!("n{peer:0digits$}")).expect("a letter and digits")
}

/// The key of a row by its number: a UUID whose last digits are the number's.
pub fn key_text(row: u32) -> String {
    format!("00000000-0000-4000-8000-{row:012}")
}

/// Names a row by its number.
pub fn row_id(table: &Table, row: u32) -> RowId {
    RowId { table: table.name.clone(), key: Content::new([Some(key_text(row).as_str())]) }
}

fn declared(table: &DeclaredTable, peers: u32) -> Result<Table, InvalidSchema> {
    let columns: Vec<&str> = table.columns.iter().map(String::as_str).collect();
    let mut made = Table::new(&table.name, &columns, columns.get(..1).unwrap_or_default())?;
    for reference in &table.references {
        let parent = Table::new(&reference.table, &["id"], &["id"])?.name;
        let on_deleted = match reference.on_deleted {
            model::OnDeleted::Revive => OnDeleted::Revive,
            model::OnDeleted::Cascade => OnDeleted::Cascade,
            model::OnDeleted::Restrict => OnDeleted::Restrict,
        };
        made.references.push(Reference {
            columns: vec![reference.column.clone()],
            table: parent,
            on_deleted,
        });
    }
    made.unique.clone_from(&table.unique);
    made.policy = match &table.policy {
        TablePolicy::LastWriterByRow => Policy::LastWriterByRow,
        TablePolicy::LastWriterByColumn => Policy::LastWriterByColumn,
        TablePolicy::FirstWriter => Policy::FirstWriter,
        TablePolicy::NodePriority(order) => {
            Policy::NodePriority(order.iter().map(|peer| node_id(*peer, peers)).collect())
        }
        TablePolicy::CounterDelta(columns) => Policy::CounterDelta(columns.clone()),
        TablePolicy::Custom(name) => Policy::Custom(name.clone()),
    };
    Ok(made)
}

/// The seven tables of the specification, in its order; references as its models have them.
fn product_reviews() -> Vec<DeclaredTable> {
    let table =
        |name: &str, columns: &[&str], references: &[(&str, &str)], unique: &[&[&str]]| DeclaredTable {
            name: name.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            references: references
                .iter()
                .map(|(column, table)| model::DeclaredReference {
                    column: (*column).to_owned(),
                    table: (*table).to_owned(),
                    on_deleted: model::OnDeleted::Revive,
                })
                .collect(),
            unique: unique.iter().map(|key| key.iter().map(|&column| column.to_owned()).collect()).collect(),
            policy: TablePolicy::LastWriterByRow,
        };
    vec![
        table("users", &["id", "username", "email", "full_name"], &[], &[&["email"]]),
        table(
            "products",
            &["id", "name", "description", "price", "category_id", "user_id"],
            &[("category_id", "categories"), ("user_id", "users")],
            &[],
        ),
        table(
            "reviews",
            &["id", "user_id", "product_id", "rating", "comment"],
            &[("user_id", "users"), ("product_id", "products")],
            &[&["user_id", "product_id"]],
        ),
        table("categories", &["id", "name", "slug"], &[], &[&["name"], &["slug"]]),
        table("product_images", &["id", "product_id", "url"], &[("product_id", "products")], &[]),
        table("review_media", &["id", "review_id", "url"], &[("review_id", "reviews")], &[]),
        table("activity_logs", &["id", "user_id", "action", "details"], &[("user_id", "users")], &[]),
    ]
}

/// What a put makes of a row: the columns that it sets, those that it leaves as they were, and in the others a text
/// that says which statement wrote it. References of a new row name a row drawn among `parents` of each table.
pub struct Filler<'a> {
    /// Where draws come from.
    pub draws: Draws,
    /// The transaction.
    pub op: OpRef,
    /// The statement's place in it.
    pub statement: u32,
    /// Rows that there may be of each table.
    pub parents: &'a BTreeMap<String, u32>,
}

impl Filler<'_> {
    /// The row's content after the put; `before` is what the application sees.
    pub fn fill(&self, table: &Table, put: &Put, before: Option<&Content>) -> Content {
        let before: Option<Vec<Option<&str>>> = before.map(|content| content.columns().collect());
        let mut values: Vec<Option<String>> = Vec::with_capacity(table.columns.len());
        for (place, column) in table.columns.iter().enumerate() {
            let old = before.as_ref().map(|values| values.get(place).copied().flatten());
            values.push(self.column(table, put, place, column, old));
        }
        Content::new(values.iter().map(Option::as_deref))
    }

    fn column(
        &self,
        table: &Table,
        put: &Put,
        place: usize,
        column: &str,
        old: Option<Option<&str>>,
    ) -> Option<String> {
        if place == 0 {
            return Some(key_text(put.row));
        }
        let parent = table.references.iter().find(|reference| reference.columns.iter().any(|c| c == column));
        if let Some(text) = put.set.get(column) {
            let number = text.as_ref().and_then(|text| text.parse::<u32>().ok());
            return match (parent, number) {
                (Some(_), Some(number)) => Some(key_text(number)),
                _ => text.clone(),
            };
        }
        // What names other rows, or must be unique, stays as it was.
        let unique = table.unique.iter().any(|key| key.iter().any(|c| c == column));
        if let (Some(old), true) = (old, parent.is_some() || unique || !put.set.is_empty()) {
            return old.map(str::to_owned);
        }
        let key = (u64::from(self.op.host) | u64::from(self.statement) << 32, self.op.ticket);
        let salt = (place as u64) << 56;
        if let Some(parent) = parent {
            // Where there are none from the start, nothing is named.
            let rows = self.parents.get(parent.table.as_str()).copied().filter(|rows| *rows > 0)?;
            let row = self.draws.below(u64::from(rows), Label::ColumnText, key.0 ^ salt, key.1);
            return Some(key_text(row as u32));
        }
        if unique {
            return Some(match put.collide {
                true => {
                    let few = self.draws.below(4, Label::ColumnText, key.0 ^ salt, key.1);
                    format!("{column}-{few}")
                }
                false => format!("{column}-of-{}", put.row),
            });
        }
        if matches!(&table.policy, Policy::CounterDelta(counters) if counters.iter().any(|c| c == column)) {
            // A counter takes whole numbers.
            let number = self.draws.below(COUNTER_BELOW, Label::ColumnText, key.0 ^ salt, key.1);
            return Some(number.to_string());
        }
        let mark = format!("{} {}.{}", column, self.op, self.statement);
        match put.texts {
            Texts::Plain => Some(mark),
            Texts::Odd => odd(self.draws.bits(Label::ColumnText, key.0 ^ salt, key.1), &mark),
            Texts::Large => Some(mark + &"x".repeat(1024 * 1024)),
        }
    }
}

/// What is written to counters is below this.
const COUNTER_BELOW: u64 = 1_000;

/// Texts that careless code damages; the mark keeps them apart.
fn odd(bits: u64, mark: &str) -> Option<String> {
    Some(match bits % 10 {
        0 => return None,
        1 => String::new(),
        2 => "NaN".to_owned(),
        3 => format!("{}", f64::from_bits(bits | 1)),
        4 => format!("0.1000000000000000055511151231257827 {mark}"),
        5 => format!("{mark}          "),
        6 => format!("\u{1f600}\u{0301} {mark} \u{202e}"),
        7 => format!("{{\"b\": 1, \"a\": [1.0, 1e0], \"mark\": \"{mark}\"}}"),
        8 => format!("{mark}\u{1}\u{7f}\r\n\t"),
        _ => format!("-0 {mark} '; DROP TABLE users; --"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seven_tables_are_a_schema_with_parents_first() {
        let peers = Peers::of(3);
        let schema = schema(&peers).unwrap();
        let order: Vec<_> = schema.tables().map(|table| table.name.as_str().to_owned()).collect();
        assert_eq!(order.len(), 7);
        let place = |name: &str| order.iter().position(|other| other == name).unwrap();
        assert!(place("users") < place("products") && place("products") < place("reviews"));
        assert!(place("reviews") < place("review_media"));
    }

    #[test]
    fn node_ids_sort_as_their_numbers_do() {
        assert_eq!(node_id(0, 3).as_str(), "n0");
        assert_eq!(node_id(7, 100).as_str(), "n07");
        assert!(node_id(9, 11) < node_id(10, 11));
    }
}
