//! An application's statements as SQL: names of tables and columns that the schema declares and that the catalogue has
//! shown, each quoted; values only as parameters.

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Row as _};

use super::super::{DatabaseError, Existing, Statement};
use crate::peer_sync::row::TableName;
use crate::peer_sync::schema::Schema;
use crate::runtime::postgres::PostgresError;

/// The columns of `$1` and their types, as a cast names them.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, -1)
    FROM pg_attribute AS a WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped";

/// A table that applications write to through this node.
#[derive(Clone, Debug)]
pub(super) struct Target {
    name: String,
    /// Those that travel, in the declared order, with their types.
    columns: Vec<(String, String)>,
    /// Places of the key's columns.
    key: Vec<usize>,
}

impl Target {
    /// The tables of a schema.
    pub(super) async fn all(
        pool: &PgPool,
        schema: &Schema,
    ) -> Result<BTreeMap<TableName, Self>, PostgresError> {
        let mut targets = BTreeMap::new();
        for table in schema.tables() {
            let found = sqlx::query(COLUMNS).bind(table.name.as_str()).fetch_all(pool).await?;
            let types: BTreeMap<String, String> = found
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<Result<_, sqlx::Error>>()?;
            let columns: Option<Vec<_>> = table
                .columns
                .iter()
                .map(|column| Some((column.clone(), types.get(column)?.clone())))
                .collect();
            let target = Self {
                name: table.name.as_str().to_owned(),
                // The store has checked that they are there.
                columns: columns.ok_or(PostgresError::Unexpected)?,
                key: table.key.iter().filter_map(|column| table.place(column)).collect(),
            };
            targets.insert(table.name.clone(), target);
        }
        Ok(targets)
    }

    /// Executes statements of one group, see [`groups`].
    pub(super) async fn execute(
        &self,
        connection: &mut PgConnection,
        group: &[Statement],
    ) -> Result<(), DatabaseError> {
        let Some(first) = group.first() else { return Ok(()) };
        let places: Vec<usize> = first.columns.iter().map(|(place, _)| *place).collect();
        let missing = || DatabaseError::Invalid("a column does not travel".to_owned());
        let sql = self.sql(&places, first.existing).ok_or_else(missing)?;
        // Safe: see the head of this file.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for at in 0..places.len() {
            let texts: Vec<Option<&str>> = group
                .iter()
                .map(|statement| statement.columns.get(at).and_then(|(_, text)| text.as_deref()))
                .collect();
            query = query.bind(texts);
        }
        query.execute(connection).await.map_err(|error| refused(&error))?;
        Ok(())
    }

    fn sql(&self, places: &[usize], existing: Existing) -> Option<String> {
        let columns: Vec<&(String, String)> =
            places.iter().map(|place| self.columns.get(*place)).collect::<Option<_>>()?;
        let list = |items: Vec<String>| items.join(", ");
        let names = list(columns.iter().map(|(name, _)| quoted(name)).collect());
        let casts =
            list(columns.iter().enumerate().map(|(n, (_, cast))| format!("u.c{n}::{cast}")).collect());
        let parameters = list((1..=columns.len()).map(|n| format!("${n}::text[]")).collect());
        let given = list((0..columns.len()).map(|n| format!("c{n}")).collect());
        let insert = format!(
            "INSERT INTO {} ({names}) SELECT {casts} FROM unnest({parameters}) AS u ({given})",
            quoted(&self.name)
        );
        if existing == Existing::Refuse {
            return Some(insert);
        }
        let key: Vec<&String> = self
            .key
            .iter()
            .map(|place| self.columns.get(*place).map(|(name, _)| name))
            .collect::<Option<_>>()?;
        let sets = columns.iter().filter(|(name, _)| !key.contains(&name));
        let sets = list(sets.map(|(name, _)| format!("{0} = EXCLUDED.{0}", quoted(name))).collect());
        let key = list(key.into_iter().map(|name| quoted(name)).collect());
        let action = if sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {sets}") };
        Some(format!("{insert} ON CONFLICT ({key}) DO {action}"))
    }
}

/// Statements that go together: of one table, with the same columns in the same order.
pub(super) fn groups(statements: &[Statement]) -> impl Iterator<Item = &[Statement]> {
    statements.chunk_by(|one, next| {
        one.table == next.table
            && one.existing == next.existing
            && one.columns.iter().map(|(place, _)| place).eq(next.columns.iter().map(|(place, _)| place))
    })
}

/// What the database says, without any value of the row.
pub(super) fn refused(error: &sqlx::Error) -> DatabaseError {
    let Some(error) = error.as_database_error() else { return DatabaseError::Unavailable };
    let constraint = error.constraint().map(|name| format!(" (`{name}`)")).unwrap_or_default();
    match error.code().as_deref() {
        Some("23505") => DatabaseError::Conflict(format!("another row has that key already{constraint}")),
        Some("23503") => {
            DatabaseError::Conflict(format!("a row that is referred to is not there{constraint}"))
        }
        Some("40001" | "40P01" | "55P03") => {
            DatabaseError::Conflict("other statements were in the way; try again".to_owned())
        }
        Some("21000") => DatabaseError::Invalid("one row is there twice".to_owned()),
        Some(code) if code.starts_with("22") => {
            DatabaseError::Invalid("a value has not the type of its column".to_owned())
        }
        Some(code) if code.starts_with("23") => {
            DatabaseError::Invalid(format!("a value is not taken by the table{constraint}"))
        }
        _ => DatabaseError::Unavailable,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_values_are_parameters() {
        let column = |name: &str, cast: &str| (name.to_owned(), cast.to_owned());
        let target = Target {
            name: "users".to_owned(),
            columns: vec![column("id", "uuid"), column("ema\"il", "text"), column("n", "integer")],
            key: vec![0],
        };
        assert_eq!(
            target.sql(&[0, 1], Existing::Refuse).unwrap(),
            "INSERT INTO \"users\" (\"id\", \"ema\"\"il\") SELECT u.c0::uuid, u.c1::text \
             FROM unnest($1::text[], $2::text[]) AS u (c0, c1)"
        );
        assert!(
            target
                .sql(&[2, 0], Existing::Update)
                .unwrap()
                .ends_with("ON CONFLICT (\"id\") DO UPDATE SET \"n\" = EXCLUDED.\"n\"")
        );
        assert!(target.sql(&[0], Existing::Update).unwrap().ends_with("DO NOTHING"));
        assert_eq!(target.sql(&[3], Existing::Update), None);
    }
}
