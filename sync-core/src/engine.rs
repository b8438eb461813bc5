//! The one trait that every state machine of the core implements, and its calling contract.

use crate::time::{Instant, Now};

/// A deterministic state machine: inputs and the present moment in, effects out.
///
/// # Contract
/// - `now.monotonic` never goes back between two calls; `now.wall` may.
/// - The driver hands over one input at a time (one mailbox an engine), `now` stamped as the input
///   is taken from the mailbox, and performs the effects it finds in `effects` afterwards, in
///   order of their start. `effects` is only ever appended to.
/// - An effect with a token is completed by exactly one input with that token, failures included:
///   an effect that cannot be performed completes with an error, never with silence. The one exception
///   crosses the network: an attempt that a session sends may be answered several times or never.
/// - After each call the driver asks [`next_wakeup`](Engine::next_wakeup) and calls
///   [`wake`](Engine::wake) no earlier than that moment. Calling it early or
///   twice is harmless.
/// - An engine reads no clock and draws no randomness of its own, so the same calls give the same
///   effects, bit for bit. That is what makes a recording replayable.
pub trait Engine {
    /// What the world tells the engine.
    type Input;
    /// What the engine asks of the world.
    type Effect;

    /// Takes one input and appends what follows from it to `effects`.
    fn handle(&mut self, now: Now, input: Self::Input, effects: &mut Vec<Self::Effect>);

    /// Lets pass what has become due by `now`.
    fn wake(&mut self, now: Now, effects: &mut Vec<Self::Effect>);

    /// The next moment at which something becomes due without an input, if there is one.
    fn next_wakeup(&self) -> Option<Instant>;
}
