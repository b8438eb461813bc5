//! The statements of each table. The one place that makes SQL out of names: of tables and columns that the schema
//! declares and that the database's catalogue has shown, each quoted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::peer_sync::interface::changes::Existing;
use crate::peer_sync::schema::Table;

/// Settings under which a value has one text.
pub(super) const PINNED: [(&str, &str); 7] = [
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
];

/// A column and its type, as a cast names it.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) cast: String,
    /// Whether its text depends on [`PINNED`].
    pub(super) pinned: bool,
}

/// A table as the catalogue shows it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) schema: String,
    /// In the declared order.
    pub(super) columns: Vec<Column>,
    /// Places of the key's columns, in the declared order.
    pub(super) key: Vec<usize>,
    /// Names its functions.
    pub(super) number: i32,
    /// Whether no rule and no policy for rows stands between a statement and the table.
    pub(super) is_plain: bool,
}

/// The statements of one table.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    /// Takes what was captured out of the log, with the texts of what living rows hold now; `$1` the table, `$2` how many
    /// entries.
    pub(super) fold: SqlStr,
    /// Locks rows in the order of their keys; one array for each column of the key.
    pub(super) lock: SqlStr,
    /// The texts of what rows hold: `$1` numbers, then one array for each column of the key.
    pub(super) content: SqlStr,
    /// One array for each column.
    pub(super) insert: SqlStr,
    /// The same by COPY; none where that is not the same, as with rules.
    pub(super) copy: Option<String>,
    /// One array for each column; none where all columns are the key.
    pub(super) update: Option<SqlStr>,
    /// One array for each column of the key.
    pub(super) delete: SqlStr,
    /// Functions and triggers that capture.
    pub(super) capture: SqlStr,
    /// SHA-256 over that, in hexadecimal digits.
    pub(super) capture_digest: String,
    /// Takes what the table holds already for written now.
    pub(super) adopt: SqlStr,
    /// The table's name, quoted, and its columns, quoted and with their types; places of those of the key.
    base: String,
    columns: Vec<(String, String)>,
    key: Vec<usize>,
}

impl Statements {
    pub(super) fn new(table: &Table, shape: &Shape) -> Self {
        let base = format!("{}.{}", quoted(&shape.schema), quoted(table.name.as_str()));
        let keys: Vec<&Column> = shape.key.iter().filter_map(|place| shape.columns.get(*place)).collect();
        // Parameters from `$first` on, one array of texts for each of these columns, as rows of `u`.
        let given = |first: usize, columns: &[&Column], prefix: &str| {
            let params: Vec<String> = (0..columns.len()).map(|n| format!("${}::text[]", first + n)).collect();
            let names: Vec<String> = (0..columns.len()).map(|n| format!("{prefix}{n}")).collect();
            (params.join(", "), names.join(", "))
        };
        let all: Vec<&Column> = shape.columns.iter().collect();
        let (key_params, key_names) = given(1, &keys, "k");
        let by_key = |alias: &str, value: &dyn Fn(usize) -> String| {
            let parts: Vec<String> = keys
                .iter()
                .enumerate()
                .map(|(n, column)| {
                    format!("{alias}.{} = {}::{}", quoted(&column.name), value(n), column.cast)
                })
                .collect();
            parts.join(" AND ")
        };
        let by_given_key = by_key("b", &|n| format!("u.k{n}"));
        let key_order: Vec<String> =
            keys.iter().map(|column| format!("b.{}", quoted(&column.name))).collect();
        let key_order = key_order.join(", ");

        let fold = format!(
            "WITH taken AS (
                DELETE FROM p2p_peer.log
                WHERE ctid = ANY (ARRAY(SELECT ctid FROM p2p_peer.log WHERE table_name = $1 LIMIT $2))
                RETURNING key, xid, us, counter, deleted, content
            )
            SELECT taken.key, taken.xid, taken.us, taken.counter, taken.deleted, taken.content, {texts}
            FROM taken LEFT JOIN {base} AS b ON NOT taken.deleted AND {by_log_key}",
            texts = texts(&shape.columns, "b"),
            by_log_key = by_key("b", &|n| format!("taken.key[{}]", n + 1)),
        );
        let lock = format!(
            "SELECT count(*) FROM (
                SELECT 1 FROM unnest({key_params}) AS u ({key_names}) JOIN {base} AS b ON {by_given_key}
                ORDER BY {key_order} FOR UPDATE OF b
            ) AS locked"
        );
        let (params, names) = given(2, &keys, "k");
        let content = format!(
            "SELECT u.n, {texts} FROM unnest($1::bigint[], {params}) AS u (n, {names})
             JOIN {base} AS b ON {by_given_key}",
            texts = texts(&shape.columns, "b"),
        );
        let (params, names) = given(1, &all, "c");
        let columns: Vec<String> = all.iter().map(|column| quoted(&column.name)).collect();
        let values: Vec<String> =
            all.iter().enumerate().map(|(n, column)| format!("u.c{n}::{}", column.cast)).collect();
        let insert = format!(
            "INSERT INTO {base} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM unnest({params}) AS u ({names})",
            columns.join(", "),
            values.join(", "),
        );
        let copy = shape.is_plain.then(|| format!("COPY {base} ({}) FROM STDIN", columns.join(", ")));
        let set: Vec<String> = (0..all.len())
            .filter(|n| !shape.key.contains(n))
            .filter_map(|n| Some(format!("{} = {}", columns.get(n)?, values.get(n)?)))
            .collect();
        let of_key = |n: usize| format!("u.c{}", shape.key.get(n).copied().unwrap_or_default());
        let update = (!set.is_empty()).then(|| {
            sql(format!(
                "UPDATE {base} AS b SET {} FROM unnest({params}) AS u ({names}) WHERE {}",
                set.join(", "),
                by_key("b", &of_key),
            ))
        });
        let delete = format!(
            "DELETE FROM {base} AS b USING unnest({key_params}) AS u ({key_names}) WHERE {by_given_key}"
        );
        let capture = capture(table, shape, &base, &keys);
        let adopt = adopt(table, &keys, &base);
        Self {
            fold: sql(fold),
            lock: sql(lock),
            content: sql(content),
            insert: sql(insert),
            copy,
            update,
            delete: sql(delete),
            capture_digest: digest(&capture),
            capture: sql(capture),
            adopt: sql(adopt),
            columns: all.iter().map(|column| (quoted(&column.name), column.cast.clone())).collect(),
            key: shape.key.clone(),
            base,
        }
    }
}

impl Statements {
    /// Writes rows in some columns, one array for each; none for a place that is not there or comes twice, or without
    /// the key.
    pub(super) fn put(&self, places: &[usize], existing: Existing) -> Option<SqlStr> {
        let columns = places.iter().map(|place| self.columns.get(*place)).collect::<Option<Vec<_>>>()?;
        let distinct: BTreeSet<usize> = places.iter().copied().collect();
        if distinct.len() != places.len() || !self.key.iter().all(|place| distinct.contains(place)) {
            return None;
        }
        let list = |item: &dyn Fn(usize, &(String, String)) -> String| {
            let items: Vec<String> = columns.iter().enumerate().map(|(n, column)| item(n, column)).collect();
            items.join(", ")
        };
        let mut text = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM unnest({}) AS u ({})",
            self.base,
            list(&|_, (name, _)| name.clone()),
            list(&|n, (_, cast)| format!("u.c{n}::{cast}")),
            list(&|n, _| format!("${}::text[]", n + 1)),
            list(&|n, _| format!("c{n}")),
        );
        if existing == Existing::Update {
            let key: Vec<&str> =
                self.key.iter().filter_map(|place| Some(self.columns.get(*place)?.0.as_str())).collect();
            let set: Vec<String> = columns
                .iter()
                .filter(|(name, _)| !key.contains(&name.as_str()))
                .map(|(name, _)| format!("{name} = excluded.{name}"))
                .collect();
            let action =
                if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
            let _ = write!(text, " ON CONFLICT ({}) DO {action}", key.join(", "));
        }
        Some(sql(text))
    }
}

/// The texts of columns.
fn texts(columns: &[Column], alias: &str) -> String {
    let texts: Vec<String> =
        columns.iter().map(|column| format!("{alias}.{}::text", quoted(&column.name))).collect();
    texts.join(", ")
}

/// The columns in the canonical form of `peer_sync::content`.
fn canonical(columns: &[Column], alias: &str) -> String {
    let parts: Vec<String> = columns
        .iter()
        .map(|column| {
            let value = format!("{alias}.{}::text", quoted(&column.name));
            format!("coalesce(octet_length({value}) || ':' || {value}, '-')")
        })
        .collect();
    parts.join(" || ")
}

/// Enters all rows of a table into the log, each with a stamp of its own.
fn adopt(table: &Table, keys: &[&Column], base: &str) -> String {
    format!(
        "INSERT INTO p2p_peer.log (table_name, key, xid, us, counter, deleted)
         SELECT {}, {}, (SELECT pg_current_xact_id()::text::bigint), stamps.us,
             stamps.counter + row_number() OVER () - 1, false
         FROM {base} AS r, p2p_peer.take_stamps((SELECT count(*) FROM {base})) AS stamps",
        literal(table.name.as_str()),
        key_texts(keys, "r"),
    )
}

fn key_texts(keys: &[&Column], alias: &str) -> String {
    let parts: Vec<String> =
        keys.iter().map(|column| format!("{alias}.{}::text", quoted(&column.name))).collect();
    format!("ARRAY[{}]", parts.join(", "))
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The functions of a table and their triggers. Functions run with the rights of who made them, so that applications
/// need none on what the synchronisation keeps.
fn capture(table: &Table, shape: &Shape, base: &str, keys: &[&Column]) -> String {
    let name = literal(table.name.as_str());
    let number = shape.number;
    let changed: Vec<String> =
        keys.iter().map(|column| format!("OLD.{0} IS DISTINCT FROM NEW.{0}", quoted(&column.name))).collect();
    // A setting that a value does not depend on is not set: that costs, for each statement.
    let settings = |pinned: bool| {
        let mut text = "SET search_path = pg_catalog, pg_temp".to_owned();
        for (setting, value) in PINNED.iter().filter(|_| pinned) {
            let _ = write!(text, " SET {setting} = {}", literal(value));
        }
        text
    };
    let for_key = settings(keys.iter().any(|column| column.pinned));
    let for_all = settings(shape.columns.iter().any(|column| column.pinned));
    // What is counted first is stamped in one go. A single row is what most statements write, and it needs no window.
    let entered = |rows: &str, deleted: bool| {
        let content = if deleted { canonical(&shape.columns, "r") } else { "NULL".to_owned() };
        let entries = |counter: &str| {
            format!(
                "INSERT INTO p2p_peer.log (table_name, key, xid, us, counter, deleted, content)
                 SELECT {name}, {}, own_xid, stamp.us, stamp.counter{counter}, {deleted}, {content}
                 FROM {rows} AS r",
                key_texts(keys, "r"),
            )
        };
        format!(
            "SELECT count(*) INTO written FROM {rows};
             IF written = 0 THEN RETURN NULL; END IF;
             own_xid := pg_current_xact_id()::text::bigint;
             stamp := p2p_peer.take_stamps(written);
             IF written = 1 THEN {}; ELSE {}; END IF",
            entries(""),
            entries(" + row_number() OVER () - 1"),
        )
    };
    let function = |kind: &str, settings: &str, body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION p2p_peer.capture_{kind}_{number}() RETURNS trigger
             LANGUAGE plpgsql SECURITY DEFINER {settings} AS $capture$
             #variable_conflict use_variable
             DECLARE
                 written bigint;
                 stamp   record;
                 own_xid bigint;
             BEGIN
                 {body};
                 RETURN NULL;
             END
             $capture$;"
        )
    };
    let moved = format!(
        "own_xid := pg_current_xact_id()::text::bigint;
         stamp := p2p_peer.take_stamps(1);
         INSERT INTO p2p_peer.log (table_name, key, xid, us, counter, deleted, content)
         VALUES ({name}, {}, own_xid, stamp.us, stamp.counter, true, {})",
        key_texts(keys, "OLD"),
        canonical(&shape.columns, "OLD"),
    );
    [
        function("insert", &for_key, &entered("new_rows", false)),
        function("update", &for_key, &entered("new_rows", false)),
        function("moved", &for_all, &moved),
        function("delete", &for_all, &entered("old_rows", true)),
        format!(
            "CREATE OR REPLACE TRIGGER p2p_peer_insert AFTER INSERT ON {base}
             REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION p2p_peer.capture_insert_{number}();
             CREATE OR REPLACE TRIGGER p2p_peer_update AFTER UPDATE ON {base}
             REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION p2p_peer.capture_update_{number}();
             CREATE OR REPLACE TRIGGER p2p_peer_delete AFTER DELETE ON {base}
             REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION p2p_peer.capture_delete_{number}();
             CREATE OR REPLACE TRIGGER p2p_peer_moved AFTER UPDATE ON {base} FOR EACH ROW
             WHEN ({}) EXECUTE FUNCTION p2p_peer.capture_moved_{number}();
             CREATE OR REPLACE TRIGGER p2p_peer_truncate BEFORE TRUNCATE ON {base}
             FOR EACH STATEMENT EXECUTE FUNCTION p2p_peer.refuse_truncate();",
            changed.join(" OR "),
        ),
    ]
    .join("\n")
}

/// A statement whose names are all quoted.
pub(super) fn sql(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it, under standard_conforming_strings.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_stay_what_they_are() {
        assert_eq!(quoted("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn applications_rows_are_written_by_quoted_names_and_parameters() {
        let table = Table::new("users", &["id", "email", "n"], &["id"]).unwrap();
        let column =
            |name: &str, cast: &str| Column { name: name.to_owned(), cast: cast.to_owned(), pinned: false };
        let shape = Shape {
            schema: "public".to_owned(),
            columns: vec![column("id", "uuid"), column("ema\"il", "text"), column("n", "integer")],
            key: vec![0],
            number: 1,
            is_plain: true,
        };
        let statements = Statements::new(&table, &shape);
        let put = |places: &[usize], existing| {
            statements.put(places, existing).map(|statement| statement.as_str().to_owned())
        };
        assert_eq!(
            put(&[0, 1], Existing::Refuse).unwrap(),
            "INSERT INTO \"public\".\"users\" (\"id\", \"ema\"\"il\") OVERRIDING SYSTEM VALUE SELECT u.c0::uuid, u.c1::text \
             FROM unnest($1::text[], $2::text[]) AS u (c0, c1)"
        );
        let updates = put(&[2, 0], Existing::Update).unwrap();
        assert!(updates.ends_with("ON CONFLICT (\"id\") DO UPDATE SET \"n\" = excluded.\"n\""), "{updates}");
        assert!(put(&[0], Existing::Update).unwrap().ends_with("DO NOTHING"));
        for wrong in [&[3, 0][..], &[0, 0], &[1]] {
            assert_eq!(put(wrong, Existing::Update), None, "{wrong:?}");
        }
    }
}
