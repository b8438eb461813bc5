//! Events that are not due soon, in buckets by time: a hierarchical timing wheel (Varghese and Lauck, 1987).
//!
//! Most events of a large world lie far ahead and many of them never matter (a time-out of what was answered long
//! ago), so only those of the next tick are kept in order. A tick's bucket is opened when everything before it has
//! been taken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Time in microseconds, then rank and place.
pub(super) type Key = (u64, u64);

/// Events by the tick in which they are due.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    /// The first tick that has not been opened.
    begin: u64,
    /// The ticks of the block in which `begin` lies.
    ticks: Level,
    /// The blocks after it.
    blocks: Level,
    /// What comes after those.
    far: BinaryHeap<Reverse<Key>>,
}

/// One bucket for each tick of a block, or for each block of a turn.
#[derive(Debug)]
struct Level {
    buckets: Box<[Vec<Key>]>,
    /// A bit for each bucket that holds something.
    filled: u128,
}

/// A tick takes 1,024 microseconds: a world of 10,000 hosts has some hundreds of events in it.
const TICK_BITS: u32 = 10;
/// Buckets of a level, a bit each: a block takes 131 milliseconds, a turn 17 seconds.
const BUCKET_BITS: u32 = u128::BITS.trailing_zeros();
const BUCKETS: u64 = 1 << BUCKET_BITS;

impl Wheel {
    /// Whether an event of this moment has to be put in order at once: its tick has been opened.
    pub(super) fn is_open(&self, at_us: u64) -> bool {
        at_us >> TICK_BITS < self.begin
    }

    /// Keeps an event whose tick has not been opened.
    pub(super) fn push(&mut self, key: Key) {
        let tick = key.0 >> TICK_BITS;
        let block = block_of(key);
        match block - (self.begin >> BUCKET_BITS) {
            0 => self.ticks.push(tick, key),
            1..BUCKETS => self.blocks.push(block, key),
            _ => self.far.push(Reverse(key)),
        }
    }

    /// Opens the next tick that holds events and hands them over.
    pub(super) fn open(&mut self, into: &mut BinaryHeap<Reverse<Key>>) {
        while self.ticks.filled == 0 {
            let block = self.begin >> BUCKET_BITS;
            let far = self.far.peek().map(|Reverse(key)| block_of(*key));
            let Some(next) = self.blocks.next_after(block).into_iter().chain(far).min() else { return };
            self.go_to(next << BUCKET_BITS);
        }
        let bucket = u64::from(self.ticks.filled.trailing_zeros());
        self.ticks.empty(bucket, |key| into.push(Reverse(key)));
        self.go_to((self.begin >> BUCKET_BITS << BUCKET_BITS) + bucket + 1);
    }

    /// Nothing is kept of the ticks before this one; the events of its block are spread over their ticks.
    fn go_to(&mut self, begin: u64) {
        let block = begin >> BUCKET_BITS;
        let is_new = block != self.begin >> BUCKET_BITS;
        self.begin = begin;
        if !is_new {
            return;
        }
        let Self { ticks, blocks, far, .. } = self;
        blocks.empty(block, |key| ticks.push(key.0 >> TICK_BITS, key));
        while far.peek().is_some_and(|Reverse(key)| block_of(*key) == block)
            && let Some(Reverse(key)) = far.pop()
        {
            ticks.push(key.0 >> TICK_BITS, key);
        }
    }
}

fn block_of((at_us, _): Key) -> u64 {
    at_us >> TICK_BITS >> BUCKET_BITS
}

impl Default for Level {
    fn default() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS as usize].into(), filled: 0 }
    }
}

impl Level {
    fn push(&mut self, number: u64, key: Key) {
        let bucket = number % BUCKETS;
        self.filled |= 1 << bucket;
        self.buckets[bucket as usize].push(key);
    }

    /// Takes everything out of a bucket, which keeps its room.
    fn empty(&mut self, number: u64, take: impl FnMut(Key)) {
        let bucket = number % BUCKETS;
        self.filled &= !(1 << bucket);
        self.buckets[bucket as usize].drain(..).for_each(take);
    }

    /// The first number after this one, within a turn, whose bucket holds something.
    fn next_after(&self, number: u64) -> Option<u64> {
        let ahead = self.filled.rotate_right(((number + 1) % BUCKETS) as u32);
        (ahead != 0).then(|| number + 1 + u64::from(ahead.trailing_zeros()))
    }
}
