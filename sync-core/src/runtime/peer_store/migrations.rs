//! The schema `p2p_peer`, from the same files that psql runs.

use crate::runtime::postgres::Migration;
use crate::runtime::postgres::migrations::Ledger;

/// Every step of a peer's schema, in order.
pub const PEER_MIGRATIONS: [Migration; 2] = [
    Migration { name: "0001_tables", sql: include_str!("../../../../sql/peer/0001_tables.sql") },
    Migration { name: "0002_capture", sql: include_str!("../../../../sql/peer/0002_capture.sql") },
];

/// The number is "p2peer\0" in ASCII: a key of our own among the database's advisory locks.
pub(super) const LEDGER: Ledger = Ledger {
    prepare: "
    SET LOCAL statement_timeout = 0;
    SELECT pg_advisory_xact_lock(31580590034809344);
    CREATE SCHEMA IF NOT EXISTS p2p_peer;
    CREATE TABLE IF NOT EXISTS p2p_peer.migrations (
        name       text        COLLATE \"C\" PRIMARY KEY,
        sha256     text        COLLATE \"C\" NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )",
    find: "SELECT sha256 FROM p2p_peer.migrations WHERE name = $1",
    enter: "INSERT INTO p2p_peer.migrations (name, sha256) VALUES ($1, $2)",
    migrations: &PEER_MIGRATIONS,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_in_the_order_of_their_numbers() {
        for (index, migration) in PEER_MIGRATIONS.iter().enumerate() {
            assert!(migration.name.starts_with(&format!("{:04}_", index + 1)), "{}", migration.name);
        }
    }
}
