//! What each peer holds of each row, as the history tells it: the ground on which the checks of peers stand.
//!
//! Rows get numbers in the order in which they are first named, so that one of them is hashed once for each event.
//! What all peers held from the start is kept once. Memory is bounded by peers times rows.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::peer_sync::row::{RowId, TableName};
use sync_core::peer_sync::version::Version;

use super::super::rows::Rows;
use super::PeerTerms;
use crate::history::peers::{HeldRow, MergedRow, PeerWhat};

/// The number of a row, from 0.
pub(super) type RowNumber = u32;

/// What the version of a row says about who wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The greater version wins.
    LastWriter,
    /// One of two versions wins, not always the greater one.
    OneWins,
    /// Two versions may be joined into a third.
    Joins,
}

/// What a peer holds of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) version: Version,
    /// Whether that is a tombstone.
    pub(super) deleted: bool,
}

/// Rows by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: FxHashMap<RowId, RowNumber>,
    rows: Vec<(RowId, Rule)>,
    rules: BTreeMap<String, Rule>,
}

/// What each peer holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) names: Names,
    /// What every peer held from the start, by number.
    stock: Vec<Option<Holding>>,
    peers: Rows<Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Whether the stock does not count: it was set back and said what it holds.
    bare: bool,
    /// Where it differs from the stock; none for a row that it does not hold.
    rows: FxHashMap<RowNumber, Option<Holding>>,
}

impl Names {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        let one_wins = terms.one_wins_tables.iter().map(|table| (table.clone(), Rule::OneWins));
        let last_writer = terms.last_writer_tables.iter().map(|table| (table.clone(), Rule::LastWriter));
        Self { rules: one_wins.chain(last_writer).collect(), ..Self::default() }
    }

    /// The number of a row; a new one if it was not named before.
    pub(super) fn number(&mut self, row: &RowId) -> RowNumber {
        if let Some(number) = self.numbers.get(row) {
            return *number;
        }
        let number = self.rows.len() as RowNumber;
        self.numbers.insert(row.clone(), number);
        self.rows.push((row.clone(), self.rule_of(&row.table)));
        number
    }

    fn rule_of(&self, table: &TableName) -> Rule {
        self.rules.get(table.as_str()).copied().unwrap_or(Rule::Joins)
    }

    /// The row of a number that was given.
    pub(super) fn row(&self, number: RowNumber) -> &RowId {
        &self.rows[number as usize].0
    }

    /// Who wins in that row's table.
    pub(super) fn rule(&self, number: RowNumber) -> Rule {
        self.rows[number as usize].1
    }

    /// How many rows have a number.
    pub(super) fn count(&self) -> RowNumber {
        self.rows.len() as RowNumber
    }
}

impl Held {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { names: Names::new(terms), ..Self::default() }
    }

    /// What a peer holds of a row.
    pub(super) fn of(&mut self, peer: u32, row: RowNumber) -> Option<&Holding> {
        let peer = self.peers.row(peer);
        match peer.rows.get(&row) {
            Some(holding) => holding.as_ref(),
            None if peer.bare => None,
            None => self.stock.get(row as usize)?.as_ref(),
        }
    }

    /// Whether a peer holds this version, or one that beats it, where greater ones win; else whether it holds
    /// anything of the row.
    pub(super) fn has(&mut self, peer: u32, row: RowNumber, version: &Version) -> bool {
        let last_writer = self.names.rule(row) == Rule::LastWriter;
        self.of(peer, row).is_some_and(|holding| !last_writer || holding.version >= *version)
    }

    /// Takes one event.
    pub(super) fn observe(&mut self, what: &PeerWhat) {
        match what {
            PeerWhat::Stocked { rows } => {
                for HeldRow { row, version, deleted } in rows {
                    let place = self.names.number(row) as usize;
                    if place >= self.stock.len() {
                        self.stock.resize(place + 1, None);
                    }
                    self.stock[place] = Some(Holding { version: version.clone(), deleted: *deleted });
                }
            }
            PeerWhat::Committed { op, writes, .. } => {
                for write in writes {
                    let row = self.names.number(&write.row);
                    let holding = Holding { version: write.version.clone(), deleted: write.deleted };
                    self.peers.row(op.host).rows.insert(row, Some(holding));
                }
            }
            PeerWhat::Merged { node, rows, .. } => rows.iter().for_each(|merged| {
                self.merged(*node, merged);
            }),
            PeerWhat::Dropped { node, rows } => {
                for row in rows {
                    let row = self.names.number(row);
                    self.peers.row(*node).rows.insert(row, None);
                }
            }
            PeerWhat::SetBack { node, holds } => {
                let mut rows = FxHashMap::default();
                for HeldRow { row, version, deleted } in holds {
                    let holding = Holding { version: version.clone(), deleted: *deleted };
                    rows.insert(self.names.number(row), Some(holding));
                }
                *self.peers.row(*node) = Peer { bare: true, rows };
            }
            _ => {}
        }
    }

    /// Takes one row that a peer merged; gives its number.
    pub(super) fn merged(&mut self, node: u32, merged: &MergedRow) -> RowNumber {
        let row = self.names.number(&merged.row);
        let deleted = if merged.holds.as_ref() == Some(&merged.version) {
            merged.deleted
        } else {
            self.of(node, row).is_some_and(|holding| holding.deleted)
        };
        let holding = merged.holds.clone().map(|version| Holding { version, deleted });
        self.peers.row(node).rows.insert(row, holding);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn it_follows_what_the_history_tells() {
        let mut held = Held::new(&terms());
        held.observe(&stocked(vec![(1, v(1, "a")), (2, v(1, "a"))]));
        let (one, two) = (held.names.number(&row(1)), held.names.number(&row(2)));
        held.observe(&committed(0, 1, 7, vec![write(1, v(3, "p0"), Some(v(1, "a")))]));
        held.observe(&merged(2, 0, vec![took(1, v(3, "p0"))]));
        assert!(held.has(0, one, &v(3, "p0")) && held.has(2, one, &v(3, "p0")));
        assert!(!held.has(1, one, &v(3, "p0")) && held.has(1, one, &v(1, "a")));
        held.observe(&PeerWhat::SetBack { node: 2, holds: holding(vec![(2, v(1, "a"))]) });
        assert_eq!(held.of(2, one), None, "the stock counts no longer");
        assert!(held.has(2, two, &v(1, "a")));
        held.observe(&PeerWhat::Dropped { node: 1, rows: vec![row(2)] });
        assert_eq!(held.of(1, two), None);
    }
}
