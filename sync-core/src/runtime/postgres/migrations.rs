//! The schema, from the same files that psql runs.

use sha2::{Digest, Sha256};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::PostgresError;

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The file's name without its suffix; its number gives the order.
    pub name: &'static str,
    /// The file's text; may be run again without effect.
    pub sql: &'static str,
}

/// Every step, in order.
pub const MIGRATIONS: [Migration; 4] = [
    Migration { name: "0001_store", sql: include_str!("../../../../sql/main_server/0001_store.sql") },
    Migration { name: "0002_hosting", sql: include_str!("../../../../sql/main_server/0002_hosting.sql") },
    Migration {
        name: "0003_operations",
        sql: include_str!("../../../../sql/main_server/0003_operations.sql"),
    },
    Migration {
        name: "0004_search_and_clean_up",
        sql: include_str!("../../../../sql/main_server/0004_search_and_clean_up.sql"),
    },
];

/// The steps of one schema, and the statements that keep account of them there.
pub(in crate::runtime) struct Ledger {
    /// Takes the lock and makes the table of steps.
    pub(in crate::runtime) prepare: &'static str,
    /// The digest of a step by its name.
    pub(in crate::runtime) find: &'static str,
    /// Enters a step with its digest.
    pub(in crate::runtime) enter: &'static str,
    pub(in crate::runtime) migrations: &'static [Migration],
}

/// The number is "p2psync" in ASCII: a key of our own among the database's advisory locks.
pub(super) const LEDGER: Ledger = Ledger {
    prepare: "
    SET LOCAL statement_timeout = 0;
    SELECT pg_advisory_xact_lock(31580655946657379);
    CREATE SCHEMA IF NOT EXISTS p2p_sync;
    CREATE TABLE IF NOT EXISTS p2p_sync.migrations (
        name       text        COLLATE \"C\" PRIMARY KEY,
        sha256     text        COLLATE \"C\" NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )",
    find: "SELECT sha256 FROM p2p_sync.migrations WHERE name = $1",
    enter: "INSERT INTO p2p_sync.migrations (name, sha256) VALUES ($1, $2)",
    migrations: &MIGRATIONS,
};

/// Applies what is missing, all or nothing.
pub(in crate::runtime) async fn run(
    connection: &mut PgConnection,
    ledger: &Ledger,
) -> Result<(), PostgresError> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(ledger.prepare).execute(&mut *transaction).await?;
    for migration in ledger.migrations {
        let digest = digest(migration.sql);
        let known: Option<String> =
            sqlx::query_scalar(ledger.find).bind(migration.name).fetch_optional(&mut *transaction).await?;
        match known {
            Some(known) if known == digest => {}
            Some(_) => return Err(PostgresError::MigrationChanged(migration.name)),
            None => {
                sqlx::raw_sql(migration.sql).execute(&mut *transaction).await?;
                let enter = sqlx::query(ledger.enter).bind(migration.name).bind(digest);
                enter.execute(&mut *transaction).await?;
            }
        }
    }
    Ok(transaction.commit().await?)
}

/// SHA-256 as hexadecimal digits, as `sha256sum` prints it.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_in_the_order_of_their_numbers() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert!(migration.name.starts_with(&format!("{:04}_", index + 1)), "{}", migration.name);
        }
    }
}
