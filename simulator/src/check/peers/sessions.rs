//! What each session of an application last saw, or wrote, of each row: what it must not fall behind.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use sync_core::peer_sync::version::Version;

use super::PeerTerms;
use super::held::{Names, RowNumber, Rule};
use crate::history::peers::{PeerWhat, Seen};

pub(super) struct Sessions {
    pub(super) names: Names,
    /// By peer and session: of each row the version, and whether it is a tombstone, or may be one.
    last: BTreeMap<(u32, u32), FxHashMap<RowNumber, Last>>,
    purging: BTreeSet<u32>,
    /// How often a disk was set back, after which sessions begin anew.
    pub(super) set_back: u64,
}

struct Last {
    version: Version,
    visible: bool,
}

impl Sessions {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        let names = Names::new(terms);
        Self { names, last: BTreeMap::new(), purging: BTreeSet::new(), set_back: 0 }
    }

    /// Keeps what the session saw or wrote of a row.
    pub(super) fn keep(&mut self, session: (u32, u32), row: RowNumber, version: Version, visible: bool) {
        self.last.entry(session).or_default().insert(row, Last { version, visible });
    }

    /// The version which the session had and that `seen` falls behind, if it does.
    pub(super) fn behind(&mut self, session: (u32, u32), seen: &Seen) -> Option<Version> {
        let row = self.names.number(&seen.row);
        let last = self.last.get(&session)?.get(&row)?;
        let purging = self.purging.contains(&session.0);
        let behind = match &seen.version {
            // A purged tombstone no longer beats a write that comes and that the deleter did not know.
            Some(_) if !last.visible && purging => false,
            Some(version) => self.names.rule(row) == Rule::LastWriter && *version < last.version,
            None => last.visible || !purging,
        };
        behind.then(|| last.version.clone())
    }

    /// Whether the session had seen or written the row.
    pub(super) fn knows(&mut self, session: (u32, u32), seen: &Seen) -> bool {
        let row = self.names.number(&seen.row);
        self.last.get(&session).is_some_and(|rows| rows.contains_key(&row))
    }

    /// Takes what makes peers forget.
    pub(super) fn observe(&mut self, what: &PeerWhat) {
        match what {
            PeerWhat::Purged { node, .. } => {
                self.purging.insert(*node);
            }
            // Others had deleted them: to the session they are deleted now.
            PeerWhat::Dropped { node, rows } => {
                for row in rows {
                    let row = self.names.number(row);
                    self.last.range_mut((*node, 0)..=(*node, u32::MAX)).for_each(|(_, last)| {
                        last.remove(&row);
                    });
                }
            }
            PeerWhat::SetBack { node, .. } => {
                self.set_back += 1;
                self.last.retain(|(peer, _), _| peer != node);
            }
            // A living row that a peer beat by a tombstone may be purged before the session looks again.
            PeerWhat::Merged { node, rows, .. } => {
                let deleted =
                    rows.iter().filter(|row| row.deleted && row.holds.as_ref() == Some(&row.version));
                for merged in deleted {
                    self.deleted(*node, &merged.row);
                }
            }
            PeerWhat::Committed { op, writes, .. } => {
                for write in writes.iter().filter(|write| write.deleted) {
                    self.deleted(op.host, &write.row);
                }
            }
            _ => {}
        }
    }

    fn deleted(&mut self, peer: u32, row: &sync_core::peer_sync::row::RowId) {
        let row = self.names.number(row);
        for (_, last) in self.last.range_mut((peer, 0)..=(peer, u32::MAX)) {
            if let Some(last) = last.get_mut(&row) {
                last.visible = false;
            }
        }
    }
}
