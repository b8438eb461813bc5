//! Clocks and stamps that are kept, bounded, read or sent wrongly.

use std::collections::BTreeMap;

use sync_core::peer_sync::clock::HybridClock;
use sync_core::peer_sync::message::PeerAnswer;
use sync_core::peer_sync::store::memory::{MemoryPeerStore, TransactionId, Write, WriteError};
use sync_core::peer_sync::store::{PeerReply, PeerRequest};
use sync_core::peer_sync::version::{Stamp, Version};
use sync_core::time::Timestamp;

use super::order::merge_by;
use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    Some(match number {
        5 => Box::new(AbsorbsWrongly { absorbs: without_counter }),
        6 => Box::new(AbsorbsWrongly { absorbs: not_at_all }),
        7 => Box::new(WrongBound { bound: |_| u64::MAX }),
        // Milliseconds are taken for microseconds.
        8 => Box::new(WrongBound { bound: |configured| configured / 1_000 }),
        9 => Box::new(FollowsItsClock),
        10 => Box::new(ComparesWallClocks::default()),
        11 => Box::new(TruncatesStamps),
        12 => Box::new(OfAnotherZone),
        _ => return None,
    })
}

/// A clock that takes in the stamps of what was read by a rule of its own (zoo 5, 6).
struct AbsorbsWrongly {
    /// What the greatest known stamp becomes when another is received.
    absorbs: fn(Stamp, Stamp) -> Stamp,
}

fn without_counter(known: Stamp, received: Stamp) -> Stamp {
    known.max(Stamp { counter: 0, ..received })
}

fn not_at_all(known: Stamp, _: Stamp) -> Stamp {
    known
}

/// The stamps that a request brings.
fn stamps(request: &PeerRequest) -> Vec<Stamp> {
    match request {
        PeerRequest::Merge(merge) => merge.rows.iter().map(|row| row.version.stamp).collect(),
        PeerRequest::ApplyIf(apply) => apply.rows.iter().map(|(row, _)| row.version.stamp).collect(),
        _ => Vec::new(),
    }
}

impl PeerVariant for AbsorbsWrongly {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        let before = store.clock();
        let received = stamps(&request);
        let reply = store.execute(now, request);
        let accepted = received.into_iter().filter(|stamp| before.check(now, *stamp).is_ok());
        let last = accepted.fold(before.last(), self.absorbs);
        store.set_clock(HybridClock::after(last, before.ahead_max()).unwrap_or(before));
        reply
    }
}

/// Another bound on stamps of the future than the scenario's (zoo 7, 8).
struct WrongBound {
    /// In microseconds both.
    bound: fn(u64) -> u64,
}

impl PeerVariant for WrongBound {
    type Policy = AnyPolicy;

    fn stamp_ahead_us_max(&self, configured: u64) -> u64 {
        (self.bound)(configured)
    }
}

/// A clock that was stepped back is believed more than the last stamp (zoo 9).
struct FollowsItsClock;

impl PeerVariant for FollowsItsClock {
    type Policy = AnyPolicy;

    fn writes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        let clock = store.clock();
        if clock.last().us > now.as_us() {
            store.set_clock(HybridClock::new(clock.ahead_max()));
        }
        store.write(transaction, now, write)
    }
}

/// What the writer's clock showed travels with a row, and decides (zoo 10).
#[derive(Default)]
struct ComparesWallClocks {
    /// By write; what was there from the start has its stamp.
    shown_us: BTreeMap<Version, u64>,
}

impl PeerVariant for ComparesWallClocks {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        let shown = |version: &Version| self.shown_us.get(version).copied().unwrap_or(version.stamp.us);
        match request {
            PeerRequest::Merge(merge) if !merge.repair => merge_by(store, now, merge, |came, held| {
                (shown(&came.version), &came.version) > (shown(&held.version), &held.version)
            }),
            other => store.execute(now, other),
        }
    }

    fn writes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        let written = store.write(transaction, now, write)?;
        self.shown_us.extend(written.iter().map(|version| (version.clone(), now.as_us())));
        Ok(written)
    }
}

/// Pages from the first peer to the second have stamps in whole milliseconds (zoo 11).
struct TruncatesStamps;

impl PeerVariant for TruncatesStamps {
    type Policy = AnyPolicy;

    fn answers(&mut self, from: u32, to: u32, _store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        if let (PeerAnswer::Page(page), (0, 1)) = (answer, (from, to)) {
            for row in &mut page.rows {
                row.version.stamp.us -= row.version.stamp.us % 1_000;
            }
        }
    }
}

/// The second peer stamps by a local time an hour behind (zoo 12).
struct OfAnotherZone;

const ZONE_US: u64 = 3_600_000_000;

impl PeerVariant for OfAnotherZone {
    type Policy = AnyPolicy;

    fn writes(
        &mut self,
        peer: u32,
        store: &mut MemoryPeerStore,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        let behind = if peer == 1 { ZONE_US } else { 0 };
        store.write(transaction, Timestamp::from_us(now.as_us().saturating_sub(behind)), write)
    }
}
