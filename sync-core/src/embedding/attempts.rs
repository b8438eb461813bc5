//! When a provider is asked again.

use serde::{Deserialize, Serialize};

use super::EmbedError;
use crate::limits;
use crate::time::{Instant, Span};

/// How often and for how long a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// From the asking to the result, pauses included.
    pub total: Span,
    /// One attempt at most, so that one that hangs leaves time for another.
    pub attempt: Span,
    /// Attempts at most.
    pub attempts_max: u32,
    /// First pause; doubles with each attempt.
    pub backoff_min: Span,
    /// Longest pause that nobody asked for.
    pub backoff_max: Span,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            total: limits::EMBEDDING_TIMEOUT,
            attempt: limits::EMBEDDING_ATTEMPT_TIMEOUT,
            attempts_max: limits::EMBEDDING_ATTEMPTS_MAX,
            backoff_min: limits::EMBEDDING_BACKOFF_MIN,
            backoff_max: limits::EMBEDDING_BACKOFF_MAX,
        }
    }
}

/// How one attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// A status other than 200.
    Status {
        /// The number.
        code: u16,
        /// How long the provider asked to be left alone.
        retry_after: Option<Span>,
    },
}

/// The attempts at one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    policy: RetryPolicy,
    deadline: Instant,
    failed: u32,
}

impl Attempts {
    /// None made yet.
    pub fn new(policy: RetryPolicy, now: Instant) -> Self {
        Self { policy, deadline: now + policy.total, failed: 0 }
    }

    /// How long an attempt that begins now may take.
    pub fn bound(&self, now: Instant) -> Span {
        self.deadline.since(now).min(self.policy.attempt)
    }

    /// How many have failed.
    pub const fn failed(&self) -> u32 {
        self.failed
    }

    /// An attempt failed: how long to wait before the next one, or why there is none. `draw` is uniform over 64
    /// bits.
    ///
    /// A 429, a 5xx, a time-out and a broken connection are tried again, any other status is not. A pause that the
    /// provider asked for is kept to the full; one that does not fit into the time ends it at once, and so does the
    /// last attempt.
    pub fn failed_with(&mut self, now: Instant, fault: Fault, draw: u64) -> Result<Span, EmbedError> {
        self.failed += 1;
        let (error, asked_for) = match fault {
            Fault::Unreachable => (EmbedError::Unavailable, None),
            Fault::TimedOut => (EmbedError::TimedOut, None),
            Fault::Status { code: 429, retry_after } => (EmbedError::RateLimited, retry_after),
            Fault::Status { code: 500..=599, retry_after } => (EmbedError::Unavailable, retry_after),
            Fault::Status { code, .. } => return Err(EmbedError::Refused(code)),
        };
        let pause = asked_for.unwrap_or(Span::ZERO).max(self.backoff(draw));
        if self.failed >= self.policy.attempts_max || now + pause >= self.deadline {
            return Err(error);
        }
        Ok(pause)
    }

    /// Exponential, with full jitter over its upper half, so that what failed together does not come back together.
    fn backoff(&self, draw: u64) -> Span {
        let doubled = self.policy.backoff_min.as_us() << (self.failed - 1).min(20);
        let half = doubled.min(self.policy.backoff_max.as_us()) / 2;
        let jitter = (u128::from(draw) * (u128::from(half) + 1)) >> 64;
        Span::from_us(half + jitter as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, retry_after: Option<u64>) -> Fault {
        Fault::Status { code, retry_after: retry_after.map(Span::from_secs) }
    }

    /// Fails so again and again, each attempt after `takes`; says how often and how long it was tried, and the end.
    fn give_up(fault: Fault, takes: Span, draw: u64) -> (u32, Span, EmbedError) {
        let start = Instant::from_us(7);
        let (mut now, mut attempts) = (start, Attempts::new(RetryPolicy::default(), start));
        loop {
            assert!(attempts.bound(now) <= limits::EMBEDDING_ATTEMPT_TIMEOUT);
            now = now + takes.min(attempts.bound(now));
            match attempts.failed_with(now, fault, draw) {
                Ok(pause) => now = now + pause,
                Err(error) => return (attempts.failed(), now.since(start), error),
            }
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_within_its_bounds() {
        for draw in [0, u64::MAX] {
            for (fault, takes, error) in [
                (status(429, None), Span::ZERO, EmbedError::RateLimited),
                (status(500, None), Span::ZERO, EmbedError::Unavailable),
                (status(503, None), Span::ZERO, EmbedError::Unavailable),
                (Fault::Unreachable, Span::ZERO, EmbedError::Unavailable),
            ] {
                let (times, took, end) = give_up(fault, takes, draw);
                assert_eq!((times, end), (limits::EMBEDDING_ATTEMPTS_MAX, error));
                assert!(took < limits::EMBEDDING_TIMEOUT, "{took}");
            }
            let (times, took, end) = give_up(Fault::TimedOut, Span::MAX, draw);
            assert!((2..limits::EMBEDDING_ATTEMPTS_MAX).contains(&times), "{times}");
            assert_eq!(end, EmbedError::TimedOut);
            assert!(took <= limits::EMBEDDING_TIMEOUT, "{took}");
        }
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        for code in [300, 400, 401, 403, 404, 413, 422] {
            assert_eq!(
                give_up(status(code, Some(1)), Span::ZERO, 0),
                (1, Span::ZERO, EmbedError::Refused(code))
            );
        }
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_or_there_is_no_time_for_it() {
        let attempt = |retry_after| {
            let mut attempts = Attempts::new(RetryPolicy::default(), Instant::from_us(0));
            attempts.failed_with(Instant::from_us(0), status(429, retry_after), u64::MAX)
        };
        assert_eq!(attempt(Some(3)), Ok(Span::from_secs(3)));
        assert_eq!(attempt(Some(29)), Ok(Span::from_secs(29)));
        assert_eq!(attempt(Some(30)), Err(EmbedError::RateLimited));
        assert_eq!(attempt(Some(u64::MAX)), Err(EmbedError::RateLimited));
        assert_eq!(attempt(Some(0)), Ok(limits::EMBEDDING_BACKOFF_MIN));
        assert_eq!(attempt(None), Ok(limits::EMBEDDING_BACKOFF_MIN));
    }
}
