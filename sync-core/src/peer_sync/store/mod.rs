//! What a replica asks of its database, as data. Each request is a whole decision, taken atomically by whatever
//! executes it, so that applications may write at any time. What executes them in memory defines what is right;
//! PostgreSQL executes the same as set-based SQL, and a differential test holds both together.

pub mod memory;
pub(crate) mod tables;
pub(crate) mod together;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::position::{Frontier, Position};
use super::row::{RowId, RowVersion, TableName};
use super::snapshot::Snapshot;
use super::version::{ContentHash, NodeId, Stamp, Version};
use crate::id::Incarnation;
use crate::time::{Span, Timestamp};

/// How often a request that meets rows which applications have locked begins anew before it is given up.
const LOCK_ATTEMPTS: u32 = 4;

/// How long an attempt at a request, counted from 0, waits for each row that an application has locked: a sixteenth of
/// `whole`, then twice as long each time; none once it is to be given up. Between attempts it lets go of all rows it has
/// locked, so that an application that waits for one of them while the request waits for it goes on soon, and only a
/// request that meets the same again and again keeps others waiting for long.
#[must_use]
pub fn lock_patience(whole: Span, attempt: u32) -> Option<Span> {
    (attempt < LOCK_ATTEMPTS).then(|| Span::from_us(whole.as_us() >> (LOCK_ATTEMPTS - attempt)))
}

/// A request to a peer's database. The wall clock that a decision needs is the database's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerRequest {
    /// What there is, how far everything has come.
    Describe,
    /// What became visible since a position and is not covered by a reader's frontier.
    Feed(ReadFeed),
    /// Rows by the rule of their table's policy where the database can decide it alone (last writer by row).
    Merge(MergeRows),
    /// The stored versions of rows, tombstones included, for policies that are decided outside.
    FetchVersions(Vec<RowId>),
    /// Rows that were decided outside, each if what is stored is still what the decision saw.
    ApplyIf(ApplyIf),
    /// Digests of parts of the key space.
    Digests(Vec<DigestPart>),
    /// Key and version of each row, tombstones included, in leaves of the key space.
    Entries(Vec<DigestPart>),
    /// A peer says that it has durably applied this much of this database's feed.
    Passed {
        /// Who.
        peer: NodeId,
        /// How far.
        position: Position,
        /// Whether it has refused rows on the way: then it has read so far, but has not passed what it read.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        refused: bool,
    },
    /// A comparison with this peer has shown that everything that was refused of its rows is here by now, or is beaten:
    /// takes it from [`Description::refused`].
    Settle(NodeId),
    /// Takes rows away without a tombstone, each if its version is still this: a peer that has purged their tombstones
    /// says that they were deleted.
    Drop(DropRows),
    /// Purges tombstones that every one of these peers has passed, or that are older than the retention.
    Purge(Purge),
    /// Recomputes the hashes of some rows.
    Scrub(Scrub),
    /// Begins a new life of the database: it was found to be older than what peers have read of it.
    Renew(Incarnation),
}

/// Reads a page of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFeed {
    /// Where the reader stands; none for one that has read nothing.
    pub since: Option<Position>,
    /// What the reader has of everybody's writes.
    pub frontier: Frontier,
    /// Rows of a page; at least one transaction comes whole unless it is beyond the bound of transactions.
    pub rows_max: usize,
    /// Bytes of a page, by [`RowVersion::bytes`].
    pub bytes_max: usize,
}

/// Rows received from a peer, to be merged in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRows {
    /// Who sent them (not who wrote them).
    pub from: NodeId,
    /// The rows, whole transactions of their sources.
    pub rows: Vec<RowVersion>,
    /// [`Page::groups`] of the page that brought them. Rows beyond them belong to one more group; with none, all belong
    /// together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// [`Page::known`] of the page that brought them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<(u32, RowId)>,
    /// What the reader has read with them, stored in the same transaction.
    pub advance: Option<Advance>,
    /// Whether rows replace a stored row of the same version if that one is corrupt.
    pub repair: bool,
}

/// How far a reader comes with a merge.
///
/// The store adds nothing to the frontier from the position by itself. A page in the middle of a feed proves nothing
/// about its writer's transactions: a row that one of them wrote may since have been overwritten, and what
/// overwrote it is not read yet. Only the end of the feed does, and there the sender tells its frontier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// In the feed of the sender.
    pub position: Position,
    /// What else is covered now; the sender's frontier, once its feed was read to its end. Left alone while some of the
    /// sender's rows are refused: they are not here, and others would omit them.
    pub frontier: Frontier,
}

/// Rows that a resolver decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyIf {
    /// Who sent what was decided on.
    pub from: NodeId,
    /// Each row, and the stored version that the decision saw; none for an absent row.
    pub rows: Vec<(RowVersion, Option<Version>)>,
    /// Rows of the same transactions that are here already, as [`Page::known`] has them. All belong together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<RowId>,
    /// As in [`MergeRows`]; stored only when every row was applied.
    pub advance: Option<Advance>,
}

/// A part of the space of rows: those whose hashed id begins with these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DigestPart {
    /// Groups of four bits that are given: 0 names everything.
    pub level: u8,
    /// These bits.
    pub prefix: u32,
}

/// The digest of one part: equal for equal sets of (row, version), whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest {
    /// Rows in it, tombstones included.
    pub rows: u64,
    /// Sum of their fingerprints, modulo 2^64.
    pub sum: u64,
}

/// One row as reconciliation compares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DigestEntry {
    /// The row.
    pub row: RowId,
    /// Its version.
    pub version: Version,
}

/// Rows that somebody else has purged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRows {
    /// The rows, each in the version that is to go.
    pub entries: Vec<DigestEntry>,
    /// The peers that read here: a tombstone stays until all of them have passed it, whoever else needs it no more.
    pub readers: Vec<NodeId>,
}

/// Purges tombstones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// All who may have to hear of a tombstone. One who does not read here itself is not known to have.
    pub peers: Vec<NodeId>,
    /// Tombstones older than this are purged although somebody has not passed them.
    pub retention: Span,
    /// Tombstones to purge at most.
    pub rows_max: usize,
}

/// Recomputes hashes over a rotating part of the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrub {
    /// The row after which to begin; none for the first.
    pub after: Option<RowId>,
    /// Rows to look at.
    pub rows_max: usize,
}

/// The answer to a request, in the order of [`PeerRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerReply {
    /// To [`PeerRequest::Describe`].
    Described(Description),
    /// To [`PeerRequest::Feed`].
    Page(Page),
    /// The reader's position means nothing here any more: its tombstones are purged, or it is of another life. It
    /// has to compare everything (reconcile) and begin at the position that this tells.
    MustReconcile(Position),
    /// To [`PeerRequest::Merge`] and [`PeerRequest::ApplyIf`], one for each row in its order.
    Merged(Merged),
    /// To [`PeerRequest::FetchVersions`]: each row in its order, none where there is none.
    Versions(Vec<Option<RowVersion>>),
    /// To [`PeerRequest::Digests`], in the order of the request.
    Digests(Vec<Digest>),
    /// To [`PeerRequest::Entries`], ordered.
    Entries(Vec<DigestEntry>),
    /// To [`PeerRequest::Passed`]. With `ahead`, the peer has read what this database does not hold: it was set back.
    Noted {
        /// See above.
        ahead: bool,
    },
    /// To [`PeerRequest::Settle`].
    Settled,
    /// To [`PeerRequest::Drop`]: which.
    Dropped(Vec<RowId>),
    /// To [`PeerRequest::Purge`]: how many.
    Purged(u64),
    /// To [`PeerRequest::Scrub`].
    Scrubbed(Scrubbed),
    /// To [`PeerRequest::Renew`].
    Renewed,
    /// The database cannot be reached or did not answer in time. Whether it took effect is not known.
    Unavailable,
}

/// What a database holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Who it belongs to.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What is visible.
    pub snapshot: Snapshot,
    /// What it has of everybody's writes, its own included.
    pub frontier: Frontier,
    /// Where it stands in the feeds of peers.
    pub positions: BTreeMap<NodeId, Position>,
    /// Peers of whose rows some were refused ([`Outcome::is_refused`]), and not settled since. The positions go on, so that
    /// one wrong clock or damaged row holds nobody up, but nothing is claimed: the frontiers of these peers are not joined.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<NodeId>,
    /// Per table: what the table-info endpoint shows.
    pub tables: BTreeMap<TableName, TableDescription>,
    /// The digest of everything.
    pub digest: Digest,
    /// The database's clock.
    pub now: Timestamp,
}

impl Description {
    /// What a reader says that it has when it reads somebody's feed. Of what it read of feeds that it has not come to the
    /// end of it claims nothing, but who claims nothing at all is taken to hold nothing, so that no tombstone that was
    /// purged concerns it: then it says at least that it has its own writes.
    pub fn reads_with(&self) -> Frontier {
        let mut frontier = self.frontier.clone();
        if frontier.is_empty() && self.digest.rows > 0 {
            frontier.advance(&self.node, self.incarnation, &self.snapshot);
        }
        frontier
    }
}

/// One table of a description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDescription {
    /// Visible rows.
    pub rows: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Rows that are set aside.
    pub set_aside: u64,
    /// The greatest stamp that was ever stored, purged tombstones included.
    pub stamp: Stamp,
    /// Sum over the fingerprints of all versions; equal for equal content.
    pub sum: u64,
}

/// A page of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Rows, as groups that belong together since a transaction wrote them at once, here or elsewhere: [`Page::groups`] has
    /// their sizes.
    pub rows: Vec<RowVersion>,
    /// How many of the rows belong to each group, in order; the sum is the number of rows.
    pub groups: Vec<u32>,
    /// Rows that belong to these groups and are left out, as the reader has them or what beats them, each with the place of its
    /// group. Whoever passes the group on has to pass these on with it, or its readers see a part of a transaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<(u32, RowId)>,
    /// Where the reader stands with this page.
    pub position: Position,
    /// The sender's frontier, if this page ends the feed; covers what was left out, too.
    pub frontier: Option<Frontier>,
    /// Transactions beyond the bound of which this page brings a part.
    pub split: u32,
    /// Rows left out because the reader's frontier covers them.
    pub omitted: u64,
}

/// What became of merged rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// One for each row of the request.
    pub outcomes: Vec<Outcome>,
    /// Rows whose visibility changed by reference or natural key, others than those merged included.
    pub aside: Vec<AsideChange>,
    /// Whether the advance was stored.
    pub advanced: bool,
}

/// What became of one merged row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was absent and is stored.
    Inserted,
    /// It beat the stored version, or repaired it: then both are the same.
    Updated {
        /// What it beat.
        beaten: Version,
    },
    /// The stored version is the same.
    Equal,
    /// The stored version beats it.
    Beaten {
        /// By what.
        by: Version,
    },
    /// It lies further in the future than the bound.
    TooFarAhead {
        /// By how much it lies ahead of the database's clock.
        ahead: Span,
    },
    /// It was deleted here before and its tombstone is purged; whoever still has it has to drop it.
    Expired,
    /// It names no table, has the wrong columns or is larger than a row may be, or its hash is not that of its content.
    Unsound(Unsound),
    /// The stored version is not the one that the decision saw ([`PeerRequest::ApplyIf`]), or the policy of the
    /// table has to decide between the two ([`PeerRequest::Merge`]).
    Changed,
}

impl Outcome {
    /// Whether the row was not taken although it may be the greater version: nothing may be claimed of it. It comes again
    /// by comparison, see [`Description::refused`].
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::TooFarAhead { .. } | Self::Unsound(_))
    }
}

/// Why a received row cannot be a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "snake_case")]
pub enum Unsound {
    /// The table does not travel.
    #[error("its table does not travel; add it to the tables or take it off the sender's")]
    Table,
    /// Number of columns, or the key.
    #[error("its columns are not those of the table; give all peers the same schema")]
    Columns,
    /// What is kept beside it.
    #[error("what its policy keeps beside it has another form; give all peers the same schema")]
    Extra,
    /// The hash.
    #[error("its hash is not that of its content; it was altered on its way")]
    Hash,
    /// Too large.
    #[error("it, or its key, is larger than it may be")]
    Size,
}

/// A row became visible or invisible, or lives again, because of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideChange {
    /// The row.
    pub row: RowId,
    /// How it stands now.
    pub standing: Standing,
}

/// How a stored row stands: a pure function of the set of stored versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Applications see it.
    Visible,
    /// It was deleted and a child demands it: applications see what its deleter saw.
    Revived,
    /// It is deleted.
    Deleted,
    /// It goes with its parent.
    Cascaded {
        /// The parent.
        parent: RowId,
    },
    /// Its parent is not there, or is itself set aside.
    Orphaned {
        /// The parent.
        parent: RowId,
    },
    /// Another row with the same natural key has the greater version.
    NaturalKey {
        /// The other.
        winner: RowId,
    },
}

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Rows whose content no longer has the hash that they carry.
    pub corrupt: Vec<RowId>,
    /// Where to go on; none at the end.
    pub next: Option<RowId>,
    /// Rows looked at.
    pub rows: u64,
}

/// Where a row lies among the parts that digests are made of: the first eight bytes of SHA-256 over its table, a zero
/// byte and its key, the highest byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowHash(pub u64);

impl DigestPart {
    /// Everything.
    pub const ALL: Self = Self { level: 0, prefix: 0 };
    /// The deepest level: 16^5 leaves, about one row each for a million rows.
    pub const LEVEL_MAX: u8 = 5;

    /// The 16 parts below; none below a leaf.
    pub fn children(self) -> Option<[Self; 16]> {
        (self.level < Self::LEVEL_MAX).then(|| {
            std::array::from_fn(|nibble| Self {
                level: self.level + 1,
                prefix: self.prefix << 4 | nibble as u32,
            })
        })
    }

    /// The leaf of a row: the first bits of its [`RowHash`].
    pub fn leaf_of(row: RowHash) -> Self {
        Self { level: Self::LEVEL_MAX, prefix: (row.0 >> (64 - 4 * u32::from(Self::LEVEL_MAX))) as u32 }
    }

    /// The part of a level that this one lies in.
    pub fn ancestor(self, level: u8) -> Self {
        let level = level.min(self.level);
        Self { level, prefix: self.prefix >> (4 * u32::from(self.level - level)) }
    }
}

impl Digest {
    /// Adds one row's fingerprint.
    pub fn add(&mut self, fingerprint: u64) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(fingerprint);
    }

    /// Takes one row's fingerprint away.
    pub fn take(&mut self, fingerprint: u64) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(fingerprint);
    }
}

impl RowHash {
    /// That of a row.
    pub fn of(row: &RowId) -> Self {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::new()
            .chain_update(row.table.as_str())
            .chain_update([0])
            .chain_update(row.key.as_canonical())
            .finalize();
        Self(first_eight(&digest))
    }
}

impl DigestEntry {
    /// What a digest sums up: the first eight bytes of SHA-256 over the row's hash, the version's stamp
    /// (microseconds, counter) and content hash, numbers with the highest byte first, and the version's node. One
    /// block of SHA-256, but for long names.
    pub fn fingerprint(row: RowHash, version: &Version) -> u64 {
        use sha2::{Digest as _, Sha256};
        let ContentHash(hash) = version.hash;
        let mut fixed = [0; 36];
        fixed[..8].copy_from_slice(&row.0.to_be_bytes());
        fixed[8..16].copy_from_slice(&version.stamp.us.to_be_bytes());
        fixed[16..20].copy_from_slice(&version.stamp.counter.to_be_bytes());
        fixed[20..].copy_from_slice(&hash);
        first_eight(&Sha256::new().chain_update(fixed).chain_update(version.node.as_str()).finalize())
    }
}

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_wait_twice_as_long_each_time_and_less_than_all_together() {
        let of = |whole| (0..).map_while(move |attempt| lock_patience(whole, attempt)).collect::<Vec<_>>();
        assert_eq!(of(Span::from_secs(2)), [125, 250, 500, 1_000].map(Span::from_ms));
        assert_eq!(of(Span::ZERO), [Span::ZERO; 4], "none waits, and it ends");
    }
}
