//! The embedding client over real sockets, against a server that does as a test says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "sockets live in real time")]

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sync_core::config::EmbeddingProvider;
use sync_core::embedding::{EmbedError, InvalidReply, InvalidVector, RetryPolicy, Vector};
use sync_core::limits;
use sync_core::runtime::embedding::EmbeddingClient;
use sync_core::secret::Secret;
use sync_core::time::Span;

/// What the server answers, request after request; the last answer again and again.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Vectors,
    Backwards,
    OneLess,
    Short,
    Malformed,
    Huge,
    Status(u16, Option<&'static str>),
    Stall,
}

/// Of a request: path and query, the two headers, the model named (`-` for none), and the texts.
type Seen = (String, String, String, Vec<String>);

#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(answers: &[Answer]) -> (Self, String) {
        let server =
            Self { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Self::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (server, address)
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name| parts.headers.get(name).map_or("-", |value| value.to_str().unwrap());
    let key = format!("{} {}", header("authorization"), header("api-key"));
    let path = parts.uri.path_and_query().unwrap().to_string();
    let body = axum::body::to_bytes(body, 1 << 22).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let texts: Vec<String> = serde_json::from_value(body["input"].clone()).unwrap();
    let answer = {
        let mut answers = server.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] }
    };
    let count = texts.len();
    let item = |(index, text): (usize, &String)| serde_json::json!({"index": index, "embedding": vector(text).to_base64()});
    let mut items: Vec<_> = texts.iter().enumerate().map(item).collect();
    let model = body["model"].as_str().unwrap_or("-").to_owned();
    server.seen.lock().unwrap().push((path, key, model, texts));
    match answer {
        Answer::Vectors => {}
        Answer::Backwards => items.reverse(),
        Answer::OneLess => items.truncate(count - 1),
        Answer::Short => items[0]["embedding"] = serde_json::json!([0.5, 0.5]),
        Answer::Malformed => return "{\"data\":[canary".into_response(),
        Answer::Huge => return "x".repeat(limits::BODY_BYTES_MAX + 1).into_response(),
        Answer::Status(code, retry_after) => {
            let status = StatusCode::from_u16(code).unwrap();
            let mut response = (status, "{\"error\":{\"message\":\"canary\"}}").into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.parse().unwrap());
            }
            return response;
        }
        Answer::Stall => pending::<()>().await,
    }
    serde_json::json!({"data": items}).to_string().into_response()
}

/// A vector that says which text it is of.
fn vector(text: &str) -> Vector {
    let mut numbers = vec![0.25; limits::EMBEDDING_DIMENSIONS];
    numbers[0] = text.parse::<f32>().unwrap();
    Vector::new(numbers).unwrap()
}

fn openai(address: &str) -> EmbeddingClient {
    let endpoint = format!("{address}/v1").parse().unwrap();
    let key = Secret::new("canary".to_owned());
    let provider = EmbeddingProvider::OpenAi { endpoint: &endpoint, key: &key, model: "ada" };
    let short = RetryPolicy {
        total: Span::from_secs(20),
        attempt: Span::from_ms(300),
        attempts_max: 4,
        backoff_min: Span::from_ms(2),
        backoff_max: Span::from_ms(5),
    };
    EmbeddingClient::new(provider.into()).unwrap().with_policy(short)
}

fn texts(count: usize) -> Vec<Arc<str>> {
    (1..=count).map(|n| n.to_string().into()).collect()
}

/// Asks for three texts; the answer as what the vectors say, and how many requests it took.
async fn check(answers: &[Answer], expected: Result<&[f32], EmbedError>, requests: usize) {
    let (server, address) = Server::start(answers).await;
    let client = openai(&address);
    let given = client.embed(&texts(3)).await;
    let marks = given.map(|vectors| vectors.iter().map(|v| v.numbers()[0]).collect::<Vec<_>>());
    assert_eq!(marks.as_deref().map_err(|error| *error), expected, "{answers:?}");
    assert_eq!(server.seen.lock().unwrap().len(), requests, "{answers:?}");
    if let Err(error) = expected {
        assert!(!format!("{error} {error:?} {client:?}").contains("canary"));
    }
}

const ALL: Result<&[f32], EmbedError> = Ok(&[1.0, 2.0, 3.0]);

#[tokio::test]
async fn vectors_are_those_of_their_texts_whatever_the_order_of_the_answer() {
    check(&[Answer::Vectors], ALL, 1).await;
    check(&[Answer::Backwards], ALL, 1).await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    use Answer::{Stall, Status, Vectors};
    check(&[Status(429, Some("0")), Vectors], ALL, 2).await;
    check(&[Status(429, None), Status(500, None), Status(503, None), Vectors], ALL, 4).await;
    check(&[Stall, Vectors], ALL, 2).await;
    check(&[Status(429, None)], Err(EmbedError::RateLimited), 4).await;
    check(&[Status(502, None)], Err(EmbedError::Unavailable), 4).await;
    check(&[Stall], Err(EmbedError::TimedOut), 4).await;
    // It asks for more time than there is.
    check(&[Status(429, Some("21"))], Err(EmbedError::RateLimited), 1).await;
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    for code in [400, 401, 404, 422] {
        check(&[Answer::Status(code, Some("1"))], Err(EmbedError::Refused(code)), 1).await;
    }
    let invalid = |error| Err(EmbedError::Invalid(error));
    check(&[Answer::OneLess], invalid(InvalidReply::Count { asked: 3, given: 2 }), 1).await;
    let dimensions = InvalidVector::Dimensions { given: 2 };
    check(&[Answer::Short], invalid(InvalidReply::Vector(dimensions)), 1).await;
    check(&[Answer::Malformed], invalid(InvalidReply::Malformed), 1).await;
    check(&[Answer::Huge], invalid(InvalidReply::TooLarge), 1).await;
}

#[tokio::test]
async fn nobody_there_is_not_available() {
    let client = openai("http://127.0.0.1:1");
    assert_eq!(client.embed(&texts(1)).await.map(|_| ()), Err(EmbedError::Unavailable));
}

#[tokio::test]
async fn many_texts_go_in_several_requests_and_each_provider_gets_its_key() {
    let (server, address) = Server::start(&[Answer::Vectors]).await;
    let count = limits::EMBEDDING_BATCH_TEXTS_MAX + 3;
    let vectors = openai(&address).embed(&texts(count)).await.unwrap();
    let marks: Vec<_> = vectors.iter().map(|v| v.numbers()[0] as usize).collect();
    assert_eq!(marks, (1..=count).collect::<Vec<_>>());

    let (endpoint, key) = (address.parse().unwrap(), Secret::new("azure-canary".to_owned()));
    let provider = EmbeddingProvider::Azure {
        endpoint: &endpoint,
        key: &key,
        deployment: "d",
        api_version: "2023-05-15",
    };
    EmbeddingClient::new(provider.into()).unwrap().embed(&texts(1)).await.unwrap();
    let seen: Vec<_> = server
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|(path, key, model, texts)| (path.clone(), format!("{key} {model}"), texts.len()))
        .collect();
    let row = |path: &str, key: &str, texts| (path.to_owned(), key.to_owned(), texts);
    assert_eq!(
        seen,
        [
            row("/v1/embeddings", "Bearer canary - ada", limits::EMBEDDING_BATCH_TEXTS_MAX),
            row("/v1/embeddings", "Bearer canary - ada", 3),
            row("/openai/deployments/d/embeddings?api-version=2023-05-15", "- azure-canary -", 1),
        ]
    );
}
