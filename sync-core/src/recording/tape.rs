//! A recorder that engines share, and the place of one engine in it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::{DrawLog, EngineHeader, EngineIndex, Header, NotedInput, Recorder, Totals};
use crate::engine::Engine;
use crate::time::Now;

/// A recording that several engines are written to, from whichever threads.
#[derive(Debug)]
pub struct Tape<W: Write = Box<dyn Write + Send>> {
    recorder: Arc<Mutex<Recorder<W>>>,
}

/// The place of one engine in a recording: makes its calls and writes them down.
#[derive(Debug)]
pub struct Tap<W: Write = Box<dyn Write + Send>> {
    tape: Tape<W>,
    engine: EngineIndex,
    draws: DrawLog,
}

impl<W: Write> Clone for Tape<W> {
    fn clone(&self) -> Self {
        Self { recorder: Arc::clone(&self.recorder) }
    }
}

impl<W: Write> Tape<W> {
    /// Begins a recording, see [`Recorder::new`].
    pub fn new(out: W, header: &Header) -> Self {
        Self { recorder: Arc::new(Mutex::new(Recorder::new(out, header))) }
    }

    /// Adds an engine that has just been made with a [`RecordedEntropy`](super::RecordedEntropy) over `draws`.
    pub fn tap(&self, made_of: &EngineHeader, draws: DrawLog) -> Tap<W> {
        let engine = self.recorder().engine(made_of, &draws);
        Tap { tape: self.clone(), engine, draws }
    }

    /// See [`Recorder::flush`].
    pub fn flush(&self) {
        self.recorder().flush();
    }

    /// See [`Recorder::finish`].
    ///
    /// # Errors
    /// The first one since the beginning.
    pub fn finish(&self) -> io::Result<Totals> {
        self.recorder().finish()
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder<W>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Tap<W> {
    /// Calls [`Engine::handle`] and writes the call down.
    pub fn handle<N>(&self, engine: &mut N, now: Now, input: N::Input, effects: &mut Vec<N::Effect>)
    where
        N: Engine<Input: Serialize, Effect: Serialize>,
    {
        let (noted, before) = (NotedInput::input(&input), effects.len());
        engine.handle(now, input, effects);
        self.note(now, noted, &effects[before..]);
    }

    /// Calls [`Engine::wake`] and writes the call down.
    pub fn wake<N>(&self, engine: &mut N, now: Now, effects: &mut Vec<N::Effect>)
    where
        N: Engine<Effect: Serialize>,
    {
        let before = effects.len();
        engine.wake(now, effects);
        self.note(now, NotedInput::wake(), &effects[before..]);
    }

    /// Writes a call down that somebody else made: its input, `None` for a wake-up, and what followed.
    pub fn call<I: Serialize, E: Serialize>(&self, now: Now, input: Option<&I>, effects: &[E]) {
        self.note(now, input.map_or_else(NotedInput::wake, NotedInput::input), effects);
    }

    fn note<E: Serialize>(&self, now: Now, input: NotedInput, effects: &[E]) {
        self.tape.recorder().call(self.engine, now, input, &self.draws, effects);
    }
}
