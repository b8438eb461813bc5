//! What a run among peers cost and what it came to, in figures: a fold over events beside the checks.
//!
//! Figures judge nothing. Ratios are in thousandths, so that a summary holds whole numbers only.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use hdrhistogram::Histogram;
use rustc_hash::FxHasher;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync_core::peer_sync::message::Refusal;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::Standing;

use crate::check::peers::PeerTerms;
use crate::check::peers::visibility::{Sample, Visibility};
use crate::history::peers::{DecidedBy, MergeOutcome, PeerWhat};
use crate::history::{Event, What};
use crate::latency::Row;

/// Figures of one run among peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerFigures {
    /// From the heal until what peers held differently is alike; none if that was not reached, or nothing was healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Convergence>,
    /// Messages between peers, and what was in them.
    pub traffic: Traffic,
    /// Those of comparisons of everything (reconciliation).
    pub reconciliation: Traffic,
    /// By peer, ascending.
    pub receivers: Vec<Receiver>,
    /// Versions that met one which did not know of them.
    pub conflicts: u64,
    /// What decided them.
    pub decided_by: BTreeMap<DecidedBy, u64>,
    /// The first of them, and the first that each reason decided.
    pub first_conflicts: Vec<NamedConflict>,
    /// Times that a peer set a row aside because of another one: it keeps it, and applications do not see it.
    pub set_aside: u64,
    /// Why.
    #[serde(default)]
    pub set_aside_by: BTreeMap<SetAsideBy, u64>,
    /// The first of them, those of one row at several peers counted once.
    #[serde(default)]
    pub first_set_aside: Vec<NamedAside>,
    /// Times that a row that was set aside came to be seen again.
    #[serde(default)]
    pub brought_back: u64,
    /// Transactions of applications that their databases refused or gave up, and so wrote nothing.
    #[serde(default)]
    pub aborted: u64,
    /// The first of them.
    #[serde(default)]
    pub first_aborted: Vec<NamedAbort>,
    /// Tombstones purged.
    pub purged: u64,
    /// Peers whose disk was set back to an older copy.
    pub disks_set_back: u64,
    /// Peers whose database was replaced by another, and machines that came up with one under a name in use.
    #[serde(default)]
    pub databases_replaced: u64,
    /// Refusals that peers told of, by why: whom one does not talk to, or that it is not talked to.
    #[serde(default)]
    pub refusals: BTreeMap<String, u64>,
    /// Times that a peer took another off its list: it did not answer, and had not been heard of for too long.
    #[serde(default)]
    pub removed: u64,
    /// Times that it took such a one on again.
    #[serde(default)]
    pub readmitted: u64,
    /// Hash over the order in which transactions committed, merges and positions followed one another, without their
    /// times, in hex: runs with different ones took different courses.
    pub interleaving: String,
}

/// From the heal until what peers held differently then was alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Convergence {
    /// What the time counts from.
    #[serde(default)]
    pub from: HealedFrom,
    /// How long it took.
    pub took_us: u64,
    /// Bytes sent meanwhile.
    pub bytes: u64,
    /// Rows that took effect at a peer meanwhile.
    pub repaired_rows: u64,
    /// Bytes for each of them; none if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_row: Option<u64>,
}

/// Messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Traffic {
    pub messages: u64,
    pub bytes: u64,
    pub rows: u64,
}

/// What one peer received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receiver {
    /// The peer.
    pub peer: u32,
    /// Rows sent to it.
    pub rows_sent: u64,
    /// Rows that took effect there.
    pub rows_new: u64,
    /// Rows that it held already in that version.
    #[serde(default)]
    pub rows_held: u64,
    /// Rows that what it held has beaten: conflicts, and versions that came after their successors.
    #[serde(default)]
    pub rows_beaten: u64,
    /// Rows that it refused: too far in the future, deleted and purged there before, or not a row.
    #[serde(default)]
    pub rows_refused: u64,
    /// How often a row was sent that took effect once, in thousandths; none where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies_thousandths: Option<u64>,
    /// Writes of others that it has not in the end, of those that are timed.
    pub missing: u64,
    /// From a commit elsewhere until it was held here, or was beaten.
    pub visible_after: Row,
}

/// A conflict by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedConflict {
    /// When the versions met, in microseconds since the start of the run.
    pub at_us: u64,
    /// Where.
    pub peer: u32,
    /// The row.
    pub row: String,
    /// What won.
    pub winner: String,
    /// What lost.
    pub loser: String,
    /// What decided.
    pub by: DecidedBy,
}

/// What the time to convergence counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealedFrom {
    /// The end of the last fault.
    #[default]
    Fault,
    /// The end of writing: nothing went wrong, or all that did was over before.
    Writing,
}

/// A transaction that wrote nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedAbort {
    /// When, in microseconds since the start of the run.
    pub at_us: u64,
    /// The transaction.
    pub op: String,
    /// What its database said.
    pub why: String,
}

/// Why a row is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetAsideBy {
    /// Another row with the same natural key has the greater version.
    NaturalKey,
    /// It goes with its parent (`cascade`).
    Cascaded,
    /// Its parent is not there, or is itself set aside.
    Restricted,
}

/// A row that was set aside, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedAside {
    /// When a peer set it aside first, in microseconds since the start of the run.
    pub at_us: u64,
    /// Where.
    pub peer: u32,
    /// The row.
    pub row: String,
    /// The row because of which: the winner of the natural key, or the parent.
    pub winner: String,
    /// Why.
    pub by: SetAsideBy,
}

/// Makes the figures of a run.
pub struct PeerMeter {
    figures: PeerFigures,
    visibility: Visibility,
    peers: BTreeMap<u32, Peer>,
    healed_at_us: Option<u64>,
    /// When a fault ended last.
    fault_ended_at_us: Option<u64>,
    repaired_rows: u64,
    /// What is set aside: where, and which row.
    aside: BTreeSet<(u32, RowId)>,
    /// Who has taken whom off its list, and not on again.
    left: BTreeSet<(u32, u32)>,
    /// Who is about to get another database.
    replaced: BTreeSet<u32>,
    hasher: FxHasher,
    last_us: u64,
}

struct Peer {
    received: Receiver,
    visible_after: Histogram<u64>,
}

impl PeerMeter {
    /// For a run under these terms.
    pub fn new(terms: &PeerTerms) -> Self {
        Self {
            figures: PeerFigures::default(),
            visibility: Visibility::new(terms),
            peers: (0..terms.count).map(|peer| (peer, Peer::new())).collect(),
            healed_at_us: None,
            fault_ended_at_us: None,
            repaired_rows: 0,
            aside: BTreeSet::new(),
            left: BTreeSet::new(),
            replaced: BTreeSet::new(),
            hasher: FxHasher::default(),
            last_us: 0,
        }
    }

    /// Takes one event; they come in the order of their happening.
    pub fn observe(&mut self, event: &Event) {
        self.last_us = event.at_us;
        let what = match &event.what {
            What::Healed => {
                self.healed_at_us = Some(event.at_us);
                (self.figures.convergence, self.repaired_rows) = (None, 0);
                return;
            }
            What::FaultEnded { .. } => {
                self.fault_ended_at_us = Some(event.at_us);
                return;
            }
            What::Peer(what) => what,
            _ => return,
        };
        let peers = &mut self.peers;
        self.visibility.observe(event.at_us, what, |Sample { peer, took_us, .. }| {
            // A histogram that grows by itself takes every value.
            let _ = peers.entry(peer).or_insert_with(Peer::new).visible_after.record(took_us);
        });
        self.hash(what);
        self.count(event.at_us, what);
    }

    /// The figures.
    pub fn finish(mut self) -> PeerFigures {
        let peers = &mut self.peers;
        self.visibility.missing(self.last_us, |Sample { peer, .. }| {
            peers.entry(peer).or_insert_with(Peer::new).received.missing += 1;
        });
        let receivers = self.peers.iter().map(|(peer, told)| told.receiver(*peer)).collect();
        PeerFigures { receivers, interleaving: format!("{:016x}", self.hasher.finish()), ..self.figures }
    }

    fn peer(&mut self, peer: u32) -> &mut Peer {
        self.peers.entry(peer).or_insert_with(Peer::new)
    }

    fn count(&mut self, at_us: u64, what: &PeerWhat) {
        match what {
            PeerWhat::Sent { to, bytes, rows, reconcile, .. } => {
                self.figures.traffic.add(*bytes, *rows);
                if *reconcile {
                    self.figures.reconciliation.add(*bytes, *rows);
                }
                self.peer(*to).received.rows_sent += rows;
            }
            PeerWhat::Merged { node, rows, .. } => {
                let received = &mut self.peer(*node).received;
                let before = received.rows_new;
                for row in rows {
                    *match row.outcome {
                        MergeOutcome::Inserted | MergeOutcome::Updated => &mut received.rows_new,
                        MergeOutcome::Equal => &mut received.rows_held,
                        MergeOutcome::Beaten => &mut received.rows_beaten,
                        MergeOutcome::TooFarAhead | MergeOutcome::Expired | MergeOutcome::Unsound => {
                            &mut received.rows_refused
                        }
                    } += 1;
                }
                let new = received.rows_new - before;
                self.repaired_rows += new;
            }
            PeerWhat::Conflict { node, row, winner, loser, by } => {
                self.figures.conflicts += 1;
                *self.figures.decided_by.entry(*by).or_default() += 1;
                let named = &self.figures.first_conflicts;
                if named.len() < CONFLICTS_NAMED_MAX || named.iter().all(|conflict| conflict.by != *by) {
                    self.figures.first_conflicts.push(NamedConflict {
                        at_us,
                        peer: *node,
                        row: row.to_string(),
                        winner: winner.to_string(),
                        loser: loser.to_string(),
                        by: *by,
                    });
                }
            }
            PeerWhat::Equal { bytes } => {
                let Some(healed_at_us) = self.healed_at_us.filter(|_| self.figures.convergence.is_none())
                else {
                    return;
                };
                let (bytes, repaired_rows) = (*bytes, self.repaired_rows);
                let from = match self.fault_ended_at_us == Some(healed_at_us) {
                    true => HealedFrom::Fault,
                    false => HealedFrom::Writing,
                };
                self.figures.convergence = Some(Convergence {
                    from,
                    took_us: at_us.saturating_sub(healed_at_us),
                    bytes,
                    repaired_rows,
                    bytes_per_row: bytes.checked_div(repaired_rows),
                });
            }
            PeerWhat::Aside { node, row, standing } => self.stands(at_us, *node, row, standing),
            PeerWhat::Aborted { op, why } => {
                self.figures.aborted += 1;
                if self.figures.first_aborted.len() < CONFLICTS_NAMED_MAX {
                    let (op, why) = (op.to_string(), why.clone());
                    self.figures.first_aborted.push(NamedAbort { at_us, op, why });
                }
            }
            PeerWhat::Purged { rows, .. } => self.figures.purged += rows,
            PeerWhat::Named { node, .. } => {
                self.replaced.insert(*node);
            }
            PeerWhat::SetBack { node, .. } if self.replaced.contains(node) => {
                self.figures.databases_replaced += 1;
            }
            PeerWhat::SetBack { .. } => self.figures.disks_set_back += 1,
            PeerWhat::Renewed { node, .. } => {
                self.replaced.remove(node);
            }
            PeerWhat::Refused { why, .. } => {
                *self.figures.refusals.entry(word(*why).to_owned()).or_default() += 1;
            }
            PeerWhat::Left { node, peer } => {
                self.figures.removed += 1;
                self.left.insert((*node, *peer));
            }
            PeerWhat::Joined { node, peer } => {
                self.figures.readmitted += u64::from(self.left.remove(&(*node, *peer)));
            }
            _ => {}
        }
    }

    /// A row's standing at a peer has changed because of another row.
    fn stands(&mut self, at_us: u64, peer: u32, row: &RowId, standing: &Standing) {
        let (by, winner) = match standing {
            Standing::NaturalKey { winner } => (SetAsideBy::NaturalKey, winner),
            Standing::Cascaded { parent } => (SetAsideBy::Cascaded, parent),
            Standing::Orphaned { parent } => (SetAsideBy::Restricted, parent),
            Standing::Visible | Standing::Revived => {
                self.figures.brought_back += u64::from(self.aside.remove(&(peer, row.clone())));
                return;
            }
            Standing::Deleted => {
                self.aside.remove(&(peer, row.clone()));
                return;
            }
        };
        self.aside.insert((peer, row.clone()));
        self.figures.set_aside += 1;
        *self.figures.set_aside_by.entry(by).or_default() += 1;
        let first = &mut self.figures.first_set_aside;
        let (row, winner) = (row.to_string(), winner.to_string());
        let known = first.iter().any(|named| named.row == row && named.winner == winner && named.by == by);
        if first.len() < CONFLICTS_NAMED_MAX && !known {
            first.push(NamedAside { at_us, peer, row, winner, by });
        }
    }

    fn hash(&mut self, what: &PeerWhat) {
        let mut write = |kind: u8, one: u32, other: u64| {
            self.hasher.write_u8(kind);
            self.hasher.write_u32(one);
            self.hasher.write_u64(other);
        };
        match what {
            PeerWhat::Committed { op, .. } => write(0, op.host, op.ticket),
            PeerWhat::Merged { node, from, rows, .. } => {
                write(1, *node, u64::from(*from));
                rows.iter().for_each(|row| write(2, row.outcome as u32, row.origin_xid));
            }
            PeerWhat::Advanced { node, of, .. } => write(3, *node, u64::from(*of)),
            PeerWhat::SetBack { node, .. } => write(4, *node, 0),
            PeerWhat::Renewed { node, .. } => write(5, *node, 0),
            PeerWhat::Named { node, name, .. } => write(6, *node, u64::from(*name)),
            PeerWhat::Released { node, .. } => write(7, *node, 0),
            _ => {}
        }
    }
}

impl Traffic {
    fn add(&mut self, bytes: u64, rows: u64) {
        self.messages += 1;
        self.bytes += bytes;
        self.rows += rows;
    }
}

impl Peer {
    fn new() -> Self {
        let visible_after =
            Histogram::new(PRECISION_DIGITS).unwrap_or_else(|_| unreachable!("fixed precision"));
        Self { received: Receiver::default(), visible_after }
    }

    fn receiver(&self, peer: u32) -> Receiver {
        let received = &self.received;
        Receiver {
            peer,
            copies_thousandths: (received.rows_sent * 1_000).checked_div(received.rows_new),
            visible_after: Row::of(&self.visible_after, received.missing),
            ..received.clone()
        }
    }
}

/// Why somebody was refused.
const fn word(why: Refusal) -> &'static str {
    match why {
        Refusal::Protocol => "no common version of the protocol",
        Refusal::Schema => "other tables",
        Refusal::SameNode => "a node id in use",
        Refusal::AnotherNode => "another peer at the address",
        Refusal::Key => "want of the shared key",
    }
}

/// Conflicts, and rows set aside, that are named.
const CONFLICTS_NAMED_MAX: usize = 10;
/// Significant decimal digits of a time to visibility.
const PRECISION_DIGITS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::peers::testing::*;
    use crate::history::peers::MergedRow;

    fn figures(events: Vec<(u64, What)>) -> PeerFigures {
        let mut meter = PeerMeter::new(&terms());
        timed(events).iter().for_each(|event| meter.observe(event));
        meter.finish()
    }

    fn sent(rows: u64, reconcile: bool) -> What {
        What::Peer(PeerWhat::Sent { from: 0, to: 1, bytes: 100, rows, reconcile })
    }

    fn story() -> Vec<(u64, What)> {
        let conflict = PeerWhat::Conflict {
            node: 1,
            row: row(1),
            winner: v(6, "p1"),
            loser: v(5, "p0"),
            by: DecidedBy::Stamp,
        };
        vec![
            (10, What::Peer(committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]))),
            (12, sent(1, false)),
            (20, What::Healed),
            (25, sent(2, true)),
            (30, What::Peer(merged(1, 0, vec![took(1, v(5, "p0")), took(2, v(4, "p0"))]))),
            (31, What::Peer(conflict)),
            (50, What::Peer(PeerWhat::Equal { bytes: 100 })),
            (60, What::Peer(PeerWhat::Joined { node: 0, peer: 1 })),
            (61, What::Peer(PeerWhat::Left { node: 0, peer: 1 })),
            (62, What::Peer(PeerWhat::Left { node: 1, peer: 0 })),
            (63, What::Peer(PeerWhat::Joined { node: 0, peer: 1 })),
        ]
    }

    #[test]
    fn cost_time_and_winners_are_told() {
        let figures = figures(story());
        let expected = Convergence {
            from: HealedFrom::Writing,
            took_us: 30,
            bytes: 100,
            repaired_rows: 2,
            bytes_per_row: Some(50),
        };
        assert_eq!(figures.convergence, Some(expected));
        assert_eq!(figures.traffic, Traffic { messages: 2, bytes: 200, rows: 3 });
        assert_eq!(figures.reconciliation, Traffic { messages: 1, bytes: 100, rows: 2 });
        assert_eq!(figures.decided_by[&DecidedBy::Stamp], 1);
        assert_eq!((figures.removed, figures.readmitted), (2, 1));
        assert_eq!(figures.first_conflicts[0].winner, "6.0@p1");
        let receiver = &figures.receivers[1];
        assert_eq!((receiver.rows_sent, receiver.rows_new, receiver.copies_thousandths), (3, 2, Some(1_500)));
        assert_eq!((receiver.visible_after.p50_us, receiver.missing), (Some(20), 0));
        let other = &figures.receivers[2];
        assert_eq!((other.copies_thousandths, other.visible_after.max_us, other.missing), (None, None, 1));
    }

    #[test]
    fn what_became_of_rows_that_were_sent_is_counted() {
        let of = |outcome| MergedRow { outcome, ..took(1, v(5, "p0")) };
        let rows = [MergeOutcome::Updated, MergeOutcome::Equal, MergeOutcome::Beaten, MergeOutcome::Expired];
        let rows = rows.into_iter().map(of).collect();
        let figures = figures(vec![(25, sent(5, false)), (30, What::Peer(merged(1, 0, rows)))]);
        let receiver = &figures.receivers[1];
        assert_eq!((receiver.rows_sent, receiver.rows_new, receiver.copies_thousandths), (5, 1, Some(5_000)));
        assert_eq!((receiver.rows_held, receiver.rows_beaten, receiver.rows_refused), (1, 1, 1));
    }

    #[test]
    fn the_time_counts_from_the_last_fault_if_there_was_one() {
        let mut story = story();
        story.insert(2, (20, What::FaultEnded { action: "f0".to_owned() }));
        assert_eq!(figures(story).convergence.unwrap().from, HealedFrom::Fault);
    }

    #[test]
    fn what_is_set_aside_is_named_and_what_lives_again_is_not_counted() {
        let aside = |node, standing| What::Peer(PeerWhat::Aside { node, row: row(1), standing });
        let figures = figures(vec![
            (10, aside(0, Standing::Revived)),
            (20, aside(1, Standing::NaturalKey { winner: row(2) })),
            (30, aside(2, Standing::NaturalKey { winner: row(2) })),
            (40, aside(1, Standing::Visible)),
            (50, aside(1, Standing::Orphaned { parent: row(3) })),
        ]);
        assert_eq!((figures.set_aside, figures.brought_back), (3, 1));
        assert_eq!(figures.set_aside_by[&SetAsideBy::NaturalKey], 2);
        let named: Vec<_> = figures.first_set_aside.iter().map(|aside| (aside.at_us, aside.by)).collect();
        assert_eq!(named, [(20, SetAsideBy::NaturalKey), (50, SetAsideBy::Restricted)]);
        assert_eq!(figures.first_set_aside[0].winner, row(2).to_string());
    }

    #[test]
    fn runs_that_take_another_course_have_another_hash() {
        let mut later = story();
        later.iter_mut().for_each(|(at_us, _)| *at_us *= 2);
        assert_eq!(figures(story()).interleaving, figures(later).interleaving, "times do not count");
        let mut other = story();
        other.remove(4);
        assert_ne!(figures(story()).interleaving, figures(other).interleaving);
    }
}
