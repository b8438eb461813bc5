//! Rows of a table as the documented endpoints show and take them.
//!
//! `{table, data[], timestamp, count, since, sync_type}` as documented; each value is the text that the database gives, or
//! null. Beside it ours adds `versions`, one for each row, and `deleted`: with these a row that is sent on stays the very
//! same write, and an older one never replaces a newer one. Rows without versions are taken for what an application
//! writes at this moment.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Fault, shown};
use crate::limits;
use crate::peer_sync::announcement::iso_text;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Extra, Image, Origin, RowId, RowVersion, TableName};
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::{NodeId, Version};
use crate::time::Timestamp;

/// Which rows to read of a database, in the order of their keys (as bytes of their canonical form).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRows {
    /// The table; one that travels.
    pub table: TableName,
    /// Only those written at this moment or later, by their writers' clocks, deleted ones included; none for all that
    /// applications see.
    pub since: Option<Timestamp>,
    /// Only those behind this key.
    pub after: Option<Content>,
    /// So many at most.
    pub rows_max: usize,
}

/// A row as it is read from a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRow {
    /// What applications see; none if they see no row.
    pub visible: Option<Content>,
    /// What is stored.
    pub stored: RowVersion,
}

/// A statement of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The table; one that travels.
    pub table: TableName,
    /// Columns by their place among those that travel, and their texts; none for a null. The key is among them.
    pub columns: Vec<(usize, Option<String>)>,
    /// What to do if the row is there.
    pub existing: Existing,
}

/// What a statement does with a row that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing: it fails.
    Refuse,
    /// It changes the columns that it names.
    Update,
}

/// What was sent to be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent it, by its own word.
    pub source: Option<NodeId>,
    /// The rows.
    pub rows: ReceivedRows,
}

/// Rows that were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceivedRows {
    /// With their versions.
    Versions(Vec<RowVersion>),
    /// Without: an application's writes.
    Statements(Vec<Statement>),
}

/// What a row's version is made of, apart from its content.
#[derive(Serialize, Deserialize)]
struct Mark {
    version: Version,
    origin: Origin,
    #[serde(default, skip_serializing_if = "Extra::is_none")]
    extra: Extra,
}

/// Writes rows of a table. `after` is the key of the last row where there are more.
pub fn write(
    table: &Table,
    rows: &[ReadRow],
    since: Option<Timestamp>,
    now: Timestamp,
    after: Option<&Content>,
) -> Value {
    let visible = || rows.iter().filter_map(|row| Some((row.visible.as_ref()?, &row.stored)));
    let data: Vec<Value> = visible().map(|(content, _)| object(table, content)).collect();
    let versions: Vec<Option<Mark>> = visible()
        .map(|(content, stored)| {
            let as_stored = stored.image.row() == Some(content);
            let RowVersion { version, origin, extra, .. } = stored;
            as_stored.then(|| Mark { version: version.clone(), origin: *origin, extra: extra.clone() })
        })
        .collect();
    let deleted: Vec<&RowVersion> = rows
        .iter()
        .filter(|row| row.visible.is_none() && row.stored.image.is_tombstone())
        .map(|row| &row.stored)
        .collect();
    json!({
        "table": table.name,
        "count": data.len(),
        "data": data,
        "versions": versions,
        "deleted": deleted,
        "timestamp": iso_text(now),
        "since": since.map(iso_text),
        "sync_type": if since.is_some() { "incremental" } else { "full" },
        "next": after.map(cursor),
    })
}

/// A row as an object.
pub fn object(table: &Table, content: &Content) -> Value {
    let columns = table.columns.iter().zip(content.columns());
    Value::Object(columns.map(|(name, text)| (name.clone(), text.into())).collect())
}

/// A key as it stands in a query: hexadecimal digits of its canonical form.
pub fn cursor(key: &Content) -> String {
    key.as_canonical().bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The key that a query names.
///
/// # Errors
/// When it is none.
pub fn key(cursor: &str) -> Result<Content, Fault> {
    let fault = || Fault::new("`after` is not what `next` said: ask again without it");
    let bytes: Option<Vec<u8>> = cursor
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
        })
        .collect();
    let text = String::from_utf8(bytes.ok_or_else(fault)?).map_err(|_| fault())?;
    // No key holds a NUL, as no text of a database does.
    Content::from_canonical(&text).ok().filter(|_| !text.contains('\0')).ok_or_else(fault)
}

#[derive(Deserialize)]
struct Body {
    table: Option<String>,
    data: Vec<Map<String, Value>>,
    versions: Option<Vec<Option<Mark>>>,
    #[serde(default)]
    deleted: Vec<RowVersion>,
    count: Option<u64>,
    source_node: Option<NodeId>,
}

/// Reads what was sent for a table.
///
/// # Errors
/// What is wrong with it; then nothing of it is to be taken.
pub fn read(table: &Table, bytes: &[u8]) -> Result<Received, Fault> {
    let body: Body = serde_json::from_slice(bytes).map_err(|error| Fault::of_json(&error))?;
    if let Some(other) = body.table.filter(|name| name != table.name.as_str()) {
        return Err(Fault::new(format!(
            "the body is about table {}, the path about `{}`",
            shown(&other),
            table.name
        )));
    }
    if body.data.len() + body.deleted.len() > limits::PAGE_ROWS_MAX {
        return Err(Fault::new(format!("more than {} rows: send them in parts", limits::PAGE_ROWS_MAX)));
    }
    if body.count.is_some_and(|count| count != body.data.len() as u64) {
        return Err(Fault::new("`count` is not the number of rows in `data`: was it cut off?"));
    }
    if body.deleted.iter().any(|row| row.row.table != table.name) {
        return Err(Fault::new("`deleted` holds rows of another table"));
    }
    let rows = match body.versions {
        None if body.deleted.is_empty() => ReceivedRows::Statements(
            body.data.iter().map(|row| statement(table, row)).collect::<Result<_, _>>()?,
        ),
        None => return Err(Fault::new("`deleted` without `versions`: send both, as they were read")),
        Some(marks) if marks.len() != body.data.len() => {
            return Err(Fault::new("`versions` has not one for each row of `data`"));
        }
        Some(marks) => {
            let rows = body.data.iter().zip(marks).filter_map(|(row, mark)| Some(version(table, row, mark?)));
            ReceivedRows::Versions(rows.chain(body.deleted.into_iter().map(Ok)).collect::<Result<_, _>>()?)
        }
    };
    Ok(Received { source: body.source_node, rows })
}

/// A row with its version: all columns, as they were read.
fn version(table: &Table, row: &Map<String, Value>, mark: Mark) -> Result<RowVersion, Fault> {
    let statement = statement(table, row)?;
    let texts = row.values().all(|value| matches!(value, Value::String(_) | Value::Null));
    if statement.columns.len() != table.columns.len() || !texts {
        return Err(Fault::new(format!(
            "a row with a version has all columns of `{}`, each a text or null, as they were read",
            table.name
        )));
    }
    let mut columns = statement.columns;
    columns.sort_unstable_by_key(|(place, _)| *place);
    let content = Content::new(columns.iter().map(|(_, text)| text.as_deref()));
    let key = table.pick(&table.key, &content).ok_or_else(|| no_key(table))?;
    Ok(RowVersion {
        row: RowId { table: table.name.clone(), key },
        version: mark.version,
        image: Image::Row(content),
        origin: mark.origin,
        extra: mark.extra,
    })
}

/// A row as an application's statement. Names of columns are looked up, and what is not there is refused.
fn statement(table: &Table, row: &Map<String, Value>) -> Result<Statement, Fault> {
    let mut columns = Vec::with_capacity(row.len());
    for (name, value) in row {
        let place = table.place(name).ok_or_else(|| {
            Fault::new(format!("{} is no column of `{}` that travels", shown(name), table.name))
        })?;
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            // Numbers, switches and whole documents stand for the text that they are.
            other => Some(other.to_string()),
        };
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(Fault::new(format!("{} holds a NUL, which no text of a database can", shown(name))));
        }
        columns.push((place, text));
    }
    let has_key = table
        .key
        .iter()
        .filter_map(|column| table.place(column))
        .all(|key| columns.iter().any(|(place, text)| *place == key && text.is_some()));
    if !has_key {
        return Err(no_key(table));
    }
    Ok(Statement { table: table.name.clone(), columns, existing: Existing::Update })
}

fn no_key(table: &Table) -> Fault {
    Fault::new(format!("a row of `{}` needs its key: {}", table.name, table.key.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Incarnation;
    use crate::peer_sync::version::Stamp;

    fn table() -> Table {
        Table::new("users", &["id", "email", "name"], &["id"]).unwrap()
    }

    fn row(columns: [Option<&str>; 3]) -> ReadRow {
        let content = Content::new(columns);
        let version = Version {
            stamp: Stamp { us: 5, counter: 1 },
            node: NodeId::new("n1").unwrap(),
            hash: content.hash(),
        };
        let stored = RowVersion {
            row: RowId { table: table().name, key: Content::new([columns[0]]) },
            version,
            image: Image::Row(content.clone()),
            origin: Origin { incarnation: Incarnation(7), xid: 3 },
            extra: Extra::None,
        };
        ReadRow { visible: Some(content), stored }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_versions() {
        let living = row([Some("1"), Some("a@x"), None]);
        let last = Content::new([Some("2"), None, None]);
        let mut gone = row([Some("2"), None, None]);
        gone.visible = None;
        gone.stored.version.hash = Content::tombstone_hash(Some(&last));
        gone.stored.image = Image::Tombstone(Some(last));
        let written = write(
            &table(),
            &[living.clone(), gone.clone()],
            Some(Timestamp::from_ms(1)),
            Timestamp::from_ms(2),
            None,
        );
        assert_eq!(written["count"], 1);
        assert_eq!(written["sync_type"], "incremental");
        assert_eq!(written["data"][0], json!({"id": "1", "email": "a@x", "name": null}));
        let read = read(&table(), written.to_string().as_bytes()).unwrap();
        assert_eq!(read.rows, ReceivedRows::Versions(vec![living.stored, gone.stored]));
    }

    #[test]
    fn rows_without_versions_are_an_applications_writes() {
        let text = r#"{"table":"users","data":[{"id":1,"name":true}],"count":1,"sync_type":"full","source_node":"x"}"#;
        let Received { source, rows: ReceivedRows::Statements(statements) } =
            read(&table(), text.as_bytes()).unwrap()
        else {
            panic!("versions came from nowhere")
        };
        assert_eq!(source.unwrap().as_str(), "x");
        let mut columns = statements[0].columns.clone();
        columns.sort();
        assert_eq!(columns, [(0, Some("1".to_owned())), (2, Some("true".to_owned()))]);
    }

    #[test]
    fn what_cannot_be_rows_of_the_table_is_refused_whole() {
        let check = |text: &str, expected: &str| {
            let fault = read(&table(), text.as_bytes()).unwrap_err().0;
            assert!(fault.contains(expected), "{text}: {fault}");
        };
        check("", "JSON");
        check(r#"{"data":[{"id":"1","role":"admin"}]}"#, "`users` that travels");
        check(r#"{"data":[{"id":"1","x\"; drop table users; --":"1"}]}"#, "no column");
        check(r#"{"data":[{"name":"x"}]}"#, "key");
        check(r#"{"data":[{"id":null}]}"#, "key");
        check(r#"{"data":[{"id":"1"}],"count":2}"#, "cut off");
        check(r#"{"table":"other","data":[]}"#, "path");
        check(r#"{"data":[{"id":"1\u0000"}]}"#, "NUL");
        check(r#"{"data":[{"id":"1"}],"versions":[]}"#, "one for each");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(bytes: Vec<u8>) {
            let _ = read(&table(), &bytes);
        }

        #[test]
        fn cursors_come_back(columns in prop::collection::vec(prop::option::of("[^\0]{0,10}"), 1..4)) {
            let content = Content::new(columns.iter().map(Option::as_deref));
            prop_assert_eq!(key(&cursor(&content)), Ok(content));
        }

        #[test]
        fn no_cursor_makes_it_panic(text in ".{0,20}") {
            let _ = key(&text);
        }
    }
}
