//! Keyed draws: every random decision is a hash of (seed, label, entity, ordinal).
//!
//! There is no stream to take "the next number" from, so leaving out one action, or adding one,
//! leaves every other draw as it was. Shrinking and regressions rest on that.

use sync_core::entropy::{Entropy, Purpose};

/// What a draw decides. The number is part of the hash: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u64)]
pub enum Label {
    /// Distance to the next arrival of a stream.
    Arrival = 1,
    /// Which entry of the mix an operation is.
    Mix = 2,
    /// Delay of a message.
    Latency = 3,
    /// Whether a message vanishes.
    Loss = 4,
    /// Whether a message arrives twice.
    Duplicate = 5,
    /// Delay of the second copy.
    DuplicateLatency = 6,
    /// Whether a message is held back.
    Reorder = 7,
    /// Whether a message is altered.
    Tamper = 8,
    /// Where it is altered.
    TamperPlace = 9,
    /// Time to a commit.
    Commit = 10,
    /// Whether a request to a service fails.
    Failure = 11,
    /// A clock's offset.
    Skew = 12,
    /// A clock's rate.
    Drift = 13,
    /// An engine's own draws.
    Engine = 14,
    /// A key of the world.
    Key = 15,
    /// First arrival of a stream at constant distances.
    Phase = 16,
    /// What a planted defect needs.
    Defect = 17,
    /// Whether the embedding provider misbehaves.
    Misbehaviour = 60,
    /// Jitter of a pause before the embedding provider is asked again.
    ProviderPause = 61,
    /// What is done to a message that is tampered with.
    TamperKind = 40,
    /// Whether a message is replayed.
    Replay = 41,
    /// Delay of a replayed message.
    ReplayLatency = 42,
    /// Delay between sync proxy and main server.
    ProxyLatency = 43,
    /// What a host measures of itself.
    HostMetrics = 80,
    /// How many statements a transaction has.
    Statements = 100,
    /// Which entry of the mix a statement is.
    StatementKind = 101,
    /// Which row a statement concerns.
    StatementRow = 102,
    /// How long a transaction stays open.
    OpenFor = 103,
    /// What a column of a row holds.
    ColumnText = 104,
    /// Whether a row's natural keys collide.
    Collide = 105,
    /// Which links there are among peers.
    PeerLink = 106,
    /// Which stored rows are altered.
    Corruption = 107,
}

/// The source of all draws of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// The seed, mixed: where every hash begins.
    begin: u64,
}

impl Draws {
    /// All draws of this seed.
    pub const fn new(seed: u64) -> Self {
        Self { begin: mix(seed ^ 0x9e37_79b9_7f4a_7c15) }
    }

    /// 64 uniformly distributed bits for this decision.
    pub const fn bits(self, label: Label, entity: u64, ordinal: u64) -> u64 {
        let mut hash = mix(self.begin ^ (label as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        hash = mix(hash ^ entity.wrapping_mul(0xa076_1d64_78bd_642f));
        mix(hash ^ ordinal.wrapping_mul(0xe703_7ed1_a0b4_28db))
    }

    /// Whether a decision with a chance of `ppm` parts per million falls.
    pub const fn hits(self, ppm: u32, label: Label, entity: u64, ordinal: u64) -> bool {
        ppm != 0 && self.below(1_000_000, label, entity, ordinal) < ppm as u64
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub const fn below(self, bound: u64, label: Label, entity: u64, ordinal: u64) -> u64 {
        ((self.bits(label, entity, ordinal) as u128 * bound as u128) >> 64) as u64
    }
}

/// Mixes 64 bits so that each input bit changes each output bit with even odds (David Stafford's
/// thirteenth variant of the MurmurHash3 finaliser, as in SplitMix64).
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// An engine's randomness in a simulated world: predictable by design, never for real use.
#[derive(Clone, Copy, Debug)]
pub struct SimEntropy {
    draws: Draws,
    node: u64,
}

impl SimEntropy {
    /// The randomness of one life of one node.
    pub const fn new(draws: Draws, node: u64, life: u32) -> Self {
        Self { draws, node: node << 24 | life as u64 }
    }
}

impl Entropy for SimEntropy {
    fn draw(&mut self, purpose: Purpose, entity: u64, ordinal: u64) -> u64 {
        let node = mix(self.node ^ (purpose as u64) << 56);
        self.draws.bits(Label::Engine, node ^ entity.rotate_left(17), ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_every_part_of_its_key_and_on_nothing_else() {
        let draws = Draws::new(1);
        let reference = draws.bits(Label::Latency, 2, 3);
        assert_eq!(reference, Draws::new(1).bits(Label::Latency, 2, 3));
        for other in [
            Draws::new(2).bits(Label::Latency, 2, 3),
            draws.bits(Label::Loss, 2, 3),
            draws.bits(Label::Latency, 3, 3),
            draws.bits(Label::Latency, 2, 4),
            draws.bits(Label::Latency, 3, 2),
        ] {
            assert_ne!(reference, other);
        }
    }

    #[test]
    fn shares_come_out_as_asked() {
        let draws = Draws::new(7);
        let hits = (0..100_000).filter(|n| draws.hits(50_000, Label::Loss, 1, *n)).count();
        assert!((4_700..5_300).contains(&hits), "{hits} of 100,000 at 5 %");
        assert!(!draws.hits(0, Label::Loss, 1, 1));
        assert!((0..1_000).all(|n| draws.hits(1_000_000, Label::Loss, 1, n)));
    }
}
