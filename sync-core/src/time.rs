//! Moments and spans, all in whole microseconds.
//!
//! Two clocks are kept apart by type: [`Timestamp`] is the node's wall clock, which people and
//! other nodes compare and which may step in either direction; [`Instant`] is the node's
//! monotonic clock, on which every deadline and back-off is counted, so that a stepped wall
//! clock can neither miss nor stretch a deadline.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// A moment on a node's wall clock, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// A moment on a node's monotonic clock, in microseconds since an arbitrary start of that node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(u64);

/// A length of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(u64);

/// The present moment as a node sees it, stamped when an input is taken from its mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Never goes back at one node.
    pub monotonic: Instant,
    /// What the node believes the time to be; may step.
    pub wall: Timestamp,
}

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// From milliseconds since the Unix epoch; saturates.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_us(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000
    }

    /// The distance to another moment, whichever is the later.
    pub const fn distance(self, other: Self) -> Span {
        Span(self.0.abs_diff(other.0))
    }

    /// The moment `span` earlier, or the epoch.
    pub const fn saturating_sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Instant {
    /// From microseconds since the node's start.
    pub const fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the node's start.
    pub const fn as_us(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, zero when that lies ahead.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span; used for "no bound".
    pub const MAX: Self = Self(u64::MAX);

    /// From microseconds.
    pub const fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// From milliseconds; saturates.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// From seconds; saturates.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds.
    pub const fn as_us(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000
    }

    /// This span `factor` times over; saturates.
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add<Span> for Instant {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Span {
    /// The shortest exact form with a unit: `500ms`, `1500us`, `30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            us if us % 1_000_000 == 0 => write!(f, "{}s", us / 1_000_000),
            us if us % 1_000 == 0 => write!(f, "{}ms", us / 1_000),
            us => write!(f, "{us}us"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_prints_in_its_shortest_exact_unit() {
        let check = |us, expected: &str| assert_eq!(Span::from_us(us).to_string(), expected);
        check(0, "0s");
        check(1, "1us");
        check(1_500, "1500us");
        check(500_000, "500ms");
        check(90_000_000, "90s");
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!((Instant::from_us(u64::MAX) + Span::from_secs(1)).as_us(), u64::MAX);
        assert_eq!(Instant::from_us(3).since(Instant::from_us(5)), Span::ZERO);
        assert_eq!(Span::from_secs(u64::MAX), Span::MAX);
        assert_eq!(Timestamp::from_ms(2).distance(Timestamp::from_ms(5)), Span::from_ms(3));
    }
}
