//! Bounds retries against fresh work, so that retries alone can never keep an overload alive.
//!
//! A token bucket, kept as the one moment at which it will be full again (generic cell rate algorithm).
//! Each first attempt pays in a part of a retry, time pays in slowly, so that a session with nothing new to send
//! still recovers, and each retry takes one. A retry that finds nothing waits until there is something: it is
//! put off, not given up.

use crate::limits;
use crate::time::{Instant, Span};

/// The retries of one kind of operation.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    terms: &'static Terms,
    /// When it is full again.
    full: Instant,
}

/// What retries cost and who pays for them.
#[derive(Debug)]
struct Terms {
    /// Time that pays for one retry.
    spacing: Span,
    /// What a first attempt pays in.
    credit: Span,
    /// What the full bucket holds.
    depth: Span,
}

static CRITICAL: Terms = Terms::new(limits::CRITICAL_RETRY_SPACING, 1);
static OTHERS: Terms = Terms::new(limits::RETRY_SPACING, limits::OPERATIONS_PER_RETRY);

impl Terms {
    const fn new(spacing: Span, operations_per_retry: u64) -> Self {
        Self {
            spacing,
            credit: Span::from_us(spacing.as_us() / operations_per_retry),
            depth: spacing.saturating_mul(limits::RETRIES_SAVED_MAX),
        }
    }
}

impl RetryBudget {
    /// For critical operations: one retry for each of them, and a few a second.
    pub fn critical() -> Self {
        Self { terms: &CRITICAL, full: Instant::from_us(0) }
    }

    /// For all others: one retry for five of them, and five a second.
    pub fn others() -> Self {
        Self { terms: &OTHERS, full: Instant::from_us(0) }
    }

    /// A first attempt is made.
    pub fn pay(&mut self) {
        self.full = Instant::from_us(self.full.as_us().saturating_sub(self.terms.credit.as_us()));
    }

    /// The earliest moment from `earliest` on at which a retry is paid for.
    pub fn affords(&self, earliest: Instant) -> Instant {
        earliest.max(Instant::from_us(self.full.as_us().saturating_sub(self.terms.depth.as_us())))
    }

    /// Takes one out for a retry at this moment.
    pub fn take(&mut self, at: Instant) {
        self.full = self.full.max(at) + self.terms.spacing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Retries made within so many milliseconds when as many as possible are wanted and so many first attempts
    /// are spread evenly over the time.
    fn retries(mut budget: RetryBudget, ms: u64, fresh: u64) -> u64 {
        let (mut retries, mut paid) = (0, 0);
        for now_ms in 0..ms {
            while paid < fresh * now_ms / ms {
                budget.pay();
                paid += 1;
            }
            let now = Instant::from_us(1_000_000 + now_ms * 1_000);
            while budget.affords(now) == now {
                budget.take(now);
                retries += 1;
            }
        }
        retries
    }

    #[test]
    fn time_and_fresh_work_pay_for_retries_and_nothing_else() {
        let saved = limits::RETRIES_SAVED_MAX;
        let check = |budget, fresh, expected: u64| {
            let found = retries(budget, 10_000, fresh);
            assert!((expected..=expected + 2).contains(&found), "{found} for {fresh} fresh, not {expected}");
        };
        check(RetryBudget::others(), 0, saved + 50);
        check(RetryBudget::others(), 1_000, saved + 50 + 200 - 1);
        check(RetryBudget::critical(), 0, saved + 40);
        check(RetryBudget::critical(), 100, saved + 40 + 100 - 1);
    }

    #[test]
    fn what_is_not_used_is_not_saved_beyond_the_bound() {
        let mut budget = RetryBudget::others();
        (0..1_000_000).for_each(|_| budget.pay());
        let now = Instant::from_us(3_600_000_000);
        let at_once = std::iter::from_fn(|| {
            let affordable = budget.affords(now) == now;
            budget.take(now);
            affordable.then_some(())
        });
        assert_eq!(at_once.count() as u64, limits::RETRIES_SAVED_MAX + 1);
    }
}
