//! What the database's catalogue says of the tables that travel, and what of it stands against that.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::error::{PeerStoreError, TableProblem};
use super::sql::{Column, Shape, Statements};
use crate::peer_sync::row::TableName;
use crate::peer_sync::schema::{Policy, Schema, Table};
use crate::runtime::postgres::PostgresError;

const ENTER: &str =
    "INSERT INTO p2p_peer.tables (table_name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING";
const TABLE: &str = "SELECT c.oid::bigint, n.nspname::text, c.relkind::text, c.relispartition, t.number,
        NOT (c.relhasrules OR c.relforcerowsecurity)
    FROM p2p_peer.tables AS t LEFT JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(t.table_name))
    LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE t.table_name = $1";
/// Types whose text is the same under all settings, by their names.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, -1), a.attgenerated <> '',
        a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
        t.typname NOT IN ('bool', 'int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'bpchar', 'uuid', 'name', 'json')
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped";
/// Unique and exclusion indexes: the columns, none for one over an expression or a part of the rows.
const INDEXES: &str = "SELECT i.indexrelid::regclass::text, i.indisprimary,
        CASE WHEN i.indexprs IS NULL AND i.indpred IS NULL AND i.indisunique THEN
            ARRAY(SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
                WHERE k.place <= i.indnkeyatts ORDER BY k.place) END
    FROM pg_index AS i WHERE i.indrelid = $1::oid AND (i.indisunique OR i.indisexclusion)";
const FOREIGN_KEYS: &str = "SELECT c.conname::text, p.relname::text,
        ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place),
        ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY k.place)
    FROM pg_constraint AS c JOIN pg_class AS p ON p.oid = c.confrelid WHERE c.conrelid = $1::oid AND c.contype = 'f'";

/// The statements of each table of a schema, in its order.
pub(super) async fn statements(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<(Table, Statements)>, PeerStoreError> {
    let mut names: Vec<&str> = schema.tables().map(|table| table.name.as_str()).collect();
    names.sort_unstable();
    sqlx::query(ENTER).bind(names).execute(&mut *connection).await.map_err(PostgresError::from)?;
    let mut all = Vec::new();
    for table in schema.tables() {
        let shape = shape(connection, schema, table).await?;
        all.push((table.clone(), Statements::new(table, &shape)));
    }
    Ok(all)
}

async fn shape(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &Table,
) -> Result<Shape, PeerStoreError> {
    let problem = |problem| PeerStoreError::Table { table: table.name.clone(), problem };
    let row = sqlx::query(TABLE).bind(table.name.as_str()).fetch_one(&mut *connection).await;
    let row = row.map_err(PostgresError::from)?;
    let get = |error: sqlx::Error| PostgresError::from(error);
    let Some(oid) = row.try_get::<Option<i64>, _>(0).map_err(get)? else {
        return Err(PeerStoreError::MissingTable { table: table.name.clone() });
    };
    let (namespace, kind): (String, String) = (row.try_get(1).map_err(get)?, row.try_get(2).map_err(get)?);
    if kind != "r" || row.try_get(3).map_err(get)? {
        return Err(problem(TableProblem::Kind));
    }
    let columns = columns(connection, table, oid).await?;
    indexes(connection, table, oid).await?;
    foreign_keys(connection, schema, table, oid).await?;
    Ok(Shape {
        schema: namespace,
        columns,
        key: table.key.iter().filter_map(|column| table.place(column)).collect(),
        number: row.try_get(4).map_err(get)?,
        is_plain: row.try_get(5).map_err(get)?,
    })
}

async fn columns(
    connection: &mut PgConnection,
    table: &Table,
    oid: i64,
) -> Result<Vec<Column>, PeerStoreError> {
    let problem = |problem| PeerStoreError::Table { table: table.name.clone(), problem };
    let found: Vec<(String, String, bool, bool, bool)> =
        sqlx::query_as(COLUMNS).bind(oid).fetch_all(connection).await.map_err(PostgresError::from)?;
    for (name, _, generated, needs_value, _) in &found {
        if *needs_value && !generated && table.place(name).is_none() {
            return Err(problem(TableProblem::NeedsValue(name.clone())));
        }
    }
    let declared = table.columns.iter().map(|name| {
        let column = found.iter().find(|column| column.0 == *name);
        let (name, cast, generated, _, pinned) =
            column.ok_or_else(|| problem(TableProblem::MissingColumn(name.clone())))?.clone();
        if generated {
            return Err(problem(TableProblem::Generated(name)));
        }
        let counts = matches!(&table.policy, Policy::CounterDelta(counters) if counters.contains(&name));
        if counts && !matches!(cast.as_str(), "smallint" | "integer" | "bigint") {
            return Err(problem(TableProblem::Counter(name)));
        }
        Ok(Column { name, cast, pinned })
    });
    declared.collect()
}

async fn indexes(connection: &mut PgConnection, table: &Table, oid: i64) -> Result<(), PeerStoreError> {
    let problem = |problem| PeerStoreError::Table { table: table.name.clone(), problem };
    let found: Vec<(String, bool, Option<Vec<String>>)> =
        sqlx::query_as(INDEXES).bind(oid).fetch_all(connection).await.map_err(PostgresError::from)?;
    let declared_key: BTreeSet<&str> = table.key.iter().map(String::as_str).collect();
    let mut primary = String::new();
    for (name, is_primary, columns) in &found {
        let set: BTreeSet<&str> = columns.iter().flatten().map(String::as_str).collect();
        if *is_primary {
            primary = columns.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        }
        let is_declared = set == declared_key
            || table.unique.iter().any(|unique| set == unique.iter().map(String::as_str).collect());
        if !is_primary && (columns.is_none() || !is_declared) {
            return Err(problem(TableProblem::Unique(name.clone())));
        }
    }
    let is_key = |primary: &str| primary.split(", ").collect::<BTreeSet<_>>() == declared_key;
    if !is_key(&primary) {
        let declared = table.key.join(", ");
        return Err(problem(TableProblem::Key { found: primary, declared }));
    }
    Ok(())
}

async fn foreign_keys(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &Table,
    oid: i64,
) -> Result<(), PeerStoreError> {
    let found: Vec<(String, String, Vec<String>, Vec<String>)> =
        sqlx::query_as(FOREIGN_KEYS).bind(oid).fetch_all(connection).await.map_err(PostgresError::from)?;
    for (name, parent, columns, refers_to) in found {
        let pairs = |columns: &[String], parents: &[String]| -> BTreeSet<(String, String)> {
            columns.iter().cloned().zip(parents.iter().cloned()).collect()
        };
        let is_declared = table.references.iter().any(|reference| {
            let key = schema.table(&reference.table).map(|parent| parent.key.clone()).unwrap_or_default();
            reference.table == TableName(parent.as_str().into())
                && pairs(&reference.columns, &key) == pairs(&columns, &refers_to)
        });
        if !is_declared {
            let problem = TableProblem::ForeignKey(name);
            return Err(PeerStoreError::Table { table: table.name.clone(), problem });
        }
    }
    Ok(())
}
