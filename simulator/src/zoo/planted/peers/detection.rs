//! Changes that are not found, because of how positions in a feed are kept.

use std::collections::BTreeMap;

use sync_core::peer_sync::message::PeerAnswer;
use sync_core::peer_sync::replica::ReplicaPolicy;
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{Page, PeerReply, PeerRequest};
use sync_core::peer_sync::version::{NodeId, Stamp};
use sync_core::time::Timestamp;

use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    Some(match number {
        13 => Box::new(GreatestStampRead { relayed: false, marks: BTreeMap::new() }),
        14 => Box::new(EndOfRound::default()),
        15 => Box::new(MovesAfterFailure),
        16 => Box::new(GreatestStampRead { relayed: true, marks: BTreeMap::new() }),
        17 => Box::new(StrictlyGreater::default()),
        18 => Box::new(TwoSnapshots),
        _ => return None,
    })
}

/// How far a reader has come, by reader and source.
type Marks<T> = BTreeMap<(u32, NodeId), T>;

/// Takes rows out of a page.
pub(super) fn retain(page: &mut Page, keep: impl Fn(&RowVersion) -> bool) {
    let mut rows = std::mem::take(&mut page.rows).into_iter();
    let mut known = std::mem::take(&mut page.known).into_iter().peekable();
    for (group, size) in (0..).zip(std::mem::take(&mut page.groups)) {
        let before = page.rows.len();
        page.rows.extend(rows.by_ref().take(size as usize).filter(&keep));
        let kept = (page.rows.len() - before) as u32;
        let place = page.groups.len() as u32;
        page.groups.extend((kept > 0).then_some(kept));
        while let Some((_, row)) = known.next_if(|(of, _)| *of == group) {
            page.known.extend((kept > 0).then_some((place, row)));
        }
    }
}

/// The watermark of a reader is the greatest stamp that it has read; what comes later with a smaller one is skipped:
/// late commits of the source (zoo 13), or rows that were relayed and keep their writer's stamp (zoo 16).
struct GreatestStampRead {
    /// Whether rows of others than the source are concerned, or its own.
    relayed: bool,
    marks: Marks<Stamp>,
}

impl PeerVariant for GreatestStampRead {
    type Policy = AnyPolicy;

    fn answers(&mut self, _from: u32, to: u32, store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        let PeerAnswer::Page(page) = answer else { return };
        let mark = self.marks.entry((to, store.node().clone())).or_default();
        retain(page, |row| (row.version.node != *store.node()) != self.relayed || row.version.stamp > *mark);
        *mark = page.rows.iter().map(|row| row.version.stamp).fold(*mark, Stamp::max);
    }
}

/// The watermark of a reader is the moment at which its round ended: what its source wrote while the round was under way
/// is skipped (zoo 14).
#[derive(Default)]
struct EndOfRound {
    marks: Marks<u64>,
}

impl PeerVariant for EndOfRound {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        if let PeerRequest::Merge(merge) = &request
            && merge.advance.is_some()
        {
            self.marks.insert((peer, merge.from.clone()), now.as_us());
        }
        store.execute(now, request)
    }

    fn answers(&mut self, _from: u32, to: u32, store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        let mark = self.marks.get(&(to, store.node().clone())).copied().unwrap_or_default();
        if let PeerAnswer::Page(page) = answer {
            retain(page, |row| row.version.node != *store.node() || row.version.stamp.us > mark);
        }
    }
}

/// The position moves although the rows could not be stored (zoo 15).
struct MovesAfterFailure;

impl ReplicaPolicy for MovesAfterFailure {
    fn advances_after_failure(&self) -> bool {
        true
    }
}

impl PeerVariant for MovesAfterFailure {
    type Policy = AnyPolicy;

    fn policy(&self, _peer: u32) -> AnyPolicy {
        Box::new(Self)
    }
}

/// The next page begins after the last microsecond of the one before: what has the same is skipped (zoo 17).
#[derive(Default)]
struct StrictlyGreater {
    /// Where a page ended that was not the last.
    ends: Marks<Option<u64>>,
}

impl PeerVariant for StrictlyGreater {
    type Policy = AnyPolicy;

    fn answers(&mut self, _from: u32, to: u32, store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        let PeerAnswer::Page(page) = answer else { return };
        let end = self.ends.entry((to, store.node().clone())).or_default();
        retain(page, |row| Some(row.version.stamp.us) != *end);
        let last = page.rows.last().map(|row| row.version.stamp.us);
        *end = last.or(*end).filter(|_| page.frontier.is_none());
    }
}

/// The rows of a page are of one snapshot, its position of another that was taken afterwards (zoo 18).
struct TwoSnapshots;

impl PeerVariant for TwoSnapshots {
    type Policy = AnyPolicy;

    fn answers(&mut self, _from: u32, _to: u32, store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        if let PeerAnswer::Page(page) = answer
            && let Some(frontier) = &mut page.frontier
        {
            page.position.snapshot = page.position.snapshot.union(&store.snapshot());
            frontier.join(&store.frontier());
        }
    }
}
