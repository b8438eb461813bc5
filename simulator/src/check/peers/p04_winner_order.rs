//! P4: who wins is one strict total order: independent of the side, of the peer, and of what else is there.
//!
//! Where the greater version wins, that is the order itself (stamp, node, content hash; deletes included). Under
//! other policies with one winner, the winners that were seen must not run in a circle.

use std::collections::VecDeque;

use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Held, RowNumber, Rule};
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat};
use crate::history::{Event, Kind, What};

pub(super) struct WinnerOrder {
    held: Held,
    /// By row: the latest pairs of winner and loser.
    won: Vec<VecDeque<Won>>,
    judged: u64,
}

struct Won {
    winner: Version,
    loser: Version,
    node: u32,
}

impl WinnerOrder {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { held: Held::new(terms), won: Vec::new(), judged: 0 }
    }

    /// Takes a winner and a loser; says what is wrong with that, if anything.
    fn won(&mut self, node: u32, row: &RowId, winner: &Version, loser: &Version) -> Option<String> {
        let number = self.held.names.number(row);
        let rule = self.held.names.rule(number);
        if rule == Rule::Joins || winner == loser {
            return None;
        }
        self.judged += 1;
        if rule == Rule::LastWriter {
            return (winner < loser)
                .then(|| format!("{row} {winner} won over {loser} at peer {node}, which is greater"));
        }
        let circle = self.beats(number, loser, winner).map(|other| {
            format!("{row} {winner} won over {loser} at peer {node}, and lost to it at peer {other}, itself or by others")
        });
        let won = &mut self.won[number as usize];
        if won.iter().all(|known| (&known.winner, &known.loser) != (winner, loser)) {
            if won.len() == KEPT_MAX {
                won.pop_front();
            }
            won.push_back(Won { winner: winner.clone(), loser: loser.clone(), node });
        }
        circle
    }

    /// Whether `one` was seen to win over `other`, itself or by others in between; where the last step was seen.
    fn beats(&mut self, row: RowNumber, one: &Version, other: &Version) -> Option<u32> {
        if self.won.len() <= row as usize {
            self.won.resize_with(row as usize + 1, VecDeque::new);
        }
        let won = &self.won[row as usize];
        let mut reached = vec![one];
        let mut looked_at = 0;
        while let Some(winner) = reached.get(looked_at).copied() {
            looked_at += 1;
            for step in won.iter().filter(|step| step.winner == *winner) {
                if step.loser == *other {
                    return Some(step.node);
                }
                if !reached.contains(&&step.loser) {
                    reached.push(&step.loser);
                }
            }
        }
        None
    }

    fn merged(&mut self, node: u32, merged: &MergedRow) -> Option<String> {
        let row = self.held.names.number(&merged.row);
        let before = self.held.of(node, row)?.version.clone();
        let came = &merged.version;
        match (merged.outcome, merged.holds.as_ref()?) {
            (MergeOutcome::Updated, holds) if holds == came => self.won(node, &merged.row, came, &before),
            (MergeOutcome::Beaten, holds) if *holds == before => self.won(node, &merged.row, &before, came),
            _ => None,
        }
    }
}

impl Check for WinnerOrder {
    fn property(&self) -> Property {
        Property {
            id: "P4",
            name: "one order of winners",
            statement: "Which of two versions wins is one strict total order, the same at every peer and on both sides.",
            needs: &[Kind::PeerCommitted, Kind::Merged, Kind::Purged, Kind::PeerLife, Kind::Conflict],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Merged { node, rows, .. } => {
                for merged in rows {
                    if let Some(wrong) = self.merged(*node, merged) {
                        findings.add(event.at_us, None, || wrong);
                    }
                    self.held.merged(*node, merged);
                }
            }
            PeerWhat::Conflict { node, row, winner, loser, .. } => {
                if let Some(wrong) = self.won(*node, row, winner, loser) {
                    findings.add(event.at_us, None, || wrong);
                }
            }
            _ => self.held.observe(what),
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "winners and losers")
    }
}

/// Pairs of a row that are kept.
const KEPT_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::peers::DecidedBy;

    fn check() -> WinnerOrder {
        WinnerOrder::new(&terms())
    }

    fn conflict(table: &str, node: u32, winner: Version, loser: Version) -> PeerWhat {
        PeerWhat::Conflict { node, row: row_of(table, 1), winner, loser, by: DecidedBy::Created }
    }

    #[test]
    fn the_greater_version_wins_on_both_sides() {
        let history = vec![
            committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]),
            committed(1, 1, 1, vec![write(1, v(5, "p1"), None)]),
            merged(0, 1, vec![beat(1, v(5, "p1"))]),
            merged(1, 0, vec![lost(1, v(5, "p0"), v(5, "p1"))]),
            conflict("users", 1, v(5, "p1"), v(5, "p0")),
        ];
        assert_eq!(basis(check(), history.clone()), 3);
        passes(check(), history);
    }

    #[test]
    fn a_tie_that_stays_with_whoever_is_local_fails() {
        let history = vec![
            committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]),
            merged(0, 1, vec![lost(1, v(5, "p1"), v(5, "p0"))]),
        ];
        fails(check(), history, "5.0@p0 won over 5.0@p1 at peer 0, which is greater");
    }

    #[test]
    fn an_older_version_that_wins_fails() {
        let history = vec![
            committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]),
            merged(0, 1, vec![beat(1, v(4, "p1"))]),
        ];
        fails(check(), history, "4.0@p1 won over 5.0@p0");
        fails(check(), vec![conflict("users", 2, v(4, "p1"), v(5, "p0"))], "which is greater");
    }

    #[test]
    fn under_another_policy_winners_may_be_older_and_not_run_in_a_circle() {
        let [a, b, c] = [v(1, "p0"), v(2, "p1"), v(3, "p2")];
        let won =
            |node, winner: &Version, loser: &Version| conflict("ranked", node, winner.clone(), loser.clone());
        let line = vec![won(0, &a, &b), won(1, &b, &c), won(2, &a, &c), won(2, &a, &b)];
        passes(check(), line);
        fails(check(), vec![won(0, &a, &b), won(1, &b, &a)], "and lost to it at peer 0");
        fails(check(), vec![won(0, &a, &b), won(1, &b, &c), won(2, &c, &a)], "itself or by others");
        decides_nothing(
            check(),
            vec![conflict("joined", 0, a.clone(), b.clone()), conflict("joined", 1, b, a)],
        );
    }
}
