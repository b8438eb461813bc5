//! The one place where the simulator reads a real clock: to say how long a run took.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

/// Measures real time.
pub(super) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
