//! Of two rows that were inserted side by side the one inserted first wins; of two writes of one row, the later.
//!
//! Beside a row stands the write that inserted it, handed on by each write that replaces it, a delete and a
//! re-insert included. Nothing stands beside an insert: it is itself.

use std::cmp::Reverse;

use super::last_writer::{by_version, reason_of_versions};
use super::{Reason, Resolution, Resolver, Write, WriteId, WriteRefused, greater};
use crate::peer_sync::row::{Extra, RowVersion};
use crate::peer_sync::schema::Table;

/// See [`Policy::FirstWriter`](crate::peer_sync::schema::Policy::FirstWriter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstWriter;

impl Resolver for FirstWriter {
    fn on_write(&self, _: &Table, seen: Option<&RowVersion>, _: &Write) -> Result<Extra, WriteRefused> {
        Ok(seen.map_or(Extra::None, |seen| Extra::State(created(seen).to_string().into())))
    }

    fn merge(&self, _: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
        let key = |row| (Reverse(created(row)), by_version(row));
        greater(key(one), key(other))
    }

    fn accepts(&self, _: &Table, row: &RowVersion) -> bool {
        match &row.extra {
            Extra::None => true,
            // Whoever inserted it did so before.
            Extra::State(state) => state.parse().is_ok_and(|created: WriteId| created < WriteId::of(row)),
        }
    }

    fn reason(&self, _: &Table, winner: &RowVersion, loser: &RowVersion) -> Reason {
        if created(winner) == created(loser) { reason_of_versions(winner, loser) } else { Reason::Created }
    }
}

fn created(row: &RowVersion) -> WriteId {
    match &row.extra {
        Extra::State(state) => state.parse().unwrap_or_else(|_| WriteId::of(row)),
        Extra::None => WriteId::of(row),
    }
}
