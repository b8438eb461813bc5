//! Draws on their way into a recording, and out of one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Draw;
use crate::entropy::{Entropy, Purpose};

/// Where the draws of one engine gather until its recorder takes them.
#[derive(Clone, Debug, Default)]
pub struct DrawLog(Arc<Mutex<Vec<Draw>>>);

impl DrawLog {
    /// Takes what has gathered, in the order of drawing.
    pub fn take(&self) -> Vec<Draw> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, draw: Draw) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(draw);
    }
}

/// A generator whose draws are noted down, if they are.
#[derive(Clone, Debug)]
pub struct RecordedEntropy<E> {
    entropy: E,
    log: Option<DrawLog>,
}

impl<E> RecordedEntropy<E> {
    /// Draws from `entropy` and notes it in `log`; without one nothing is noted, at no cost worth speaking of.
    pub const fn new(entropy: E, log: Option<DrawLog>) -> Self {
        Self { entropy, log }
    }
}

impl<E: Entropy> Entropy for RecordedEntropy<E> {
    fn draw(&mut self, purpose: Purpose, entity: u64, ordinal: u64) -> u64 {
        let value = self.entropy.draw(purpose, entity, ordinal);
        if let Some(log) = &self.log {
            log.note(Draw(purpose, value));
        }
        value
    }

    /// Noted as the two draws that [`Entropy::iv`] makes, also for a generator that makes it in one go.
    fn iv(&mut self, entity: u64, ordinal: u64) -> [u8; 16] {
        let iv = self.entropy.iv(entity, ordinal);
        if let Some(log) = &self.log {
            let value = u128::from_le_bytes(iv);
            log.note(Draw(Purpose::Iv, value as u64));
            log.note(Draw(Purpose::Iv, (value >> 64) as u64));
        }
        iv
    }
}

/// Gives an engine the draws that a recording holds. A draw that it does not hold gives 0 and a mismatch.
#[derive(Clone, Debug, Default)]
pub struct ReplayEntropy(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    draws: VecDeque<Draw>,
    mismatch: Option<Mismatch>,
}

/// The first draw of a call that is not the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// What the recording has, if anything.
    pub(super) recorded: Option<Purpose>,
    /// What the engine draws for, if anything.
    pub(super) drawn: Option<Purpose>,
}

impl ReplayEntropy {
    /// Lays the draws of the next call ready.
    pub(super) fn load(&self, draws: Vec<Draw>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Script { draws: draws.into(), mismatch: None };
    }

    /// What was wrong with the draws of the call that has just been made; a recorded draw too many counts.
    pub(super) fn verdict(&self) -> Option<Mismatch> {
        let script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = script.draws.front().map(|draw| Mismatch { recorded: Some(draw.0), drawn: None });
        script.mismatch.or(left)
    }
}

impl Entropy for ReplayEntropy {
    fn draw(&mut self, purpose: Purpose, _: u64, _: u64) -> u64 {
        let mut script = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match script.draws.pop_front() {
            Some(Draw(recorded, value)) if recorded == purpose => value,
            other => {
                let mismatch = Mismatch { recorded: other.map(|draw| draw.0), drawn: Some(purpose) };
                script.mismatch.get_or_insert(mismatch);
                0
            }
        }
    }
}
