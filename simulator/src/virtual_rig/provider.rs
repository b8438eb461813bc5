//! The embedding provider as a node of the world: with latency, failures and misbehaviour.
//!
//! It answers with the bytes that a provider would send, and the core's own reading and retrying make of them what
//! they make of real ones.

use std::sync::Arc;

use slab::Slab;
use sync_core::embedding::{Attempts, EmbedError, Fault, Metadata, RetryPolicy, Vector};
use sync_core::host_sync::server::ServerInput;
use sync_core::id::Token;
use sync_core::store::{Content, StoreReply, StoreRequest};
use sync_core::time::Instant;
use sync_core::wire::embedding::VectorsPayload;

use super::manners::{self, Manners, ProviderCalls, op_of};
use super::services::{About, embedded_texts, written_op};
use super::variant::Variant;
use super::world::{Happening, Observer, World};
use crate::draw::Draws;
use crate::embedding::{self, Encoding};
use crate::history::{OpRef, VectorAt, What};
use crate::scenario::model::{EmbeddingTrouble, Service};

/// The provider, and the requests that it has not answered.
#[derive(Debug)]
pub(super) struct Provider {
    manners: Manners,
    draws: Draws,
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
        Self { manners: Manners::new(draws, service), draws, calls: Slab::new() }
    }

    pub(super) fn disturb(&mut self, fault: u32, trouble: EmbeddingTrouble) {
        self.manners.disturb(fault, trouble);
    }

    pub(super) fn heal(&mut self, fault: u32) {
        self.manners.heal(fault);
    }

    /// How often it was asked so far.
    pub(super) fn calls(&self) -> ProviderCalls {
        self.manners.calls()
    }

    /// Begins an attempt: when something comes of it.
    fn attempt(&mut self, place: usize, now: Instant) -> u64 {
        let Some(call) = self.calls.get_mut(place) else { return 0 };
        let bound_us = call.attempts.bound(now).as_us();
        let (answer, after_us) =
            self.manners.treat(now.as_us(), call.about(), &call.texts, ("model", Encoding::Base64));
        let (outcome, after_us) = match answer {
            Some(answer) if after_us < bound_us => match answer.status {
                200 => (Ok(answer.body), after_us),
                code => {
                    let retry_after = manners::retry_after(&answer);
                    (Err(Fault::Status { code, retry_after }), after_us)
                }
            },
            _ => (Err(Fault::TimedOut), bound_us),
        };
        call.outcome = Some(outcome);
        after_us
    }
}

impl Call {
    fn about(&self) -> About {
        manners::about(self.texts.first().map(|text| &**text), self.attempts.failed())
    }
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
                let draw = manners::pause(provider.draws, call.about());
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
        if applied.iter().any(|answer| answer.takes_effect()) {
            // It belongs beside the text of this very operation.
            let op = written_op(&stored.apply.data);
            self.observe_stored(&stored.metadata, &stored.vector, |own| Some(own) == op);
        }
    }

    /// What the database holds at the end: reports its vectors.
    pub(crate) fn observe_vectors(&mut self, content: &Content) {
        for row in content.embeddings.values() {
            self.observe_stored(&row.metadata, &row.vector, |_| true);
        }
    }

    fn observe_stored(&mut self, metadata: &Metadata, vector: &Vector, may_be: impl Fn(OpRef) -> bool) {
        let text = text_of(metadata);
        let op = text.as_deref().and_then(op_of);
        let op = op.filter(|op| may_be(*op) && text.as_ref() == Some(&embedded_texts(*op)[0]));
        self.observe_vector(op, VectorAt::Database, text.as_deref().unwrap_or_default(), vector);
    }

    /// A host got an answer to the texts that it asked to have embedded: none, or one without vectors, is one with none.
    pub(super) fn observe_given_vectors(&mut self, op: OpRef, payload: Option<&str>) {
        let read = payload.and_then(|payload| sync_core::wire::read(payload.as_bytes()).ok());
        let vectors = read.map_or_else(Vec::new, |VectorsPayload { vectors }| vectors);
        let texts = embedded_texts(op);
        let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
        self.observe(What::VectorsGiven { op, texts: texts.len() as u32, vectors: count });
        for (text, vector) in texts.iter().zip(&vectors) {
            self.observe_vector(Some(op), VectorAt::Host, text, vector);
        }
    }

    fn observe_vector(&mut self, op: Option<OpRef>, at: VectorAt, text: &str, vector: &Vector) {
        self.observe(What::Vector {
            op,
            at,
            text: embedding::text_digest(text),
            vector: embedding::digest(vector.numbers()),
            own: embedding::digest(&embedding::numbers(text)),
        });
    }
}

/// The text beside a stored vector.
pub(crate) fn text_of(metadata: &Metadata) -> Option<String> {
    let metadata: serde_json::Value = serde_json::from_str(metadata.as_str()).ok()?;
    Some(metadata["text"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sync_core::embedding::Metadata;
    use sync_core::store::{EmbeddingId, EmbeddingRow};

    use super::super::variant::Sealed;
    use super::*;
    use crate::history::Event;
    use crate::plan::Plan;
    use crate::scenario::Scenario;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Event>>>);

    impl Observer for Kept {
        fn event(&mut self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn plan() -> Plan {
        let scenario = "name: x\nabout: x\nduration: 1s\ntopology: { hosts: 1 }\n\
             embedding: { latency: { constant: 1ms } }\nexpect: { properties: [P6e] }\n\
             workload: [{ name: x, arrivals: { poisson: 1/s }, mix: [{ type: VECTOR_EMBEDDING }] }]\n";
        Plan::new(&Scenario::parse("x", scenario.as_bytes()).unwrap(), 1)
    }

    /// What P6e gets to see of a database that holds this text beside the vector of that one: whether it is
    /// somebody's, and whether it is its own.
    fn seen(text: &str, of: &str) -> Vec<(bool, bool)> {
        let kept = Kept::default();
        let mut world = World::outside(&plan(), Sealed, kept.clone(), None);
        let metadata = serde_json::json!({ "text": text }).to_string();
        let row = EmbeddingRow {
            vector: Vector::new(embedding::numbers(of)).unwrap(),
            metadata: Metadata::parse(&metadata).unwrap(),
        };
        let id: EmbeddingId = serde_json::from_str("\"1/map0/e1\"").unwrap();
        let mut content = Content::default();
        content.embeddings.insert(id, row);
        world.observe_vectors(&content);
        let events = kept.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event.what {
                What::Vector { op, at: VectorAt::Database, vector, own, .. } => {
                    Some((op.is_some(), vector == own))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_vector_in_a_database_outside_is_held_against_its_text() {
        let [text, second, _] = embedded_texts(OpRef { host: 0, ticket: 1 });
        assert_eq!(seen(&text, &text), [(true, true)]);
        assert_eq!(seen(&text, &second), [(true, false)]);
        // Only the first text of an operation is stored.
        for strange in [&second, "0.1 a sword", "of nobody"] {
            assert_eq!(seen(strange, strange), [(false, true)]);
        }
    }

    #[test]
    fn vectors_that_a_host_is_given_are_counted() {
        let op = OpRef { host: 0, ticket: 1 };
        let texts = embedded_texts(op);
        let payload = |count: usize| {
            let vectors = texts.iter().cycle().take(count);
            let vectors = vectors.map(|text| Vector::new(embedding::numbers(text)).unwrap()).collect();
            serde_json::to_string(&VectorsPayload { vectors }).unwrap()
        };
        for (payload, expected) in [
            (Some(payload(3)), 3),
            (Some(payload(2)), 2),
            (Some(payload(4)), 4),
            (Some("{}".to_owned()), 0),
            (None, 0),
        ] {
            let kept = Kept::default();
            let mut world = World::outside(&plan(), Sealed, kept.clone(), None);
            world.observe_given_vectors(op, payload.as_deref());
            let events = kept.0.lock().unwrap();
            assert_eq!(events[0].what, What::VectorsGiven { op, texts: 3, vectors: expected });
            assert_eq!(events.len() as u32, 1 + expected.min(3));
        }
    }
}
