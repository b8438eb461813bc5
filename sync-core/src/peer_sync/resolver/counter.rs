//! Columns that are sums to which each node adds; the other columns go by the last writer by row.
//!
//! Beside a row stands, for each life of each node, what it has added so far and when it last did (a PN-counter,
//! Shapiro et al. 2011). Of two entries of one life the later one holds all of the earlier. A life, and not the
//! node alone: a database that was set back to an older copy begins a new one, and what it adds there does not
//! replace what others have of the former.
//!
//! What a node adds is the difference to what it saw: an insert adds its value, and two inserts side by side
//! add up. A delete adds nothing; an insert after it adds what makes the sum its value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::last_writer::reason_of_versions;
use super::state::{from_state, to_state};
use super::{Reason, Resolution, Resolver, Write, WriteId, WriteRefused};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Extra, Image, RowVersion};
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::{NodeId, Stamp};

/// See [`Policy::CounterDelta`](crate::peer_sync::schema::Policy::CounterDelta): the columns that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterDelta(pub Vec<String>);

/// A life of a node.
type Life = (NodeId, Incarnation);

/// What one life of a node has added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Added {
    /// When it last did.
    stamp: Stamp,
    /// To each counter, in the order of the declaration.
    sums: Vec<i128>,
}

/// An entry in JSON.
#[derive(Serialize, Deserialize)]
struct Entry {
    node: NodeId,
    life: Incarnation,
    us: u64,
    counter: u32,
    sums: Vec<String>,
}

impl Resolver for CounterDelta {
    fn on_write(
        &self,
        table: &Table,
        seen: Option<&RowVersion>,
        write: &Write,
    ) -> Result<Extra, WriteRefused> {
        let mut added = seen.map(|seen| self.added(seen)).unwrap_or_default();
        let Some(content) = &write.content else { return Ok(to_extra(&added)) };
        let totals = self.totals(&added);
        let mut sums = Vec::with_capacity(self.0.len());
        let life = (write.node.clone(), write.origin.incarnation);
        for (nth, column) in self.0.iter().enumerate() {
            let so_far = added.get(&life).and_then(|mine| mine.sums.get(nth)).copied().unwrap_or(0);
            let value = table.place(column).and_then(|place| content.column(place)).and_then(number);
            let sum = value
                .map(|value| so_far + value - totals[nth])
                .filter(|sum| sum.abs() < limits::COUNTER_MAX)
                .ok_or_else(|| WriteRefused::NoNumber { row: write.row.clone(), column: column.clone() })?;
            sums.push(sum);
        }
        let before = added.get(&life).map(|mine| mine.sums.clone()).unwrap_or_else(|| vec![0; self.0.len()]);
        if sums != before {
            added.insert(life, Added { stamp: write.stamp, sums });
        }
        Ok(to_extra(&added))
    }

    fn merge(&self, table: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
        let mut added = self.added(one);
        for (life, theirs) in self.added(other) {
            let mine = added.entry(life).or_insert_with(|| theirs.clone());
            *mine = std::mem::replace(mine, Added { stamp: Stamp::default(), sums: Vec::new() }).max(theirs);
        }
        // The rest goes by the last writer, compared without the counters: these differ by what was merged so far.
        let rest = |row: &RowVersion| (WriteId::of(row), self.shown(table, &row.image, None));
        let (_, image) = rest(one).max(rest(other));
        let totals = self.totals(&added);
        Resolution::Combined { image: self.shown(table, &image, Some(&totals)), extra: to_extra(&added) }
    }

    fn accepts(&self, table: &Table, row: &RowVersion) -> bool {
        let Some(entries) = from_state::<Vec<Entry>>(&row.extra) else { return false };
        let sound = |entry: &Entry| {
            entry.sums.len() == self.0.len() && entry.sums.iter().all(|sum| number(sum).is_some())
        };
        let ordered = entries.is_sorted_by(|a, b| (&a.node, a.life) < (&b.node, b.life));
        entries.len() <= limits::COUNTER_LIVES_MAX
            && ordered
            && entries.iter().all(sound)
            && self.shown(table, &row.image, Some(&self.totals(&self.added(row)))) == row.image
    }

    fn reason(&self, _: &Table, winner: &RowVersion, loser: &RowVersion) -> Reason {
        if winner.origin.is_combined() { Reason::Combined } else { reason_of_versions(winner, loser) }
    }
}

impl CounterDelta {
    /// What each life has added; nothing where that cannot be read.
    fn added(&self, row: &RowVersion) -> BTreeMap<Life, Added> {
        let entries: Vec<Entry> = from_state(&row.extra).unwrap_or_default();
        let entries = entries.into_iter().take(limits::COUNTER_LIVES_MAX).map(|entry| {
            let stamp = Stamp { us: entry.us, counter: entry.counter };
            let mut sums: Vec<i128> = entry.sums.iter().map(|sum| number(sum).unwrap_or(0)).collect();
            sums.resize(self.0.len(), 0);
            ((entry.node, entry.life), Added { stamp, sums })
        });
        entries.collect()
    }

    /// The value of each counter.
    fn totals(&self, added: &BTreeMap<Life, Added>) -> Vec<i128> {
        let sum_of = |nth: usize| added.values().map(|life| life.sums[nth]).fold(0i128, i128::saturating_add);
        (0..self.0.len()).map(sum_of).collect()
    }

    /// An image with these values of the counters, or without any.
    fn shown(&self, table: &Table, image: &Image, totals: Option<&[i128]>) -> Image {
        let with = |content: &Content| {
            let mut columns: Vec<Option<String>> = content.columns().map(|c| c.map(str::to_owned)).collect();
            for (nth, column) in self.0.iter().enumerate() {
                if let Some(place) = table.place(column).filter(|place| *place < columns.len()) {
                    columns[place] = totals.map(|totals| totals[nth].to_string());
                }
            }
            Content::new(columns.iter().map(Option::as_deref))
        };
        match image {
            Image::Row(content) => Image::Row(with(content)),
            Image::Tombstone(last) => Image::Tombstone(last.as_ref().map(with)),
        }
    }
}

/// A whole number in its one form, within the bound.
fn number(text: &str) -> Option<i128> {
    let number: i128 = text.parse().ok()?;
    (number.unsigned_abs() < limits::COUNTER_MAX.unsigned_abs() && number.to_string() == text)
        .then_some(number)
}

fn to_extra(added: &BTreeMap<Life, Added>) -> Extra {
    let entry = |((node, life), added): (&Life, &Added)| Entry {
        node: node.clone(),
        life: *life,
        us: added.stamp.us,
        counter: added.stamp.counter,
        sums: added.sums.iter().map(i128::to_string).collect(),
    };
    to_state(&added.iter().map(entry).collect::<Vec<_>>())
}
