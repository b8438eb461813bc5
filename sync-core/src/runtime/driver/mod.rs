//! The driver: performs what engines ask for, and tells them what came of it.
//!
//! One engine, one mailbox, one task. [`Now`] is stamped as an input is taken from the mailbox; effects are
//! performed beside each other, and what becomes of them comes back as inputs with their token, failures
//! included: whatever panics, fails or takes too long is reported as unavailable. So the calls of an engine
//! have one order, and a [`Tap`] that takes them down together with the draws holds everything from which
//! the run can be repeated without a server.
//!
//! [`shards`] drives the engines of a main server, [`host`] the session of a host,
//! [`replica`] that of a peer.

mod alarm;
pub mod host;
pub mod replica;
mod services;
pub mod shards;

use super::clock::Clock;
use crate::engine::Engine;
use crate::time::Now;

pub use futures_util::stream::BoxStream;
pub use services::{CacheService, Database, EmbeddedCache, EmbeddedDatabase};

/// Sees each call of one engine, in the order of the calls.
pub trait Tap<E: Engine>: Send {
    /// One call: its moment, its input (`None` when the engine was woken) and the effects that followed.
    fn call(&mut self, now: Now, input: Option<&E::Input>, effects: &[E::Effect]);

    /// Whether calls are looked at at all; inputs are kept for [`call`](Self::call) only then. Asked before
    /// each call.
    fn is_active(&self) -> bool {
        true
    }
}

/// Sees nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoTap;

impl<E: Engine> Tap<E> for NoTap {
    fn call(&mut self, _now: Now, _input: Option<&E::Input>, _effects: &[E::Effect]) {}

    fn is_active(&self) -> bool {
        false
    }
}

impl<E: Engine, T: Tap<E> + ?Sized> Tap<E> for Box<T> {
    fn call(&mut self, now: Now, input: Option<&E::Input>, effects: &[E::Effect]) {
        (**self).call(now, input, effects);
    }

    fn is_active(&self) -> bool {
        (**self).is_active()
    }
}

/// An engine with its clock and its tap: the one place where engines of the runtime are called.
#[derive(Debug)]
struct Driven<E: Engine, T> {
    engine: E,
    clock: Clock,
    tap: T,
    effects: Vec<E::Effect>,
}

impl<E: Engine, T: Tap<E>> Driven<E, T>
where
    E::Input: Clone,
{
    fn new(engine: E, clock: Clock, tap: T) -> Self {
        Self { engine, clock, tap, effects: Vec::new() }
    }

    /// Hands over one input, stamped now. What follows is in [`take_effects`](Self::take_effects).
    fn handle(&mut self, input: E::Input) {
        let now = self.clock.now();
        let start = self.effects.len();
        if self.tap.is_active() {
            let seen = input.clone();
            self.engine.handle(now, input, &mut self.effects);
            self.tap.call(now, Some(&seen), &self.effects[start..]);
        } else {
            self.engine.handle(now, input, &mut self.effects);
        }
    }

    /// Lets pass what is due.
    fn wake(&mut self) {
        let now = self.clock.now();
        let start = self.effects.len();
        self.engine.wake(now, &mut self.effects);
        if self.tap.is_active() {
            self.tap.call(now, None, &self.effects[start..]);
        }
    }

    /// When the engine wants to be woken, on the machine's clock.
    fn due(&self) -> Option<tokio::time::Instant> {
        self.engine.next_wakeup().and_then(|moment| self.clock.system(moment))
    }

    /// Takes what the engine asked for. [`give_back`](Self::give_back) returns the memory.
    fn take_effects(&mut self) -> Vec<E::Effect> {
        std::mem::take(&mut self.effects)
    }

    fn give_back(&mut self, effects: Vec<E::Effect>) {
        debug_assert!(effects.is_empty() && self.effects.is_empty());
        self.effects = effects;
    }
}
