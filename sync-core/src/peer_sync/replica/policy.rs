//! Decisions of a replica that teams may want to change and that the simulator's zoo breaks on purpose.
//!
//! Statically dispatched: [`Standard`] costs nothing. Which write of a row wins is decided elsewhere, by the
//! database or by the resolver of the row's table.

use crate::limits;
use crate::peer_sync::message::ProtocolRange;
use crate::peer_sync::position::{Frontier, Position};
use crate::peer_sync::store::{Advance, Page, Purge};
use crate::peer_sync::version::NodeId;
use crate::time::Span;

/// How a replica decides.
pub trait ReplicaPolicy {
    /// How long to leave a peer alone after `failed` failures in a row (at least 1): exponential, with full jitter
    /// over its upper half. `draw` is uniform over 64 bits.
    fn backoff(&self, failed: u32, draw: u64) -> Span {
        exponential(limits::PEER_BACKOFF_MIN, limits::PEER_BACKOFF_MAX, failed, draw)
    }

    /// How long to wait after the own database did not do what a round asked of it, likewise: most often applications
    /// had rows locked, and will not have them for long.
    fn own_backoff(&self, failed: u32, draw: u64) -> Span {
        exponential(limits::PEER_STORE_BACKOFF_MIN, limits::PEER_STORE_BACKOFF_MAX, failed, draw)
    }

    /// From the end of a round to the next: the interval, less up to a tenth, so that peers do not march in step.
    fn round_pause(&self, interval: Span, draw: u64) -> Span {
        Span::from_us(interval.as_us() - scale(draw, interval.as_us() / 10))
    }

    /// Whether a peer that did not answer so many times in a row, and was not seen for so long, is removed.
    fn removes(&self, failed: u32, unseen: Span, unseen_max: Span) -> bool {
        failed > 0 && unseen > unseen_max
    }

    /// Whether a peer that was removed is welcome when it announces itself again.
    fn readmits(&self) -> bool {
        true
    }

    /// Whether who understands these versions of the protocol is talked to.
    fn understands(&self, own: ProtocolRange, theirs: ProtocolRange) -> bool {
        own.common(theirs).is_some()
    }

    /// Whether engines that have one node id are told apart, and the one that was there first alone is a peer.
    fn tells_apart(&self) -> bool {
        true
    }

    /// Where a reader's next page begins, by the reader's own word.
    fn reads_from(&self, since: Option<Position>) -> Option<Position> {
        since
    }

    /// What the reader is believed to have: rows that it covers are left out of pages.
    fn omits(&self, frontier: Frontier) -> Frontier {
        frontier
    }

    /// Looks at a page before it is given to a reader.
    fn gives(&self, _own: &NodeId, _page: &mut Page) {}

    /// What is stored with the rows of a page: how far the reader has come.
    fn advances(&self, advance: Advance) -> Advance {
        advance
    }

    /// Whether the position moves although the rows could not be stored. Never sound: they are lost.
    fn advances_after_failure(&self) -> bool {
        false
    }

    /// Whether peers are told of rows that came from others.
    fn relays(&self) -> bool {
        true
    }

    /// Which tombstones are purged; none for no purge.
    fn purges(&self, purge: Purge) -> Option<Purge> {
        Some(purge)
    }

    /// Whether everything is compared by digests now and then.
    fn compares(&self) -> bool {
        true
    }

    /// Whether a comparison also gives the peer what it lacks.
    fn pushes(&self) -> bool {
        true
    }

    /// Whether a row is dropped that a peer knows to have been deleted.
    fn drops_expired(&self) -> bool {
        true
    }

    /// Whether the own rows are looked through for corruption.
    fn scrubs(&self) -> bool {
        true
    }

    /// Whether a database that was set back begins a new life.
    fn renews(&self) -> bool {
        true
    }
}

/// As the design says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard;

impl ReplicaPolicy for Standard {}

/// A policy that is chosen at run time.
impl<P: ReplicaPolicy + ?Sized> ReplicaPolicy for Box<P> {
    fn backoff(&self, failed: u32, draw: u64) -> Span {
        (**self).backoff(failed, draw)
    }

    fn own_backoff(&self, failed: u32, draw: u64) -> Span {
        (**self).own_backoff(failed, draw)
    }

    fn round_pause(&self, interval: Span, draw: u64) -> Span {
        (**self).round_pause(interval, draw)
    }

    fn removes(&self, failed: u32, unseen: Span, unseen_max: Span) -> bool {
        (**self).removes(failed, unseen, unseen_max)
    }

    fn readmits(&self) -> bool {
        (**self).readmits()
    }

    fn understands(&self, own: ProtocolRange, theirs: ProtocolRange) -> bool {
        (**self).understands(own, theirs)
    }

    fn tells_apart(&self) -> bool {
        (**self).tells_apart()
    }

    fn reads_from(&self, since: Option<Position>) -> Option<Position> {
        (**self).reads_from(since)
    }

    fn omits(&self, frontier: Frontier) -> Frontier {
        (**self).omits(frontier)
    }

    fn gives(&self, own: &NodeId, page: &mut Page) {
        (**self).gives(own, page);
    }

    fn advances(&self, advance: Advance) -> Advance {
        (**self).advances(advance)
    }

    fn advances_after_failure(&self) -> bool {
        (**self).advances_after_failure()
    }

    fn relays(&self) -> bool {
        (**self).relays()
    }

    fn purges(&self, purge: Purge) -> Option<Purge> {
        (**self).purges(purge)
    }

    fn compares(&self) -> bool {
        (**self).compares()
    }

    fn pushes(&self) -> bool {
        (**self).pushes()
    }

    fn drops_expired(&self) -> bool {
        (**self).drops_expired()
    }

    fn scrubs(&self) -> bool {
        (**self).scrubs()
    }

    fn renews(&self) -> bool {
        (**self).renews()
    }
}

impl Default for Box<dyn ReplicaPolicy> {
    fn default() -> Self {
        Box::new(Standard)
    }
}

/// A pause that doubles with each failure within these bounds, with full jitter over its upper half.
fn exponential(min: Span, max: Span, failed: u32, draw: u64) -> Span {
    let doubled = min.as_us() << failed.saturating_sub(1).min(20);
    let half = doubled.min(max.as_us()) / 2;
    Span::from_us(half + scale(draw, half))
}

/// Maps a uniform draw to `0..=bound` without bias worth speaking of.
fn scale(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * (u128::from(bound) + 1)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_within_its_bounds() {
        for failed in 1..100 {
            let (low, high) = (Standard.backoff(failed, 0), Standard.backoff(failed, u64::MAX));
            assert!(low < high && high <= limits::PEER_BACKOFF_MAX, "{failed}: {low} {high}");
        }
        for failed in 1..100 {
            let (low, high) = (Standard.own_backoff(failed, 0), Standard.own_backoff(failed, u64::MAX));
            assert!(low < high && high <= limits::PEER_STORE_BACKOFF_MAX, "{failed}: {low} {high}");
        }
        assert_eq!(Standard.own_backoff(1, u64::MAX), limits::PEER_STORE_BACKOFF_MIN);
        assert_eq!(Standard.backoff(1, u64::MAX), limits::PEER_BACKOFF_MIN);
        assert_eq!(Standard.backoff(2, u64::MAX), limits::PEER_BACKOFF_MIN.saturating_mul(2));
    }

    #[test]
    fn rounds_stay_near_their_interval() {
        let interval = Span::from_secs(30);
        assert_eq!(Standard.round_pause(interval, 0), interval);
        assert_eq!(Standard.round_pause(interval, u64::MAX), Span::from_secs(27));
    }
}
