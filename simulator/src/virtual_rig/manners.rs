//! How a scenario's embedding provider behaves: the one of the virtual world, and the live rig's mock.
//!
//! What it makes of a request is decided by draws that are keyed by the operation whose text comes first, never by when
//! the request comes.

use sync_core::time::Span;

use super::services::{About, Conditions, Fate};
use crate::draw::{Draws, Label};
use crate::embedding::{self, Answer, Encoding};
use crate::history::OpRef;
use crate::scenario::model::{EmbeddingTrouble, Service};
use crate::scenario::units::Length;

/// Latency, failures and misbehaviour, and what came of them.
#[derive(Debug)]
pub(crate) struct Manners {
    conditions: Conditions,
    draws: Draws,
    troubles: Vec<(u32, EmbeddingTrouble)>,
    calls: ProviderCalls,
}

/// How often a provider was asked; each attempt counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderCalls {
    /// Attempts.
    pub calls: u64,
    /// Of these, those answered with an error, or never.
    pub failed: u64,
}

impl Manners {
    pub(crate) fn new(draws: Draws, service: &Service) -> Self {
        Self {
            conditions: Conditions::new(draws, ENTITY, service),
            draws,
            troubles: Vec::new(),
            calls: ProviderCalls::default(),
        }
    }

    pub(crate) fn disturb(&mut self, fault: u32, trouble: EmbeddingTrouble) {
        self.troubles.push((fault, trouble));
    }

    pub(crate) fn heal(&mut self, fault: u32) {
        self.troubles.retain(|(number, _)| *number != fault);
    }

    pub(crate) fn calls(&self) -> ProviderCalls {
        self.calls
    }

    /// What an attempt that comes now is answered, `None` for never, and after how many microseconds.
    pub(crate) fn treat<T: AsRef<str>>(
        &mut self,
        now_us: u64,
        about: About,
        texts: &[T],
        (model, encoding): (&str, Encoding),
    ) -> (Option<Answer>, u64) {
        let trouble = self
            .troubles
            .iter()
            .rev()
            .find(|(number, trouble)| {
                let (entity, ordinal) = about.key(ENTITY | u64::from(*number) << 4);
                self.draws.hits(trouble.share.ppm(), Label::Misbehaviour, entity, ordinal)
            })
            .map(|(_, trouble)| trouble);
        let fate = self.conditions.fate(about);
        let (Fate::Commits(after_us) | Fate::Fails(after_us)) = fate;
        let seconds = |length: Length| length.as_us().div_ceil(1_000_000);
        let retry_after = trouble.and_then(|trouble| trouble.retry_after).map(seconds);
        let misbehaviour = trouble.map(|trouble| trouble.answer);
        let answer = match fate {
            Fate::Fails(_) => Some(embedding::error(500, None, "server_error")),
            Fate::Commits(_) => embedding::answer(texts, model, encoding, misbehaviour, retry_after),
        };
        self.calls.calls += 1;
        self.calls.failed += u64::from(answer.as_ref().is_none_or(|answer| answer.status != 200));
        let waits_us = self.conditions.queueing_us(now_us, texts.len());
        (answer, after_us + waits_us + self.conditions.answer_us())
    }
}

/// The jitter of the pause after a failed attempt.
pub(super) fn pause(draws: Draws, about: About) -> u64 {
    let (entity, ordinal) = about.key(ENTITY);
    draws.bits(Label::ProviderPause, entity, ordinal)
}

/// Names an attempt by the operation whose text comes first; `failed` counts the attempts before it.
pub(crate) fn about(text: Option<&str>, failed: u32) -> About {
    text.and_then(op_of).map_or_else(About::default, |op| About::attempt(op, failed))
}

/// Every text of a workload begins with its operation.
pub(crate) fn op_of(text: &str) -> Option<OpRef> {
    text.split(' ').next()?.parse().ok()
}

/// A pause of a provider's `Retry-After`.
pub(super) fn retry_after(answer: &Answer) -> Option<Span> {
    answer.retry_after.map(Span::from_secs)
}

/// The provider's place among the services whose latency is drawn.
const ENTITY: u64 = 3;
