//! How long a committed write takes until another peer holds it, or what beats it: one sample for each write and peer.
//!
//! Of each row the latest few writes are timed; what is overwritten faster than it travels is beaten anyway.

use std::collections::VecDeque;

use sync_core::peer_sync::version::Version;

use super::PeerTerms;
use super::held::{Held, RowNumber, Rule};
use crate::history::OpRef;
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat};

pub(crate) struct Visibility {
    peers: u32,
    held: Held,
    /// By row.
    rows: Vec<Row>,
}

#[derive(Default)]
struct Row {
    commits: VecDeque<Commit>,
    /// Whether the greatest version committed is a tombstone.
    latest: Option<(Version, bool)>,
}

struct Commit {
    op: OpRef,
    version: Version,
    at_us: u64,
}

/// A write that became visible at a peer, or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The write.
    pub(crate) op: OpRef,
    /// The other peer.
    pub(crate) peer: u32,
    /// From the commit.
    pub(crate) took_us: u64,
}

impl Visibility {
    pub(crate) fn new(terms: &PeerTerms) -> Self {
        Self { peers: terms.count, held: Held::new(terms), rows: Vec::new() }
    }

    /// Takes one event, and tells what became visible with it.
    pub(crate) fn observe(&mut self, at_us: u64, what: &PeerWhat, mut sample: impl FnMut(Sample)) {
        match what {
            PeerWhat::Committed { op, writes, .. } => {
                self.held.observe(what);
                for write in writes {
                    let number = self.held.names.number(&write.row);
                    if self.rows.len() <= number as usize {
                        self.rows.resize_with(number as usize + 1, Row::default);
                    }
                    let row = &mut self.rows[number as usize];
                    if row.commits.len() == TIMED_MAX {
                        row.commits.pop_front();
                    }
                    row.commits.push_back(Commit { op: *op, version: write.version.clone(), at_us });
                    if row.latest.as_ref().is_none_or(|(latest, _)| *latest < write.version) {
                        row.latest = Some((write.version.clone(), write.deleted));
                    }
                }
            }
            PeerWhat::Merged { node, rows, .. } => {
                rows.iter().for_each(|merged| self.merged(at_us, *node, merged, &mut sample));
            }
            _ => self.held.observe(what),
        }
    }

    fn merged(&mut self, at_us: u64, node: u32, merged: &MergedRow, sample: &mut impl FnMut(Sample)) {
        let number = self.held.names.number(&merged.row);
        let before = self.held.of(node, number).map(|holding| holding.version.clone());
        self.held.merged(node, merged);
        let took = matches!(merged.outcome, MergeOutcome::Inserted | MergeOutcome::Updated);
        let (Some(row), Some(holds), true) = (self.rows.get(number as usize), &merged.holds, took) else {
            return;
        };
        let last_writer = self.held.names.rule(number) == Rule::LastWriter;
        let visible = |version: &Version| match last_writer {
            true => version <= holds && before.as_ref().is_none_or(|before| before < version),
            false => *version == merged.version,
        };
        for commit in row.commits.iter().filter(|commit| commit.op.host != node && visible(&commit.version)) {
            sample(Sample { op: commit.op, peer: node, took_us: at_us.saturating_sub(commit.at_us) });
        }
    }

    /// Tells the timed writes that some peer does not hold, where the greater version wins, with the time until now.
    pub(crate) fn missing(&mut self, now_us: u64, mut sample: impl FnMut(Sample)) {
        for (number, row) in (0 as RowNumber..).zip(&self.rows) {
            if self.held.names.rule(number) != Rule::LastWriter {
                continue;
            }
            let deleted = row.latest.as_ref().is_some_and(|(_, deleted)| *deleted);
            for commit in &row.commits {
                for peer in (0..self.peers).filter(|peer| *peer != commit.op.host) {
                    let absent = deleted && self.held.of(peer, number).is_none();
                    if !absent && !self.held.has(peer, number, &commit.version) {
                        sample(Sample { op: commit.op, peer, took_us: now_us.saturating_sub(commit.at_us) });
                    }
                }
            }
        }
    }
}

/// Writes of a row that are timed at once.
const TIMED_MAX: usize = 8;
