//! What a peer's process writes down of what its database is about to commit, and of what its engine tells: the part of
//! a history that shows in no application.
//!
//! A line is in the file before the commit that it tells of, with the transaction's number, so whether that took place is
//! asked of the database in the end. A process that is killed did nothing that the file does not have.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sync_core::peer_sync::events::ReplicaEvent;
use sync_core::peer_sync::message::Refusal;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::{Advance, DigestEntry, Merged, Outcome, PeerReply, PeerRequest};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_store::{Decided, Witness};

use super::history::Number;
use super::now_us;
use super::places::peer_at;
use crate::history::peers::{MergeOutcome, MergedRow, PeerWhat};
use crate::peer_schema::node_id;

/// A line of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fact {
    /// When it was written, in microseconds since 1970.
    pub(super) wall_us: u64,
    /// Which of the peer's databases it is of: told by whoever reads the file.
    #[serde(skip)]
    pub(super) era: u32,
    /// The transaction; none for what took place whatever is committed.
    pub(super) xid: Option<u64>,
    /// The database's clock when the request began to work, in microseconds since 1970; 0 where it was not asked.
    #[serde(default)]
    pub(super) began_us: u64,
    /// What was visible when the request began; none where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) began_with: Option<Snapshot>,
    /// What is to be told. Of rows that were refused it is not said what the peer holds.
    pub(super) what: Vec<PeerWhat>,
    /// Rows that are to go, each if its version is still this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) drops: Vec<DigestEntry>,
}

impl Fact {
    /// The transaction among all of its peer.
    pub(super) fn number(&self) -> Option<Number> {
        Some((self.era, self.xid?))
    }
}

/// The file of one process.
#[derive(Debug)]
pub(super) struct FactFile {
    peer: u32,
    count: u32,
    file: Mutex<File>,
}

impl FactFile {
    /// Makes a file for this peer of so many.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn create(path: &Path, peer: u32, count: u32) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = File::options().append(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { peer, count, file: Mutex::new(file) })
    }

    /// Writes down what an engine tells, as far as a history has it.
    pub(super) fn tell(&self, wall_us: u64, event: &ReplicaEvent) {
        let what = self.told(event);
        if let Some(what) = what {
            self.write(&Fact { wall_us, what: vec![what], ..Fact::default() });
        }
    }

    /// A process that cannot write down what it does ends: it would be missing.
    fn write(&self, fact: &Fact) {
        let mut line = serde_json::to_vec(fact).unwrap_or_default();
        line.push(b'\n');
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
        if let Err(error) = written {
            let _ = writeln!(io::stderr().lock(), "what this peer does cannot be written down: {error}");
            std::process::exit(EXIT_UNWRITTEN);
        }
    }

    fn told(&self, event: &ReplicaEvent) -> Option<PeerWhat> {
        let node = self.peer;
        Some(match event {
            ReplicaEvent::Conflict { row, winner, loser, reason } => {
                let by = (*reason).into();
                let (row, winner, loser) = (row.clone(), winner.clone(), loser.clone());
                PeerWhat::Conflict { node, row, winner, loser, by }
            }
            ReplicaEvent::PeerJoined { peer, .. } => PeerWhat::Joined { node, peer: self.peer_of(peer)? },
            ReplicaEvent::PeerLeft { peer, .. } => PeerWhat::Left { node, peer: self.peer_of(peer)? },
            ReplicaEvent::PeerRefused { address, reason } => {
                PeerWhat::Refused { node, peer: peer_at(address)?, why: *reason }
            }
            ReplicaEvent::NodeIdTwice { address, .. } => {
                PeerWhat::Refused { node, peer: peer_at(address)?, why: Refusal::SameNode }
            }
            _ => return None,
        })
    }

    fn peer_of(&self, node: &NodeId) -> Option<u32> {
        (0..self.count).find(|peer| node_id(*peer, self.count) == *node)
    }

    fn merged(
        &self,
        from: &NodeId,
        rows: &[&RowVersion],
        merged: &Merged,
        decided: &Decided<'_>,
        (repair, advance): (bool, Option<&Advance>),
    ) -> Vec<PeerWhat> {
        let node = self.peer;
        let told: Vec<MergedRow> = rows
            .iter()
            .zip(&merged.outcomes)
            .filter_map(|(row, outcome)| {
                let came = || Some(row.version.clone());
                let (outcome, holds) = match outcome {
                    Outcome::Inserted => (MergeOutcome::Inserted, came()),
                    Outcome::Updated { .. } => (MergeOutcome::Updated, came()),
                    Outcome::Equal => (MergeOutcome::Equal, came()),
                    Outcome::Beaten { by } => (MergeOutcome::Beaten, Some(by.clone())),
                    Outcome::TooFarAhead { .. } => (MergeOutcome::TooFarAhead, None),
                    Outcome::Expired => (MergeOutcome::Expired, None),
                    Outcome::Unsound(_) => (MergeOutcome::Unsound, None),
                    // It is decided anew.
                    Outcome::Changed => return None,
                };
                Some(MergedRow {
                    row: row.row.clone(),
                    version: row.version.clone(),
                    deleted: row.image.is_tombstone(),
                    origin: row.origin.incarnation,
                    origin_xid: row.origin.xid,
                    outcome,
                    holds,
                    ahead_us: row.version.stamp.us.saturating_sub(decided.now.as_us()),
                })
            })
            .collect();
        let mut what = Vec::new();
        let from = self.peer_of(from);
        if !told.is_empty() {
            let reconcile = advance.is_none() && !repair;
            let from = from.unwrap_or(node);
            what.push(PeerWhat::Merged { node, from, xid: decided.xid, rows: told, repair, reconcile });
        }
        let aside = merged.aside.iter();
        what.extend(aside.map(|change| {
            let (row, standing) = (change.row.clone(), change.standing.clone());
            PeerWhat::Aside { node, row, standing }
        }));
        if let (Some(Advance { position, frontier }), true, Some(of)) = (advance, merged.advanced, from) {
            // Where the source sent it to read on after a comparison: with nothing else, for that is not the feed's.
            let reconciled = rows.is_empty() && frontier.is_empty();
            let (incarnation, snapshot) = (position.incarnation, position.snapshot.clone());
            what.push(PeerWhat::Advanced { node, of, incarnation, snapshot, reconciled });
        }
        what
    }
}

impl Witness for FactFile {
    fn decides(&self, decided: Decided<'_>) {
        let node = self.peer;
        let mut drops = Vec::new();
        let what = match (decided.request, decided.reply) {
            (PeerRequest::Merge(merge), PeerReply::Merged(merged)) => {
                let rows: Vec<&RowVersion> = merge.rows.iter().collect();
                self.merged(&merge.from, &rows, merged, &decided, (merge.repair, merge.advance.as_ref()))
            }
            (PeerRequest::ApplyIf(apply), PeerReply::Merged(merged)) => {
                let rows: Vec<&RowVersion> = apply.rows.iter().map(|(row, _)| row).collect();
                self.merged(&apply.from, &rows, merged, &decided, (false, apply.advance.as_ref()))
            }
            (PeerRequest::Purge(_), PeerReply::Purged(rows)) if *rows > 0 => {
                vec![PeerWhat::Purged { node, rows: *rows }]
            }
            (PeerRequest::Drop(request), PeerReply::Dropped(rows)) if !rows.is_empty() => {
                let gone: BTreeSet<&RowId> = rows.iter().collect();
                drops.extend(request.entries.iter().filter(|entry| gone.contains(&entry.row)).cloned());
                Vec::new()
            }
            (PeerRequest::Renew(incarnation), PeerReply::Renewed) => {
                vec![PeerWhat::Renewed { node, incarnation: *incarnation }]
            }
            _ => return,
        };
        if !what.is_empty() || !drops.is_empty() {
            let (xid, began_us) = (decided.xid, decided.now.as_us());
            let began_with = Some(decided.began_with.clone());
            self.write(&Fact { era: 0, wall_us: now_us(), xid, began_us, began_with, what, drops });
        }
    }
}

/// Reads what a process wrote about its peer's database of that number. The last line of one that was killed may be torn: what it was to tell never happened.
///
/// # Errors
/// When the file cannot be read, or a line in its middle is none.
pub(super) fn read(path: &Path, era: u32) -> io::Result<Vec<Fact>> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut torn = None;
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        if let Some(error) = torn {
            return Err(error);
        }
        match serde_json::from_slice(&line?) {
            Ok(fact) => facts.push(Fact { era, ..fact }),
            Err(error) => torn = Some(io::Error::other(error)),
        }
    }
    Ok(facts)
}

const EXIT_UNWRITTEN: i32 = 5;

#[cfg(test)]
mod tests {
    use sync_core::id::Incarnation;
    use sync_core::peer_sync::content::Content;
    use sync_core::peer_sync::row::{Extra, Image, Origin, RowId};
    use sync_core::peer_sync::schema::Table;
    use sync_core::peer_sync::store::MergeRows;
    use sync_core::peer_sync::version::{Stamp, Version};
    use sync_core::time::{Span, Timestamp};

    use super::*;

    fn row(us: u64) -> RowVersion {
        let image = Image::Row(Content::new([Some("1"), Some("text")]));
        let table = Table::new("notes", &["id", "text"], &["id"]).unwrap().name;
        RowVersion {
            row: RowId { table, key: Content::new([Some("1")]) },
            version: Version { stamp: Stamp { us, counter: 0 }, node: node_id(1, 3), hash: image.hash() },
            image,
            origin: Origin { incarnation: Incarnation(7), xid: 3 },
            extra: Extra::None,
        }
    }

    #[test]
    fn what_is_about_to_be_committed_can_be_read_whatever_becomes_of_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts");
        let file = FactFile::create(&path, 2, 3).unwrap();
        let rows = vec![row(5), row(900)];
        let merge = MergeRows {
            from: node_id(0, 3),
            rows,
            groups: Vec::new(),
            known: Vec::new(),
            advance: None,
            repair: false,
        };
        let ahead = Outcome::TooFarAhead { ahead: Span::from_us(890) };
        let merged = Merged { outcomes: vec![Outcome::Inserted, ahead], ..Merged::default() };
        let (request, reply) = (PeerRequest::Merge(merge), PeerReply::Merged(merged));
        file.decides(Decided {
            request: &request,
            reply: &reply,
            xid: Some(77),
            now: Timestamp::from_us(10),
            began_with: &Snapshot::new(77, []),
            incarnation: Incarnation(9),
        });
        let torn = b"{\"wall_us\":1,";
        File::options().append(true).open(&path).unwrap().write_all(torn).unwrap();
        let facts = read(&path, 0).unwrap();
        assert_eq!((facts.len(), facts[0].xid), (1, Some(77)));
        let PeerWhat::Merged { node: 2, from: 0, rows, reconcile: true, .. } = &facts[0].what[0] else {
            panic!("{facts:?}")
        };
        assert_eq!(
            (rows[0].outcome, rows[0].holds.as_ref()),
            (MergeOutcome::Inserted, Some(&rows[0].version))
        );
        assert_eq!(
            (rows[1].outcome, rows[1].holds.as_ref(), rows[1].ahead_us),
            (MergeOutcome::TooFarAhead, None, 890)
        );
        File::options().append(true).open(&path).unwrap().write_all(b"\n{}\n").unwrap();
        assert!(read(&path, 0).is_err(), "a line in the middle");
    }
}
