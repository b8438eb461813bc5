//! The later write of each column wins, each column by itself.
//!
//! A row is a register for each column (its last write and value) and one more for whether it lives (the latest of all
//! its writes and deletes). Each goes to the greater side, so the whole is a product of total orders and
//! obeys the laws with them. Registers are kept under a tombstone: a later write that had not seen the delete
//! brings the row back, with the columns that it had.

use super::last_writer::reason_of_versions;
use super::state::{from_state, to_state};
use super::{Reason, Resolution, Resolver, Write, WriteId, WriteRefused};
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Extra, Image, RowVersion};
use crate::peer_sync::schema::Table;

/// See [`Policy::LastWriterByColumn`](crate::peer_sync::schema::Policy::LastWriterByColumn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWriterByColumn;

impl Resolver for LastWriterByColumn {
    fn on_write(&self, _: &Table, seen: Option<&RowVersion>, write: &Write) -> Result<Extra, WriteRefused> {
        let before = seen.map(registers).unwrap_or_default();
        let Some(content) = &write.content else {
            return Ok(to_extra(before.into_iter().map(|(last, _)| last).collect()));
        };
        // A row that was gone is written as a whole.
        let lived = seen.is_some_and(|seen| !seen.image.is_tombstone());
        let me = WriteId { stamp: write.stamp, node: write.node.clone() };
        let last = content.columns().enumerate().map(|(place, value)| match before.get(place) {
            Some((last, old)) if lived && *old == value => last.clone(),
            _ => me.clone(),
        });
        Ok(to_extra(last.collect()))
    }

    fn merge(&self, _: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
        let (mine, theirs) = (registers(one), registers(other));
        let places = mine.len().max(theirs.len());
        let columns: Vec<_> =
            (0..places).filter_map(|place| mine.get(place).max(theirs.get(place))).collect();
        let content = (!columns.is_empty()).then(|| Content::new(columns.iter().map(|(_, value)| *value)));
        let lives = |row: &RowVersion| (WriteId::of(row), row.image.is_tombstone());
        let (_, tombstone) = lives(one).max(lives(other));
        let image = match content {
            Some(content) if !tombstone => Image::Row(content),
            content => Image::Tombstone(content),
        };
        let extra = to_extra(columns.into_iter().map(|(last, _)| last.clone()).collect());
        Resolution::Combined { image, extra }
    }

    fn accepts(&self, table: &Table, row: &RowVersion) -> bool {
        if row.image == Image::Tombstone(None) {
            return row.extra.is_none();
        }
        let latest = WriteId::of(row);
        from_state::<Vec<WriteId>>(&row.extra).is_some_and(|last| {
            last.len() == table.columns.len() && last.iter().all(|write| *write <= latest)
        })
    }

    fn reason(&self, _: &Table, winner: &RowVersion, loser: &RowVersion) -> Reason {
        if winner.origin.is_combined() { Reason::Combined } else { reason_of_versions(winner, loser) }
    }
}

/// The last write of each column, and its value; none where nothing is known of the row.
fn registers(row: &RowVersion) -> Vec<(WriteId, Option<&str>)> {
    let Some(content) = row.image.content() else { return Vec::new() };
    let last = from_state::<Vec<WriteId>>(&row.extra).unwrap_or_default();
    let otherwise = WriteId::of(row);
    content
        .columns()
        .enumerate()
        .map(|(place, value)| (last.get(place).unwrap_or(&otherwise).clone(), value))
        .collect()
}

fn to_extra(last: Vec<WriteId>) -> Extra {
    if last.is_empty() { Extra::None } else { to_state(&last) }
}
