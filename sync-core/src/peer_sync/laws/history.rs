//! A few writes of one row, and the versions that a resolver makes of them.

use super::{Law, Made, Violation, fits, shown};
use crate::id::Incarnation;
use crate::peer_sync::content::Content;
use crate::peer_sync::resolver::{Resolver, Write, merged, written};
use crate::peer_sync::row::{Origin, RowId, RowVersion};
use crate::peer_sync::schema::Table;
use crate::peer_sync::version::{NodeId, Stamp};

/// Writes of one row, in an order in which each one's writer could have seen those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The writes; laws over more than five of them take long.
    pub writes: Vec<LawWrite>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LawWrite {
    /// Who writes.
    pub node: NodeId,
    /// What the writer's clock shows. The stamp is this, or what comes right after all that the writer has seen.
    pub at: Stamp,
    /// What is written.
    pub change: Change,
    /// The earlier writes that have reached the writer, by their places. Its own are among them without saying.
    pub saw: Vec<usize>,
    /// The writer was set back to an older copy of its database before: it sees none of its own earlier writes, and its
    /// clock gives what it shows. One identity can be used twice in this way.
    pub set_back: bool,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The row holds this, whether it was there or not. Its key is that of the row whatever stands here.
    Set(Vec<Option<String>>),
    /// The row is deleted. Where the writer sees no row, nothing is written.
    Delete,
}

impl History {
    /// The versions of all writes that take place: a delete without a row does not, nor does a write that the
    /// resolver refuses.
    ///
    /// # Errors
    /// A write that its own resolver does not accept, or that does not beat what its writer had seen.
    pub(super) fn versions(&self, resolver: &dyn Resolver, table: &Table) -> Result<Vec<Made>, Violation> {
        let mut made: Vec<Made> = Vec::new();
        for (place, write) in self.writes.iter().enumerate() {
            let seen = self.seen(resolver, table, &made, place);
            let there = seen.as_ref().is_some_and(|seen| !seen.image.is_tombstone());
            let content = match &write.change {
                Change::Set(values) => Some(content(table, values)),
                Change::Delete if there => None,
                Change::Delete => continue,
            };
            let stamp = seen.as_ref().map_or(write.at, |seen| write.at.max(after(seen.version.stamp)));
            let write = Write {
                row: row_id(table),
                content,
                stamp,
                node: write.node.clone(),
                origin: Origin {
                    incarnation: Incarnation(1 + u64::from(write.set_back)),
                    xid: 3 + place as u64,
                },
            };
            let Ok(row) = written(resolver, table, seen.as_ref(), write) else { continue };
            let number = place + 1;
            if !fits(resolver, table, &row) {
                return Err(Violation {
                    law: Law::Acceptable,
                    ways: vec![(number.to_string(), shown(&row))],
                });
            }
            if let Some(seen) = seen {
                let both = merged(resolver, table, &seen, &row);
                if !both.is_same_as(&row) {
                    let ways = vec![
                        (format!("{number}, as it is written"), shown(&row)),
                        (format!("{number} with what its writer had seen"), shown(&both)),
                    ];
                    return Err(Violation { law: Law::WriteBeatsSeen, ways });
                }
            }
            made.push(Made { number, row });
        }
        Ok(made)
    }

    /// The same history, with the key of the row written out in each write.
    pub(super) fn with_key(mut self, table: &Table) -> Self {
        for write in &mut self.writes {
            if let Change::Set(values) = &mut write.change {
                *values = content(table, values).columns().map(|value| value.map(str::to_owned)).collect();
            }
        }
        self
    }

    /// What the writer sees before a write.
    fn seen(
        &self,
        resolver: &dyn Resolver,
        table: &Table,
        made: &[Made],
        place: usize,
    ) -> Option<RowVersion> {
        let write = &self.writes[place];
        let reached = |made: &&Made| {
            let earlier = made.number - 1;
            let own = self.writes[earlier].node == write.node;
            if own { !write.set_back } else { write.saw.contains(&earlier) }
        };
        made.iter()
            .filter(reached)
            .map(|made| made.row.clone())
            .reduce(|seen, next| merged(resolver, table, &seen, &next))
    }
}

/// The row that all histories are about: each column of its key is `1`.
fn row_id(table: &Table) -> RowId {
    let key = Content::new(table.key.iter().map(|_| Some("1")));
    RowId { table: table.name.clone(), key }
}

/// The values as a row of the table: nulls for what is missing.
fn content(table: &Table, values: &[Option<String>]) -> Content {
    let value = |(place, column): (usize, &String)| {
        if table.key.contains(column) { Some("1") } else { values.get(place).and_then(Option::as_deref) }
    };
    Content::new(table.columns.iter().enumerate().map(value))
}

fn after(stamp: Stamp) -> Stamp {
    match stamp.counter.checked_add(1) {
        Some(counter) => Stamp { counter, ..stamp },
        None => Stamp { us: stamp.us.saturating_add(1), counter: 0 },
    }
}
