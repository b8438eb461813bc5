//! A stand-in for OpenAI's and Azure OpenAI's embeddings over real HTTP: `POST /v1/embeddings` and
//! `POST /openai/deployments/{deployment}/embeddings?api-version=...`.
//!
//! The vectors are those of the [model](crate::embedding). The key is checked, in `Authorization: Bearer` or `api-key`; a
//! wrong one gets 401 as it would there. Misbehaviours are switched on and off while it runs.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use sync_core::secret::Secret;
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::embedding::{self, Answer, Encoding};
use crate::scenario::model::EmbeddingAnswer;

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
    calls: Vec<Call>,
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

    /// Takes the calls so far; it keeps the latest [`CALLS_KEPT`].
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.state).calls)
    }
}

impl Respond for Endpoint {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let (texts, answer) = self.answer(request);
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
        match answer.retry_after {
            Some(seconds) => response.insert_header("retry-after", seconds.to_string()),
            None => response,
        }
    }
}

impl Endpoint {
    /// How many texts there were, and the answer to them.
    fn answer(&self, request: &Request) -> (usize, Option<Answer>) {
        let refuse = |status, code| (0, Some(embedding::error(status, None, code)));
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
        let (how, retry_after) = match lock(&self.state).misbehaviour {
            Some((how, retry_after)) => (Some(how), retry_after),
            None => (None, None),
        };
        (texts.len(), embedding::answer(&texts, model, encoding, how, retry_after))
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
