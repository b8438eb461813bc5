//! The tables of random runs: each kind of reference, natural keys, and each policy that keeps something beside a row.

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::{OnDeleted, Policy, Reference, Schema, Table};
use sync_core::peer_sync::store::memory::Write;

use super::draw::Draw;

pub(super) const TABLES: &str = "
    CREATE TABLE notes (id integer PRIMARY KEY, text text);
    CREATE TABLE users (id integer PRIMARY KEY, email text UNIQUE);
    CREATE TABLE posts (id integer PRIMARY KEY, user_id integer REFERENCES users, title text);
    CREATE TABLE likes (id integer PRIMARY KEY, post_id integer REFERENCES posts ON DELETE CASCADE);
    CREATE TABLE docs (id integer PRIMARY KEY, parent integer REFERENCES docs, slug text UNIQUE);
    CREATE TABLE cards (id integer PRIMARY KEY, front text, back text);
    CREATE TABLE scores (id integer PRIMARY KEY, points bigint NOT NULL, who text);
    CREATE TABLE firsts (id integer PRIMARY KEY, text text)";

pub(super) fn schema() -> Schema {
    let table = |name: &str, columns: &[&str]| Table::new(name, columns, &["id"]).unwrap();
    let refer = |mut child: Table, column: &str, parent: &Table, on_deleted: OnDeleted| {
        child.references.push(Reference {
            columns: vec![column.to_owned()],
            table: parent.name.clone(),
            on_deleted,
        });
        child
    };
    let mut users = table("users", &["id", "email"]);
    users.unique.push(vec!["email".to_owned()]);
    let posts = refer(table("posts", &["id", "user_id", "title"]), "user_id", &users, OnDeleted::Revive);
    let likes = refer(table("likes", &["id", "post_id"]), "post_id", &posts, OnDeleted::Cascade);
    let docs = table("docs", &["id", "parent", "slug"]);
    let mut docs = refer(docs.clone(), "parent", &docs, OnDeleted::Restrict);
    docs.unique.push(vec!["slug".to_owned()]);
    let ruled = |name: &str, columns: &[&str], policy: Policy| Table { policy, ..table(name, columns) };
    let cards = ruled("cards", &["id", "front", "back"], Policy::LastWriterByColumn);
    let scores = ruled("scores", &["id", "points", "who"], Policy::CounterDelta(vec!["points".to_owned()]));
    let firsts = ruled("firsts", &["id", "text"], Policy::FirstWriter);
    Schema::new([table("notes", &["id", "text"]), users, posts, likes, docs, cards, scores, firsts]).unwrap()
}

/// Tables that the greater version decides.
pub(super) const BY_VERSION: [&str; 6] = ["notes", "users", "posts", "posts", "likes", "docs"];
/// Tables with another policy.
pub(super) const BY_POLICY: [&str; 3] = ["cards", "scores", "firsts"];

/// A statement as an application would write it.
pub(super) fn statement(schema: &Schema, write: &Write) -> String {
    let literal = |value: Option<&str>| value.map_or("NULL".to_owned(), |value| format!("'{value}'"));
    match write {
        Write::Delete(row) => format!("DELETE FROM {} WHERE id = {}", row.table, row.key.column(0).unwrap()),
        Write::Put { table, content } => {
            let columns = &schema.table(table).unwrap().columns;
            let values: Vec<String> = content.columns().map(literal).collect();
            let set: Vec<String> =
                columns.iter().skip(1).map(|column| format!("{column} = excluded.{column}")).collect();
            format!(
                "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}",
                columns.join(", "),
                values.join(", "),
                set.join(", ")
            )
        }
    }
}

/// A write of few rows and values, so that they meet.
pub(super) fn random_write(draw: &mut Draw, schema: &Schema, tables: &[&'static str]) -> Write {
    let name = *draw.of(tables);
    let table = schema.find(name).unwrap().clone();
    let id = draw.below(4).to_string();
    if draw.one_in(3) {
        return Write::Delete(RowId { table: table.name, key: Content::new([Some(id.as_str())]) });
    }
    let other = (!draw.one_in(4)).then(|| draw.below(4).to_string());
    let text = (!draw.one_in(6)).then(|| format!("t:{}", draw.below(4)));
    let (id, other, text) = (Some(id.as_str()), other.as_deref(), text.as_deref());
    let content = match name {
        "notes" | "users" => Content::new([id, text]),
        "firsts" => Content::new([id, text]),
        "posts" | "docs" | "cards" => Content::new([id, other, text]),
        "scores" => Content::new([id, Some(other.unwrap_or("-7")), text]),
        // One like a post, so that a cascade has one order.
        _ => Content::new([id, other.and(id)]),
    };
    Write::Put { table: table.name, content }
}
