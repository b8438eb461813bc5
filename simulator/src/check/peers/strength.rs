//! Which of two versions of a row wins, as far as a history tells.
//!
//! Where the greater version wins, a version says it itself. Where versions are joined by column or by sums, the result has
//! the later stamp of both: whoever holds an earlier one lacks something. Under the first writer and the priority of nodes
//! it also takes what the writers had seen, one after another: that is noted of each row's latest versions. Of a team's own
//! resolver nothing is known.
//!
//! Of a transaction that inserts a row and writes it again only the last write is told: as the row's first writer it counts
//! with the stamp of that.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::peer_sync::schema::Policy;
use sync_core::peer_sync::version::{ContentHash, NodeId, Stamp, Version};

use super::PeerTerms;
use super::held::{Names, RowNumber};

/// How strong a version of a row is: of two the greater wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Strength {
    rank: Reverse<Rank>,
    version: Version,
}

/// What goes before the version. The lesser wins; of one row all are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Alike,
    /// The place of the node whose rank a version has.
    Place(usize),
    /// The write that inserted the row.
    Created(Stamp, NodeId),
}

/// What is known of the versions of rows.
#[derive(Debug, Default)]
pub(super) struct Strengths {
    policies: BTreeMap<String, Policy>,
    /// Where the version alone does not say it: the latest ones of each row, ascending.
    ranks: FxHashMap<RowNumber, Vec<(Version, Rank)>>,
    kept_max: usize,
}

impl Strengths {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        let kept_max = KEPT_MIN.max(2 * terms.count as usize);
        Self { policies: terms.policies.clone(), ranks: FxHashMap::default(), kept_max }
    }

    /// A version was written by one who had seen that one, or nothing.
    pub(super) fn wrote(&mut self, names: &Names, row: RowNumber, version: &Version, seen: Option<&Version>) {
        let before = match seen {
            Some(seen) => match self.rank(names, row, seen) {
                Some(before) => Some(before),
                // Nobody knows what it inherits.
                None => return,
            },
            None => None,
        };
        let own = match self.policies.get(names.row(row).table.as_str()) {
            Some(Policy::FirstWriter) => Rank::Created(version.stamp, version.node.clone()),
            Some(Policy::NodePriority(order)) => Rank::Place(place(order, &version.node)),
            _ => return,
        };
        let rank = match before {
            Some(created @ Rank::Created(..)) => created,
            Some(before) => before.min(own),
            None => own,
        };
        let known = self.ranks.entry(row).or_default();
        let at = known.partition_point(|(known, _)| known < version);
        if known.get(at).is_none_or(|(known, _)| known != version) {
            known.insert(at, (version.clone(), rank));
        }
        if known.len() > self.kept_max {
            known.remove(0);
        }
    }

    /// How strong a version is; none where that is not known.
    pub(super) fn of(&self, names: &Names, row: RowNumber, version: &Version) -> Option<Strength> {
        let rank = Reverse(self.rank(names, row, version)?);
        let version = match self.policies.get(names.row(row).table.as_str()) {
            // The content of a joined version is not that of one write.
            Some(Policy::LastWriterByColumn | Policy::CounterDelta(_)) => {
                Version { hash: ContentHash::default(), ..version.clone() }
            }
            _ => version.clone(),
        };
        Some(Strength { rank, version })
    }

    /// Whether it counts what the writers of a row had seen. Where its tombstone is purged that is forgotten, and elsewhere
    /// it may not be.
    pub(super) fn is_ranked(&self, names: &Names, row: RowNumber) -> bool {
        let policy = self.policies.get(names.row(row).table.as_str());
        matches!(policy, Some(Policy::FirstWriter | Policy::NodePriority(_)))
    }

    fn rank(&self, names: &Names, row: RowNumber, version: &Version) -> Option<Rank> {
        match self.policies.get(names.row(row).table.as_str())? {
            Policy::LastWriterByRow | Policy::LastWriterByColumn | Policy::CounterDelta(_) => {
                Some(Rank::Alike)
            }
            Policy::FirstWriter | Policy::NodePriority(_) => {
                let known = self.ranks.get(&row)?;
                let at = known.binary_search_by(|(known, _)| known.cmp(version)).ok()?;
                Some(known[at].1.clone())
            }
            Policy::Custom(_) => None,
        }
    }
}

fn place(order: &[NodeId], node: &NodeId) -> usize {
    order.iter().position(|named| named == node).unwrap_or(order.len())
}

/// Versions of a row that are remembered at the least.
const KEPT_MIN: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    struct Row {
        names: Names,
        row: RowNumber,
        strengths: Strengths,
    }

    impl Row {
        fn of(table: &str) -> Self {
            let mut names = Names::new(&terms());
            let row = names.number(&row_of(table, 1));
            Self { names, row, strengths: Strengths::new(&terms()) }
        }

        fn wrote(&mut self, version: &Version, seen: Option<&Version>) {
            self.strengths.wrote(&self.names, self.row, version, seen);
        }

        fn strength(&self, version: &Version) -> Option<Strength> {
            self.strengths.of(&self.names, self.row, version)
        }
    }

    #[test]
    fn the_first_insert_wins_and_hands_that_on() {
        let mut row = Row::of("firsts");
        let (first, second, later) = (v(3, "p1"), v(4, "p0"), v(9, "p2"));
        row.wrote(&first, None);
        row.wrote(&second, None);
        row.wrote(&later, Some(&first));
        assert!(row.strength(&first) > row.strength(&second));
        assert!(row.strength(&later) > row.strength(&first));
        row.wrote(&v(12, "p0"), Some(&v(11, "p0")));
        assert_eq!(row.strength(&v(12, "p0")), None, "what its writer had seen is not known");
    }

    #[test]
    fn the_rank_of_a_node_wins_and_is_inherited() {
        let mut row = Row::of("ranked");
        let (named, other, later) = (v(3, "p2"), v(4, "p0"), v(9, "p1"));
        row.wrote(&named, None);
        row.wrote(&other, None);
        row.wrote(&later, Some(&named));
        assert!(row.strength(&named) > row.strength(&other));
        assert!(row.strength(&later) > row.strength(&named));
    }

    #[test]
    fn elsewhere_the_version_says_it_or_nobody_knows() {
        let row = Row::of("users");
        assert!(row.strength(&v(4, "p0")) > row.strength(&v(3, "p1")));
        let row = Row::of("cells");
        let joined = Version { hash: no_hash(), ..v(4, "p0") };
        assert_eq!(row.strength(&joined), row.strength(&v(4, "p0")));
        assert_eq!(Row::of("other").strength(&joined), None);
    }
}
