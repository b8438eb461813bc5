//! Comparing two databases by digests, and giving each what it lacks; at a cost that grows with the difference.
//!
//! A state machine of its own, without an engine around it. It says what to do next ([`Action`]); what comes of it is
//! handed back. The digests of the whole come first, then those of the sixteen parts of each part that differs, and
//! so on, until few rows are left of a part, which are compared one by one. Parts are taken from the deepest level
//! first, so that what waits stays small.
//!
//! Rows are exchanged in the version that was compared: one that changed since comes by the feed, with the
//! transaction that changed it. Rows of one transaction go in one merge as far as the bound on transactions allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::events::RoundFailure;
use super::message::{PeerAnswer, PeerQuestion};
use super::row::{RowId, RowVersion};
use super::schema::{Policy, Schema};
use super::store::{Digest, DigestEntry, DigestPart, DropRows, Outcome, PeerReply, PeerRequest};
use super::version::{NodeId, Version};
use crate::limits;

/// A comparison under way.
#[derive(Debug)]
pub struct Reconcile {
    schema: Arc<Schema>,
    pushes: bool,
    drops: bool,
    readers: Vec<NodeId>,
    /// Parts whose digests are to be compared; the deepest last.
    parts: Vec<DigestPart>,
    /// Parts whose rows are to be compared, with the greater number of rows of both sides.
    leaves: Vec<(DigestPart, u64)>,
    fetch: Transfer,
    push: Transfer,
    expired: Vec<DigestEntry>,
    step: Step,
    found: Found,
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Questions asked.
    pub questions: u64,
    /// Rows fetched.
    pub fetched: u64,
    /// Rows pushed.
    pub pushed: u64,
    /// Rows dropped here, since the peer knows that they were deleted.
    pub dropped: u64,
    /// Merges of rows that were parts of one transaction, or may have been.
    pub merges: u64,
}

/// What a comparison wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have the own database do this; the reply goes to [`Reconcile::own`].
    Own(PeerRequest),
    /// Ask the peer; the answer goes to [`Reconcile::theirs`].
    Ask(PeerQuestion),
    /// Merge these rows of the peer, then call [`Reconcile::merged`].
    Merge(Vec<RowVersion>),
    /// That is all.
    Done,
}

/// Rows on their way from one side to the other.
#[derive(Debug, Default)]
struct Transfer {
    /// What is to be read, and in which version; none for whichever.
    wanted: Vec<(RowId, Option<Version>)>,
    /// What has been read.
    rows: Vec<RowVersion>,
    bytes: usize,
    /// The order of `wanted` is that of transactions, and nothing is added to it.
    sorted: bool,
}

#[derive(Debug)]
enum Step {
    Idle,
    Digests { parts: Vec<DigestPart>, mine: Option<Vec<Digest>>, theirs: Option<Vec<Digest>> },
    Entries { mine: Option<Vec<DigestEntry>>, theirs: Option<Vec<DigestEntry>> },
    Fetch(Vec<(RowId, Option<Version>)>),
    Merge,
    Read(Vec<(RowId, Option<Version>)>),
    Push(Vec<DigestEntry>),
    Drop,
}

impl Reconcile {
    /// A comparison of everything. `pushes` and `drops` say whether the peer is given what it lacks, and whether rows
    /// are dropped here that it knows to have been deleted; `readers` are those who read here, see [`DropRows`].
    pub fn new(schema: Arc<Schema>, pushes: bool, drops: bool, readers: Vec<NodeId>) -> Self {
        Self {
            schema,
            pushes,
            drops,
            readers,
            parts: vec![DigestPart::ALL],
            leaves: Vec::new(),
            fetch: Transfer::default(),
            push: Transfer::default(),
            expired: Vec::new(),
            step: Step::Idle,
            found: Found::default(),
        }
    }

    /// What it came to so far.
    pub fn found(&self) -> Found {
        self.found
    }

    /// The next things to do; empty while something is under way.
    pub fn begin(&mut self) -> Vec<Action> {
        if !matches!(self.step, Step::Idle) {
            return Vec::new();
        }
        let actions = self.choose();
        let asked = actions.iter().filter(|action| matches!(action, Action::Ask(_))).count();
        self.found.questions += asked as u64;
        actions
    }

    fn choose(&mut self) -> Vec<Action> {
        if !self.expired.is_empty() {
            self.step = Step::Drop;
            let (entries, readers) = (std::mem::take(&mut self.expired), self.readers.clone());
            return vec![Action::Own(PeerRequest::Drop(DropRows { entries, readers }))];
        }
        // What was found to differ is exchanged once there is nothing left to compare, or enough of it.
        let found = self.fetch.wanted.len().max(self.push.wanted.len());
        let compared = self.parts.is_empty() && self.leaves.is_empty();
        if compared || found >= limits::RECONCILE_ROWS_MAX || self.fetch.sorted || self.push.sorted {
            if let Some(rows) = self.fetch.complete() {
                self.step = Step::Merge;
                self.found.merges += 1;
                self.found.fetched += rows.len() as u64;
                return vec![Action::Merge(rows)];
            }
            if let Some(wanted) = self.fetch.chunk() {
                let ids = wanted.iter().map(|(row, _)| row.clone()).collect();
                self.step = Step::Fetch(wanted);
                return vec![Action::Ask(PeerQuestion::Rows(ids))];
            }
            if let Some(rows) = self.push.complete() {
                let entry =
                    |row: &RowVersion| DigestEntry { row: row.row.clone(), version: row.version.clone() };
                self.step = Step::Push(rows.iter().map(entry).collect());
                self.found.pushed += rows.len() as u64;
                return vec![Action::Ask(PeerQuestion::Push(rows))];
            }
            if let Some(wanted) = self.push.chunk() {
                let ids = wanted.iter().map(|(row, _)| row.clone()).collect();
                self.step = Step::Read(wanted);
                return vec![Action::Own(PeerRequest::FetchVersions(ids))];
            }
        }
        let few: u64 = self.leaves.iter().map(|(_, rows)| *rows).sum();
        let enough =
            few >= limits::DIGEST_ENTRIES_MAX as u64 || self.leaves.len() >= limits::DIGEST_PARTS_MAX;
        if !self.leaves.is_empty() && (self.parts.is_empty() || enough) {
            let mut rows = 0;
            let mut parts = Vec::new();
            while let Some((part, more)) = self.leaves.last().copied() {
                let full = rows + more > limits::DIGEST_ENTRIES_MAX as u64
                    || parts.len() == limits::DIGEST_PARTS_MAX;
                if full && !parts.is_empty() {
                    break;
                }
                rows += more;
                parts.push(part);
                self.leaves.pop();
            }
            self.step = Step::Entries { mine: None, theirs: None };
            return vec![
                Action::Own(PeerRequest::Entries(parts.clone())),
                Action::Ask(PeerQuestion::Entries(parts)),
            ];
        }
        if !self.parts.is_empty() {
            let from = self.parts.len().saturating_sub(limits::DIGEST_PARTS_MAX);
            let parts = self.parts.split_off(from);
            self.step = Step::Digests { parts: parts.clone(), mine: None, theirs: None };
            return vec![
                Action::Own(PeerRequest::Digests(parts.clone())),
                Action::Ask(PeerQuestion::Digests(parts)),
            ];
        }
        vec![Action::Done]
    }

    /// What the own database replied.
    ///
    /// # Errors
    /// It did not do what it was asked.
    pub fn own(&mut self, reply: PeerReply) -> Result<(), RoundFailure> {
        match (&mut self.step, reply) {
            (Step::Digests { mine, .. }, PeerReply::Digests(digests)) => *mine = Some(digests),
            (Step::Entries { mine, .. }, PeerReply::Entries(entries)) => *mine = Some(entries),
            (Step::Read(wanted), PeerReply::Versions(versions)) => {
                let wanted = std::mem::take(wanted);
                self.push.take(wanted, versions.into_iter().flatten());
                self.step = Step::Idle;
            }
            (Step::Drop, PeerReply::Dropped(rows)) => {
                self.found.dropped += rows.len() as u64;
                self.step = Step::Idle;
            }
            _ => return Err(RoundFailure::Store),
        }
        self.compared()
    }

    /// What the peer answered.
    ///
    /// # Errors
    /// That is no answer to the question.
    pub fn theirs(&mut self, answer: PeerAnswer) -> Result<(), RoundFailure> {
        match (&mut self.step, answer) {
            (Step::Digests { theirs, .. }, PeerAnswer::Digests(digests)) => *theirs = Some(digests),
            (Step::Entries { theirs, .. }, PeerAnswer::Entries(entries)) => *theirs = Some(entries),
            (Step::Fetch(wanted), PeerAnswer::Rows(rows)) => {
                let mut wanted = std::mem::take(wanted);
                // An answer ends early where it would grow too large: what follows its last row is asked again.
                let last = rows.last().and_then(|last| wanted.iter().rposition(|(row, _)| *row == last.row));
                if let Some(last) = last {
                    let rest = wanted.split_off(last + 1);
                    self.fetch.wanted.extend(rest.into_iter().rev());
                }
                // What is not there any more was purged meanwhile: whether that holds for what is here, too, the peer says.
                let found: BTreeSet<&RowId> = rows.iter().map(|row| &row.row).collect();
                let gone: Vec<RowId> =
                    wanted.iter().map(|(row, _)| row).filter(|row| !found.contains(row)).cloned().collect();
                self.push.sorted &= gone.is_empty();
                gone.into_iter().for_each(|row| self.give(row, None));
                self.fetch.take(wanted, rows);
                self.step = Step::Idle;
            }
            (Step::Push(sent), PeerAnswer::Pushed(outcomes)) if outcomes.len() == sent.len() => {
                let sent = std::mem::take(sent).into_iter().zip(outcomes);
                if self.drops {
                    let expired = sent.filter(|(_, outcome)| *outcome == Outcome::Expired);
                    self.expired.extend(expired.map(|(entry, _)| entry));
                }
                self.step = Step::Idle;
            }
            (_, PeerAnswer::Busy) => return Err(RoundFailure::Busy),
            (_, PeerAnswer::Refused(_)) => return Err(RoundFailure::Refused),
            _ => return Err(RoundFailure::Nonsense),
        }
        self.compared()
    }

    /// The rows of [`Action::Merge`] are merged.
    pub fn merged(&mut self) {
        if matches!(self.step, Step::Merge) {
            self.step = Step::Idle;
        }
    }

    /// Goes on once both sides have told what they hold.
    fn compared(&mut self) -> Result<(), RoundFailure> {
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Digests { parts, mine: Some(mine), theirs: Some(theirs) } => {
                if mine.len() != parts.len() {
                    return Err(RoundFailure::Store);
                }
                if theirs.len() != parts.len() {
                    return Err(RoundFailure::Nonsense);
                }
                for ((part, mine), theirs) in parts.into_iter().zip(mine).zip(theirs) {
                    if mine == theirs {
                        continue;
                    }
                    let rows = mine.rows.max(theirs.rows);
                    match part.children() {
                        Some(children) if rows > limits::DIGEST_ROWS_FEW => self.parts.extend(children),
                        _ => self.leaves.push((part, rows)),
                    }
                }
            }
            Step::Entries { mine: Some(mine), theirs: Some(theirs) } => self.differ(mine, theirs),
            other => self.step = other,
        }
        Ok(())
    }

    fn differ(&mut self, mine: Vec<DigestEntry>, theirs: Vec<DigestEntry>) {
        let mut mine: BTreeMap<RowId, Version> = mine.into_iter().map(|e| (e.row, e.version)).collect();
        for DigestEntry { row, version } in theirs {
            match mine.remove(&row) {
                Some(stored) if stored == version => {}
                Some(_) if !self.by_version(&row) => {
                    // Which one wins cannot be told from the versions: both sides merge both.
                    self.fetch.wanted.push((row.clone(), Some(version)));
                    self.give(row, None);
                }
                Some(stored) if stored > version => self.give(row, Some(stored)),
                _ => self.fetch.wanted.push((row, Some(version))),
            }
        }
        for (row, version) in mine {
            self.give(row, Some(version));
        }
        let Self { fetch, push, .. } = self;
        for transfer in [fetch, push] {
            transfer.sorted = false;
        }
    }

    fn give(&mut self, row: RowId, version: Option<Version>) {
        if self.pushes {
            self.push.wanted.push((row, version));
        }
    }

    /// Whether the greater version wins.
    fn by_version(&self, row: &RowId) -> bool {
        self.schema.table(&row.table).is_none_or(|table| table.policy == Policy::LastWriterByRow)
    }
}

impl Transfer {
    /// The next rows to read, if rows may be added to those that have been read.
    fn chunk(&mut self) -> Option<Vec<(RowId, Option<Version>)>> {
        if self.wanted.is_empty() {
            self.sorted = false;
            return None;
        }
        if !self.sorted {
            // Taken from the end: the oldest first. Stamps of one node's transaction lie side by side.
            let by_write = |(row, version): &(RowId, Option<Version>)| {
                let write = version.as_ref().map(|version| (version.node.clone(), version.stamp));
                std::cmp::Reverse((write, row.clone()))
            };
            self.wanted.sort_by_cached_key(by_write);
            self.sorted = true;
        }
        let from = self.wanted.len().saturating_sub(limits::REPAIR_ROWS_MAX);
        let mut chunk = self.wanted.split_off(from);
        chunk.reverse();
        Some(chunk)
    }

    /// Takes what was read: rows in the version that was wanted.
    fn take(&mut self, wanted: Vec<(RowId, Option<Version>)>, rows: impl IntoIterator<Item = RowVersion>) {
        let wanted: BTreeMap<RowId, Option<Version>> = wanted.into_iter().collect();
        for row in rows {
            let as_wanted = wanted
                .get(&row.row)
                .is_some_and(|version| version.as_ref().is_none_or(|version| *version == row.version));
            if as_wanted {
                self.bytes += row.bytes();
                self.rows.push(row);
            }
        }
    }

    /// Rows to hand over: all that were wanted, or as many as one transaction may have, cut between two of the
    /// source's transactions where there is such a place.
    fn complete(&mut self) -> Option<Vec<RowVersion>> {
        let full = self.rows.len() >= limits::TRANSACTION_ROWS_MAX || self.bytes >= limits::PAGE_BYTES_MAX;
        if self.rows.is_empty() || (!self.wanted.is_empty() && !full) {
            return None;
        }
        let mut rest = Vec::new();
        if let (false, Some(last)) = (self.wanted.is_empty(), self.rows.last()) {
            let write = |row: &RowVersion| (row.version.node.clone(), row.origin);
            let last = write(last);
            let cut = self.rows.iter().rposition(|row| write(row) != last).map_or(0, |place| place + 1);
            if cut > 0 {
                rest = self.rows.split_off(cut);
            }
        }
        self.bytes = rest.iter().map(RowVersion::bytes).sum();
        Some(std::mem::replace(&mut self.rows, rest))
    }
}

#[cfg(test)]
mod tests;
