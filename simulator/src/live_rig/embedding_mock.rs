//! A stand-in for OpenAI's and Azure OpenAI's embeddings over real HTTP: `POST /v1/embeddings` and
//! `POST /openai/deployments/{deployment}/embeddings?api-version=...`.
//!
//! The vectors are those of the [model](crate::embedding). The key is checked, in `Authorization: Bearer` or `api-key`; a
//! wrong one gets 401 as it would there. Misbehaviours are switched on and off while it runs; in a live run it behaves as
//! the scenario says, by the same [`Manners`] as the provider of the virtual world.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use sync_core::secret::Secret;
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::draw::Draws;
use crate::embedding::{self, Answer, Encoding};
use crate::history::OpRef;
use crate::scenario::model::{EmbeddingAnswer, Injection, Service};
use crate::virtual_rig::manners::{self, Manners, op_of};
use crate::virtual_rig::outside::Order;
use crate::virtual_rig::world::ProviderCalls;

/// A running mock; dropped, it ends.
pub struct EmbeddingMock {
    server: MockServer,
    state: Arc<Mutex<State>>,
}

/// A request that was answered, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which of the two.
    pub dialect: Dialect,
    /// How many texts.
    pub texts: usize,
    /// The status of the answer; `None` for one that never came.
    pub status: Option<u16>,
}

/// Whose form a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI.
    OpenAi,
    /// Azure OpenAI.
    Azure,
}

#[derive(Default)]
struct State {
    misbehaviour: Option<(EmbeddingAnswer, Option<u64>)>,
    scenario: Option<Scenario>,
    calls: Vec<Call>,
}

/// What a scenario says of its provider, while that is carried out.
struct Scenario {
    manners: Manners,
    start: Instant,
    /// How often the texts of an operation came first.
    attempts: FxHashMap<OpRef, u32>,
}

/// Answers one dialect.
struct Endpoint {
    dialect: Dialect,
    key: Secret<String>,
    state: Arc<Mutex<State>>,
}

/// What counts of a request; further fields, such as `user`, are taken and mean nothing here.
#[derive(Deserialize)]
struct Body {
    input: Input,
    model: Option<String>,
    encoding_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

impl EmbeddingMock {
    /// Listens, and takes this key.
    pub async fn start(listener: TcpListener, key: Secret<String>) -> Self {
        let server = MockServer::builder().listener(listener).disable_request_recording().start().await;
        let state = Arc::new(Mutex::new(State::default()));
        let endpoint = |dialect| Endpoint { dialect, key: key.clone(), state: Arc::clone(&state) };
        let openai = Mock::given(method("POST")).and(path("/v1/embeddings"));
        openai.respond_with(endpoint(Dialect::OpenAi)).mount(&server).await;
        let azure = Mock::given(method("POST")).and(path_regex(AZURE_PATH));
        azure.respond_with(endpoint(Dialect::Azure)).mount(&server).await;
        Self { server, state }
    }

    /// `http://` with address and port, and nothing behind.
    pub fn address(&self) -> String {
        self.server.uri()
    }

    /// Misbehaves from now on, or no longer.
    pub fn misbehave(&self, how: Option<EmbeddingAnswer>, retry_after_seconds: Option<u64>) {
        lock(&self.state).misbehaviour = how.map(|how| (how, retry_after_seconds));
    }

    /// Behaves from now on as a scenario says.
    pub(super) fn behave(&self, draws: Draws, service: &Service) {
        let (manners, start) = (Manners::new(draws, service), Instant::now());
        lock(&self.state).scenario = Some(Scenario { manners, start, attempts: FxHashMap::default() });
    }

    /// A fault begins or ends.
    pub(super) fn order(&self, order: &Order) {
        let mut state = lock(&self.state);
        let Some(Scenario { manners, .. }) = &mut state.scenario else { return };
        match order {
            Order::Begin { number, injection: Injection::Embedding(trouble) } => {
                manners.disturb(*number, trouble.clone());
            }
            Order::End { number, injection: Injection::Embedding(_) } => manners.heal(*number),
            _ => {}
        }
    }

    /// How often it was asked since it behaves as a scenario says.
    pub(super) fn asked(&self) -> Option<ProviderCalls> {
        lock(&self.state).scenario.as_ref().map(|scenario| scenario.manners.calls())
    }

    /// Takes the calls so far; it keeps the latest [`CALLS_KEPT`].
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.state).calls)
    }
}

impl Respond for Endpoint {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let (texts, answer, after) = self.answer(request);
        let mut state = lock(&self.state);
        if state.calls.len() >= CALLS_KEPT {
            state.calls.remove(0);
        }
        let status = answer.as_ref().map(|answer| answer.status);
        state.calls.push(Call { dialect: self.dialect, texts, status });
        drop(state);
        let Some(answer) = answer else {
            return ResponseTemplate::new(500).set_delay(STALL);
        };
        let response = ResponseTemplate::new(answer.status).set_body_raw(answer.body, "application/json");
        let response = if after.is_zero() { response } else { response.set_delay(after) };
        match answer.retry_after {
            Some(seconds) => response.insert_header("retry-after", seconds.to_string()),
            None => response,
        }
    }
}

impl Endpoint {
    /// How many texts there were, the answer to them, and after how long.
    fn answer(&self, request: &Request) -> (usize, Option<Answer>, Duration) {
        let refuse = |status, code| (0, Some(embedding::error(status, None, code)), Duration::ZERO);
        if !self.is_authentic(request) {
            return refuse(401, "invalid_api_key");
        }
        let version = request.url.query_pairs().find(|(name, _)| name == "api-version");
        if self.dialect == Dialect::Azure && version.is_none_or(|(_, version)| version.is_empty()) {
            return refuse(404, "missing_api_version");
        }
        let Ok(Body { input, model, encoding_format }) = serde_json::from_slice(&request.body) else {
            return refuse(400, "invalid_request");
        };
        let texts = match input {
            Input::One(text) => vec![text],
            Input::Many(texts) => texts,
        };
        if texts.is_empty() || texts.len() > TEXTS_MAX || texts.iter().any(String::is_empty) {
            return refuse(400, "invalid_input");
        }
        let encoding = match encoding_format.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => return refuse(400, "invalid_encoding_format"),
        };
        let model = match (self.dialect, &model) {
            (Dialect::OpenAi, None) => return refuse(400, "missing_model"),
            (_, Some(model)) => model.as_str(),
            (Dialect::Azure, None) => "text-embedding-ada-002",
        };
        let mut state = lock(&self.state);
        if let Some(scenario) = &mut state.scenario {
            let (answer, after) = scenario.answer(&texts, model, encoding);
            return (texts.len(), answer, after);
        }
        let (how, retry_after) = match state.misbehaviour {
            Some((how, retry_after)) => (Some(how), retry_after),
            None => (None, None),
        };
        drop(state);
        let answer = embedding::answer(&texts, model, encoding, how, retry_after);
        (texts.len(), answer, Duration::ZERO)
    }

    fn is_authentic(&self, request: &Request) -> bool {
        let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let key = match self.dialect {
            Dialect::OpenAi => header("authorization").and_then(|value| value.strip_prefix("Bearer ")),
            Dialect::Azure => header("api-key"),
        };
        key == Some(self.key.expose())
    }
}

impl Scenario {
    fn answer(&mut self, texts: &[String], model: &str, encoding: Encoding) -> (Option<Answer>, Duration) {
        let first = texts.first().map(String::as_str);
        let attempts = first.and_then(op_of).map(|op| self.attempts.entry(op).or_default());
        let failed = attempts.map_or(0, |attempts| std::mem::replace(attempts, attempts.saturating_add(1)));
        let now_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let about = manners::about(first, failed);
        let (answer, after_us) = self.manners.treat(now_us, about, texts, (model, encoding));
        (answer, Duration::from_micros(after_us))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const AZURE_PATH: &str = "^/openai/deployments/[A-Za-z0-9._-]{1,128}/embeddings$";
/// Texts of one request, as at OpenAI.
const TEXTS_MAX: usize = 2_048;
/// Calls that are kept for whoever looks.
pub const CALLS_KEPT: usize = 10_000;
/// Longer than anybody waits.
const STALL: Duration = Duration::from_secs(3_600);
