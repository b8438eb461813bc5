//! P1: strong eventual convergence: peers that received the same writes hold the same (Shapiro et al. 2011).
//!
//! Content is compared as it is stored and as applications see it, hashed anew in the end: a peer whose
//! bookkeeping agrees and whose rows do not is found. A tombstone at one peer and nothing at another is the same
//! once any peer has purged some, since what was purged travels as a horizon; nothing else is.

use std::collections::BTreeMap;

use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::Standing;

use super::super::{Basis, Check, Findings, Property};
use super::{list, say};
use crate::history::peers::{FinalState, PeerWhat};
use crate::history::{Event, Kind, What};

#[derive(Default)]
pub(super) struct Convergence {
    rows: BTreeMap<RowId, Row>,
    /// Rows told of for each peer.
    told: BTreeMap<u32, usize>,
    /// Whether a peer purged tombstones.
    purged: bool,
    last_us: u64,
}

#[derive(Default)]
struct Row {
    /// The first state told of, and the peers that hold it.
    state: Option<(FinalState, Vec<u32>)>,
    /// Peers that hold nothing of it.
    absent: Vec<u32>,
}

impl Check for Convergence {
    fn property(&self) -> Property {
        Property {
            id: "P1",
            name: "convergence",
            statement: "In the end all peers hold the same rows, values, deletes and stamps, and applications see the same.",
            needs: &[Kind::FinalRow, Kind::Purged],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        match &event.what {
            What::Peer(PeerWhat::Purged { .. }) => self.purged = true,
            What::Peer(PeerWhat::FinalRow { row, nodes, holds }) => {
                nodes.iter().for_each(|node| *self.told.entry(*node).or_default() += 1);
                let known = self.rows.entry(row.clone()).or_default();
                match (holds, &mut known.state) {
                    (None, _) => known.absent.extend(nodes),
                    (Some(state), None) => known.state = Some((state.clone(), nodes.clone())),
                    (Some(state), Some((first, who))) if first == state => who.extend(nodes),
                    (Some(state), Some((first, who))) => findings.add(event.at_us, None, || {
                        format!(
                            "{row} differs in {}: peer {} ends with {}, peer {} with {}",
                            differences(first, state),
                            list(who),
                            say(first),
                            list(nodes),
                            say(state)
                        )
                    }),
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for (row, Row { state, absent }) in &self.rows {
            let Some((state, who)) = state else { continue };
            let gone = state.deleted && state.standing == Standing::Deleted && state.visible.is_none();
            let excused = gone && self.purged;
            if !absent.is_empty() && !excused {
                findings.add(self.last_us, None, || {
                    format!(
                        "peer {} ends with {} of {row}, peer {} with nothing",
                        list(who),
                        say(state),
                        list(absent)
                    )
                });
            }
        }
        for (node, told) in self.told.iter().filter(|(_, told)| **told != self.rows.len()) {
            findings.add(self.last_us, None, || {
                format!("peer {node} is told of in {told} rows of {}", self.rows.len())
            });
        }
        let peers = self.told.len();
        Basis::new(
            if peers < 2 { 0 } else { self.rows.len() as u64 },
            &format!("rows compared between {peers} peers"),
        )
    }
}

/// What two states differ in.
fn differences(one: &FinalState, other: &FinalState) -> String {
    let differ = [
        ("version", one.version != other.version),
        ("deletion", one.deleted != other.deleted),
        ("stored content", one.content != other.content),
        ("standing", one.standing != other.standing),
        ("what applications see", one.visible != other.visible),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn whole() -> Vec<PeerWhat> {
        vec![ends(1, &[0, 1, 2], lives(v(3, "p0"))), ends(2, &[0, 1, 2], deleted(v(4, "p1")))]
    }

    #[test]
    fn the_same_everywhere_passes() {
        passes(Convergence::default(), whole());
        assert_eq!(basis(Convergence::default(), whole()), 2);
        assert_eq!(basis(Convergence::default(), vec![ends(1, &[0], lives(v(3, "p0")))]), 0, "one peer");
    }

    #[test]
    fn different_versions_fail() {
        let history = vec![ends(1, &[0, 2], lives(v(3, "p0"))), ends(1, &[1], lives(v(4, "p1")))];
        fails(Convergence::default(), history, "differs in version, stored content");
    }

    #[test]
    fn the_same_version_over_different_content_fails() {
        let corrupt = lives(v(3, "p0")).map(|state| FinalState { content: no_hash(), ..state });
        let history = vec![ends(1, &[0, 2], lives(v(3, "p0"))), ends(1, &[1], corrupt)];
        fails(Convergence::default(), history, "differs in stored content: peer 0, 2 ends with");
        let hidden = lives(v(3, "p0")).map(|state| FinalState { visible: None, ..state });
        let history = vec![ends(1, &[0, 2], lives(v(3, "p0"))), ends(1, &[1], hidden)];
        fails(Convergence::default(), history, "differs in what applications see");
    }

    #[test]
    fn a_row_that_one_peer_lacks_fails() {
        let history = vec![ends(1, &[0, 2], lives(v(3, "p0"))), ends(1, &[1], None)];
        fails(Convergence::default(), history, "peer 1 with nothing");
        let history = vec![ends(1, &[0, 1, 2], lives(v(3, "p0"))), ends(2, &[0, 1], lives(v(3, "p0")))];
        fails(Convergence::default(), history, "peer 2 is told of in 1 rows of 2");
    }

    #[test]
    fn a_tombstone_counts_as_nothing_only_where_tombstones_are_purged() {
        let ends = vec![ends(1, &[0], deleted(v(3, "p0"))), ends(1, &[1, 2], None)];
        let purged = PeerWhat::Purged { node: 1, rows: 1 };
        passes(Convergence::default(), [vec![purged], ends.clone()].concat());
        fails(Convergence::default(), ends, "peer 1, 2 with nothing");
    }
}
