//! P1: strong eventual convergence: peers that received the same writes hold the same (Shapiro et al. 2011).
//!
//! Content is compared as it is stored and as applications see it, hashed anew in the end: a peer whose
//! bookkeeping agrees and whose rows do not is found. A tombstone at one peer and nothing at another is the same
//! once any peer has purged some, since what was purged travels as a horizon; so is a row that goes with its deleted parent
//! and one whose parent is not there. Nothing else is.
//!
//! What applications see is a function of the versions that a peer stores: references and natural keys set rows aside, or
//! bring them back. Peers that leave a rule out alike agree, and are wrong: each is held against that function, too.

use std::collections::BTreeMap;

use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::Standing;
use sync_core::peer_sync::version::ContentHash;

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
            statement: "In the end all peers hold the same rows, values, deletes and stamps, and applications see the same: what references and natural keys make of them.",
            needs: &[Kind::FinalRow, Kind::Purged],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        match &event.what {
            What::Peer(PeerWhat::Purged { .. }) => self.purged = true,
            What::Peer(PeerWhat::FinalRow { row, nodes, holds }) => {
                nodes.iter().for_each(|node| *self.told.entry(*node).or_default() += 1);
                let unruly = holds.as_ref().and_then(|state| unruly(row, nodes, state));
                if let Some(unruly) = unruly {
                    findings.add(event.at_us, None, || unruly);
                }
                let known = self.rows.entry(row.clone()).or_default();
                match (holds, &mut known.state) {
                    (None, _) => known.absent.extend(nodes),
                    (Some(state), None) => known.state = Some((state.clone(), nodes.clone())),
                    (Some(state), Some((first, who))) if alike(first, state, self.purged) => {
                        who.extend(nodes)
                    }
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

/// Whether two peers hold the same.
fn alike(one: &FinalState, other: &FinalState, purged: bool) -> bool {
    let plain = |state: &FinalState| {
        let mut state = state.clone();
        for standing in
            std::iter::once(&mut state.standing).chain(state.ought.as_mut().map(|ought| &mut ought.standing))
        {
            if let Standing::Cascaded { parent } = standing {
                *standing = Standing::Orphaned { parent: parent.clone() };
            }
        }
        state
    };
    one == other || (purged && plain(one) == plain(other))
}

/// What two states differ in.
fn differences(one: &FinalState, other: &FinalState) -> String {
    let differ = [
        ("version", one.version != other.version),
        ("deletion", one.deleted != other.deleted),
        ("stored content", one.content != other.content),
        ("standing", one.standing != other.standing),
        ("what applications see", one.visible != other.visible),
        ("what they ought to see", one.ought != other.ought),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

/// What is wrong with how a row stands at these peers, if anything.
fn unruly(row: &RowId, nodes: &[u32], state: &FinalState) -> Option<String> {
    let ought = state.ought.as_ref()?;
    let (nodes, version, is) = (list(nodes), &state.version, said(&state.standing));
    if state.standing != ought.standing {
        let ought = said(&ought.standing);
        return Some(format!(
            "{row} {version} is {is} at peer {nodes}; by references and natural keys it ought to be {ought}"
        ));
    }
    let shows = |visible: Option<ContentHash>| visible.map_or("nothing".to_owned(), |hash| hash.to_string());
    let (sees, ought) = (shows(state.visible), shows(ought.visible));
    (sees != ought).then(|| {
        format!("{row} {version} is {is} at peer {nodes}, and applications see {sees} instead of {ought}")
    })
}

/// How a row stands, in a sentence.
fn said(standing: &Standing) -> String {
    match standing {
        Standing::Visible => "visible".to_owned(),
        Standing::Revived => "revived".to_owned(),
        Standing::Deleted => "deleted".to_owned(),
        Standing::Cascaded { parent } => format!("gone with {parent}"),
        Standing::Orphaned { parent } => format!("set aside for want of {parent}"),
        Standing::NaturalKey { winner } => format!("set aside for {winner}, which has its natural key"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::peers::Ought;

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
    fn what_everybody_shows_against_the_rules_fails() {
        let ought = |standing, visible| {
            let state = lives(v(3, "p0"))
                .map(|state| FinalState { ought: Some(Ought { standing, visible }), ..state });
            vec![ends(1, &[0, 1, 2], state)]
        };
        let hash = v(3, "p0").hash;
        passes(Convergence::default(), ought(Standing::Visible, Some(hash)));
        fails(
            Convergence::default(),
            ought(Standing::Orphaned { parent: row(2) }, None),
            "users(1) 3.0@p0 is visible at peer 0, 1, 2; by references and natural keys it ought to be set aside for want of users(2)",
        );
        fails(
            Convergence::default(),
            ought(Standing::NaturalKey { winner: row(2) }, None),
            "ought to be set aside for users(2), which has its natural key",
        );
        fails(Convergence::default(), ought(Standing::Visible, Some(no_hash())), "applications see");
        let hidden = lives(v(3, "p0")).map(|state| FinalState { ought: None, ..state });
        passes(Convergence::default(), vec![ends(1, &[0, 1, 2], hidden)]);
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

    #[test]
    fn a_parent_that_is_deleted_counts_as_absent_only_where_tombstones_are_purged() {
        let stands = |standing: Standing| {
            let ought = Some(Ought { standing: standing.clone(), visible: None });
            lives(v(3, "p0")).map(|state| FinalState { standing, visible: None, ought, ..state })
        };
        let parent = || row(2);
        let ends = vec![
            ends(1, &[0, 1], stands(Standing::Cascaded { parent: parent() })),
            ends(1, &[2], stands(Standing::Orphaned { parent: parent() })),
        ];
        let purged = PeerWhat::Purged { node: 1, rows: 1 };
        passes(Convergence::default(), [vec![purged], ends.clone()].concat());
        fails(Convergence::default(), ends, "differs in standing");
    }
}
