//! P3, as far as a history shows it: merging is commutative and idempotent (Shapiro et al. 2011).
//!
//! The same two versions give the same result at every peer, whichever of them was there first, and what a peer
//! already holds changes nothing. (Over generated states the laws are shown by the core's own tests. That merging
//! is associative shows in P1: whatever the order of arrival, the end is the same.)

use std::collections::VecDeque;

use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Held, Rule};
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat};
use crate::history::{Event, Kind, What};

pub(super) struct MergeLaws {
    held: Held,
    kept_max: usize,
    /// By row: the latest pairs that met, and what came of them.
    met: Vec<VecDeque<Meeting>>,
    judged: u64,
}

struct Meeting {
    /// The smaller version first.
    pair: (Version, Version),
    result: Version,
    node: u32,
}

impl MergeLaws {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        let kept_max = KEPT_MIN.max(terms.count as usize);
        Self { held: Held::new(terms), kept_max, met: Vec::new(), judged: 0 }
    }

    /// What is wrong with a merge, if anything.
    fn wrong(&mut self, node: u32, merged: &MergedRow, repair: bool) -> Option<String> {
        let row = self.held.names.number(&merged.row);
        let before = self.held.of(node, row)?.version.clone();
        let (came, outcome) = (&merged.version, merged.outcome);
        if !matches!(outcome, MergeOutcome::Updated | MergeOutcome::Equal | MergeOutcome::Beaten) {
            return None;
        }
        // Where versions are joined they do not tell all that was joined into them.
        if self.held.names.rule(row) == Rule::Joins {
            return None;
        }
        self.judged += 1;
        let Some(result) = &merged.holds else {
            return Some(format!("{} {came} met {before} and nothing is left", merged.row));
        };
        if before == *came {
            let idle = *result == before && (repair || outcome == MergeOutcome::Equal);
            return (!idle).then(|| {
                format!(
                    "{} {came} was there already, and merging it again made it {result} ({outcome:?})",
                    merged.row
                )
            });
        }
        let pair = if before < *came { (before, came.clone()) } else { (came.clone(), before) };
        if self.met.len() <= row as usize {
            self.met.resize_with(row as usize + 1, VecDeque::new);
        }
        let met = &mut self.met[row as usize];
        if let Some(first) = met.iter().find(|first| first.pair == pair) {
            let (other, was) = (first.node, &first.result);
            return (first.result != *result).then(|| {
                let (a, b) = pair;
                format!("{} {a} and {b} gave {was} at peer {other} and {result} at peer {node}", merged.row)
            });
        }
        if met.len() == self.kept_max {
            met.pop_front();
        }
        met.push_back(Meeting { pair, result: result.clone(), node });
        None
    }
}

impl Check for MergeLaws {
    fn property(&self) -> Property {
        Property {
            id: "P3",
            name: "merge laws",
            statement: "Two versions give the same result at every peer, whichever came first, and what is there already changes nothing.",
            needs: &[Kind::PeerCommitted, Kind::Merged, Kind::Purged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Peer(PeerWhat::Merged { node, rows, repair, .. }) => {
                for merged in rows {
                    if let Some(wrong) = self.wrong(*node, merged, *repair) {
                        findings.add(event.at_us, None, || wrong);
                    }
                    self.held.merged(*node, merged);
                }
            }
            What::Peer(what) => self.held.observe(what),
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "merges of two versions")
    }
}

/// Pairs of a row that are kept at the least.
const KEPT_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> MergeLaws {
        MergeLaws::new(&terms())
    }

    fn wrote() -> Vec<PeerWhat> {
        [0, 1].map(|peer| committed(peer, 1, 1, vec![write(1, v(5, &format!("p{peer}")), None)])).into()
    }

    fn then(rest: Vec<PeerWhat>) -> Vec<PeerWhat> {
        wrote().into_iter().chain(rest).collect()
    }

    #[test]
    fn the_same_result_on_both_sides_passes() {
        let history = then(vec![
            merged(0, 1, vec![beat(1, v(5, "p1"))]),
            merged(1, 0, vec![lost(1, v(5, "p0"), v(5, "p1"))]),
            merged(1, 0, vec![came(1, v(5, "p1"), MergeOutcome::Equal, Some(v(5, "p1")))]),
        ]);
        assert_eq!(basis(check(), history.clone()), 3);
        passes(check(), history);
    }

    #[test]
    fn two_peers_that_swap_versions_fail() {
        let history =
            then(vec![merged(0, 1, vec![beat(1, v(5, "p1"))]), merged(1, 0, vec![beat(1, v(5, "p0"))])]);
        fails(check(), history, "gave 5.0@p1 at peer 0 and 5.0@p0 at peer 1");
    }

    #[test]
    fn merging_again_must_change_nothing() {
        let again = came(1, v(5, "p0"), MergeOutcome::Updated, Some(v(5, "p0")));
        fails(check(), then(vec![merged(0, 1, vec![again.clone()])]), "was there already");
        let mend = PeerWhat::Merged {
            node: 0,
            from: 1,
            xid: Some(2),
            rows: vec![again],
            repair: true,
            reconcile: true,
        };
        passes(check(), then(vec![mend]));
    }

    #[test]
    fn a_merge_that_leaves_nothing_fails() {
        let gone = came(1, v(6, "p1"), MergeOutcome::Updated, None);
        fails(check(), then(vec![merged(0, 1, vec![gone])]), "nothing is left");
    }
}
