//! What is done now and then, with nobody in particular: announcements, purges, scrubs, metrics.

use std::collections::{BTreeMap, BTreeSet};

use super::{Pending, Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::limits;
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::settings::ReplicaSettings;
use crate::peer_sync::store::{Merged, Outcome, PeerReply, PeerRequest, Purge, Scrub};
use crate::peer_sync::version::NodeId;
use crate::time::{Instant, Now};

/// When what is due.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    announce_at: Option<Instant>,
    purge_at: Option<Instant>,
    scrub_at: Option<Instant>,
    metrics_at: Option<Instant>,
    /// Where the next scrub begins.
    scrub_after: Option<RowId>,
    /// Rows that were found corrupt, and the peers that had no sound copy.
    corrupt: BTreeMap<RowId, BTreeSet<NodeId>>,
}

impl Upkeep {
    /// From now on at these intervals.
    pub(super) fn begin(&mut self, now: Instant, settings: &ReplicaSettings) {
        self.announce_at = Some(now);
        self.purge_at = Some(now + settings.purge_interval);
        self.scrub_at = Some(now + settings.scrub_interval);
        self.metrics_at = Some(now + settings.sync_interval);
    }

    /// An announcement is due.
    pub(super) fn announce_now(&mut self, now: Instant) {
        self.announce_at = self.announce_at.map(|_| now);
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        [self.announce_at, self.purge_at, self.scrub_at, self.metrics_at].into_iter().flatten().min()
    }

    /// Corrupt rows that a peer has not been asked for.
    pub(super) fn to_repair(&self, peer: &NodeId) -> BTreeSet<RowId> {
        let open = self.corrupt.iter().filter(|(_, asked)| !asked.contains(peer));
        open.map(|(row, _)| row.clone()).take(limits::REPAIR_ROWS_MAX).collect()
    }
}

/// Whether it is due; it then is again after the interval.
fn due(at: &mut Option<Instant>, now: Instant, interval: crate::time::Span) -> bool {
    let due = at.is_some_and(|at| at <= now);
    if due {
        *at = Some(now + interval);
    }
    due
}

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// Does what is due.
    pub(super) fn keep_up(&mut self, now: Now, fx: &mut Vec<ReplicaEffect>) {
        let at = now.monotonic;
        if due(&mut self.upkeep.announce_at, at, self.settings.sync_interval) && self.settings.auto_discovery
        {
            fx.push(ReplicaEffect::Announce { announcement: self.announcement(now) });
        }
        if due(&mut self.upkeep.metrics_at, at, self.settings.sync_interval) {
            fx.push(ReplicaEffect::Event(ReplicaEvent::Metrics(self.statistics)));
        }
        if due(&mut self.upkeep.purge_at, at, self.settings.purge_interval) {
            // The own name never passes: where nobody else is known, tombstones wait for the retention.
            let nobody = self.known.is_empty().then(|| self.node.clone());
            // Who writes somewhere may be far off, and one of whom only others read has not passed what it has not heard of.
            let writers = self.frontier.iter().map(|(node, ..)| node).filter(|node| **node != self.node);
            let peers: BTreeSet<NodeId> = self.known.iter().chain(writers).cloned().chain(nobody).collect();
            let purge = Purge {
                peers: peers.into_iter().collect(),
                retention: self.settings.retention,
                rows_max: self.settings.purge_rows_max,
            };
            if let Some(purge) = self.policy.purges(purge) {
                self.store(PeerRequest::Purge(purge), Pending::Purge, fx);
            }
        }
        if due(&mut self.upkeep.scrub_at, at, self.settings.scrub_interval) && self.policy.scrubs() {
            let scrub =
                Scrub { after: self.upkeep.scrub_after.clone(), rows_max: self.settings.scrub_rows_max };
            self.store(PeerRequest::Scrub(scrub), Pending::Scrub, fx);
        }
    }

    pub(super) fn purged(&mut self, reply: PeerReply, fx: &mut Vec<ReplicaEffect>) {
        if let PeerReply::Purged(count) = reply
            && count > 0
        {
            self.statistics.tombstones_purged += count;
            fx.push(ReplicaEffect::Event(ReplicaEvent::TombstonesPurged { count }));
        }
    }

    /// What a scrub found is asked of all peers, one after another.
    pub(super) fn scrubbed(&mut self, now: Now, reply: PeerReply, fx: &mut Vec<ReplicaEffect>) {
        let PeerReply::Scrubbed(found) = reply else { return };
        self.upkeep.scrub_after = found.next;
        self.statistics.rows_scrubbed += found.rows;
        let mut new = false;
        for row in found.corrupt {
            if self.upkeep.corrupt.len() >= limits::CORRUPT_ROWS_MAX
                && !self.upkeep.corrupt.contains_key(&row)
            {
                // The next scrub finds the rest.
                continue;
            }
            new = true;
            self.statistics.rows_corrupt += 1;
            self.upkeep.corrupt.insert(row.clone(), BTreeSet::new());
            fx.push(ReplicaEffect::Event(ReplicaEvent::RowCorrupt { row }));
        }
        if new {
            for state in self.peers.values_mut() {
                state.want(now.monotonic, None);
            }
        }
    }

    /// What became of copies that a peer gave for corrupt rows.
    pub(super) fn mended(
        &mut self,
        peer: &NodeId,
        rows: &[RowVersion],
        merged: &Merged,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        for row in self.upkeep.to_repair(peer) {
            if let Some(asked) = self.upkeep.corrupt.get_mut(&row) {
                asked.insert(peer.clone());
            }
        }
        for (row, outcome) in rows.iter().zip(&merged.outcomes) {
            let mended = matches!(outcome, Outcome::Equal | Outcome::Inserted | Outcome::Updated { .. });
            if mended && self.upkeep.corrupt.remove(&row.row).is_some() {
                let (row, peer) = (row.row.clone(), peer.clone());
                fx.push(ReplicaEffect::Event(ReplicaEvent::RowRepaired { row, peer }));
            }
        }
    }
}
