//! The embedding provider as a node of the world: with latency, failures and misbehaviour.
//!
//! It answers with the bytes that a provider would send, and the core's own reading and retrying make of them what
//! they make of real ones.

use std::sync::Arc;

use slab::Slab;
use sync_core::embedding::{Attempts, EmbedError, Fault, RetryPolicy, Vector};
use sync_core::host_sync::server::ServerInput;
use sync_core::id::Token;
use sync_core::store::{StoreReply, StoreRequest};
use sync_core::time::{Instant, Span};
use sync_core::wire::embedding::VectorsPayload;

use super::services::{About, Conditions, Fate, embedded_texts, written_op};
use super::variant::Variant;
use super::world::{Happening, Observer, World};
use crate::draw::{Draws, Label};
use crate::embedding::{self, Encoding};
use crate::history::{OpRef, VectorAt, What};
use crate::scenario::model::{EmbeddingTrouble, Service};

/// The provider, and the requests that it has not answered.
#[derive(Debug)]
pub(super) struct Provider {
    conditions: Conditions,
    draws: Draws,
    troubles: Vec<(u32, EmbeddingTrouble)>,
    calls: Slab<Call>,
}

/// One request of an engine, with all its attempts.
#[derive(Debug)]
struct Call {
    life: u32,
    token: Token,
    texts: Arc<Vec<Arc<str>>>,
    attempts: Attempts,
    /// What comes of the attempt under way; `None` while it waits for the next one.
    outcome: Option<Result<Vec<u8>, Fault>>,
}

impl Provider {
    pub(super) fn new(draws: Draws, service: &Service) -> Self {
        Self {
            conditions: Conditions::new(draws, ENTITY, service),
            draws,
            troubles: Vec::new(),
            calls: Slab::new(),
        }
    }

    pub(super) fn disturb(&mut self, fault: u32, trouble: EmbeddingTrouble) {
        self.troubles.push((fault, trouble));
    }

    pub(super) fn heal(&mut self, fault: u32) {
        self.troubles.retain(|(number, _)| *number != fault);
    }

    /// Begins an attempt: when something comes of it.
    fn attempt(&mut self, place: usize, now: Instant) -> u64 {
        let Some(call) = self.calls.get_mut(place) else { return 0 };
        let bound_us = call.attempts.bound(now).as_us();
        let about = about(call);
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
        let seconds = |length: crate::scenario::units::Length| length.as_us().div_ceil(1_000_000);
        let retry_after = trouble.and_then(|trouble| trouble.retry_after).map(seconds);
        let misbehaviour = trouble.map(|trouble| trouble.answer);
        let answer = match fate {
            Fate::Fails(_) => Some(embedding::error(500, None, "server_error")),
            Fate::Commits(_) => {
                embedding::answer(&call.texts, "model", Encoding::Base64, misbehaviour, retry_after)
            }
        };
        let waits_us = self.conditions.queueing_us(now.as_us(), call.texts.len());
        let after_us = after_us + waits_us + self.conditions.answer_us();
        let (outcome, after_us) = match answer {
            Some(answer) if after_us < bound_us => match answer.status {
                200 => (Ok(answer.body), after_us),
                code => {
                    let retry_after = answer.retry_after.map(Span::from_secs);
                    (Err(Fault::Status { code, retry_after }), after_us)
                }
            },
            _ => (Err(Fault::TimedOut), bound_us),
        };
        call.outcome = Some(outcome);
        after_us
    }
}

/// Names an attempt by the operation whose text comes first.
fn about(call: &Call) -> About {
    let op = call.texts.first().and_then(|text| op_of(text));
    op.map_or_else(About::default, |op| About::attempt(op, call.attempts.failed()))
}

/// Every text of a workload begins with its operation.
fn op_of(text: &str) -> Option<OpRef> {
    text.split(' ').next()?.parse().ok()
}

impl<V: Variant, O: Observer> World<V, O> {
    pub(super) fn ask_provider(&mut self, at: usize, token: Token, texts: Arc<Vec<Arc<str>>>) {
        let (now_us, life) = (self.queue.now_us(), self.life_of(at));
        let attempts = Attempts::new(RetryPolicy::default(), Instant::from_us(now_us));
        let Some(provider) = &mut self.provider else {
            self.give(life, token, Err(EmbedError::NotConfigured));
            return;
        };
        let place = provider.calls.insert(Call { life, token, texts, attempts, outcome: None });
        self.provider_due(place);
    }

    /// An attempt at a request to the provider begins, or something comes of one.
    pub(super) fn provider_due(&mut self, place: usize) {
        let now_us = self.queue.now_us();
        let now = Instant::from_us(now_us);
        let Some(provider) = &mut self.provider else { return };
        let Some(call) = provider.calls.get_mut(place) else { return };
        let answer = match call.outcome.take() {
            None => {
                let after_us = provider.attempt(place, now);
                self.queue.schedule(now_us + after_us, Happening::Provider { place });
                return;
            }
            Some(Ok(body)) => self.variant.read_vectors(&body, call.texts.len()),
            Some(Err(fault)) => {
                let (entity, ordinal) = about(call).key(ENTITY);
                let draw = provider.draws.bits(Label::ProviderPause, entity, ordinal);
                match call.attempts.failed_with(now, fault, draw) {
                    Ok(pause) => {
                        let due_us = now_us + pause.as_us();
                        self.queue.schedule(due_us, Happening::Provider { place });
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let Call { life, token, .. } = provider.calls.remove(place);
        self.give(life, token, answer);
    }

    fn give(&mut self, life: u32, token: Token, answer: Result<Vec<Vector>, EmbedError>) {
        if let Some(at) = self.living(life) {
            self.tell_server(at, ServerInput::Embedded { token, answer });
        }
    }

    /// A request took effect in the database: reports a vector that it stored.
    pub(super) fn observe_stored_vector(&mut self, request: &StoreRequest, reply: &StoreReply) {
        let (StoreRequest::StoreEmbedding(stored), StoreReply::Applied(applied)) = (request, reply) else {
            return;
        };
        let metadata: serde_json::Value = serde_json::from_str(stored.metadata.as_str()).unwrap_or_default();
        let (Some(text), Some(op)) = (metadata["text"].as_str(), written_op(&stored.apply.data)) else {
            return;
        };
        if applied.iter().any(|answer| answer.takes_effect()) {
            self.observe_vector(op, VectorAt::Database, text, &stored.vector);
        }
    }

    /// A host got the vectors of its texts.
    pub(super) fn observe_given_vectors(&mut self, op: OpRef, payload: &str) {
        let Ok(VectorsPayload { vectors }) = sync_core::wire::read(payload.as_bytes()) else { return };
        for (text, vector) in embedded_texts(op).iter().zip(&vectors) {
            self.observe_vector(op, VectorAt::Host, text, vector);
        }
    }

    fn observe_vector(&mut self, op: OpRef, at: VectorAt, text: &str, vector: &Vector) {
        self.observe(What::Vector {
            op,
            at,
            text: embedding::text_digest(text),
            vector: embedding::digest(vector.numbers()),
            own: embedding::digest(&embedding::numbers(text)),
        });
    }
}

/// The provider's place among the services whose latency is drawn.
const ENTITY: u64 = 3;
