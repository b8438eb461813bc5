//! The mock of OpenAI's and Azure's embeddings, as the core's own client sees it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "sockets live in real time")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;

use simulator::embedding::numbers;
use simulator::live_rig::{Call, Dialect, EmbeddingMock};
use simulator::scenario::model::EmbeddingAnswer;
use sync_core::config::EmbeddingProvider;
use sync_core::embedding::{EmbedError, InvalidReply, InvalidVector, RetryPolicy};
use sync_core::runtime::embedding::EmbeddingClient;
use sync_core::secret::Secret;
use sync_core::time::Span;

const KEY: &str = "canary";

async fn mock() -> EmbeddingMock {
    EmbeddingMock::start(TcpListener::bind("127.0.0.1:0").unwrap(), Secret::new(KEY.to_owned())).await
}

/// A client that gives up soon.
fn client(address: &str, dialect: Dialect, key: &str) -> EmbeddingClient {
    let key = Secret::new(key.to_owned());
    let (openai, azure) = (format!("{address}/v1").parse().unwrap(), address.parse().unwrap());
    let provider = match dialect {
        Dialect::OpenAi => EmbeddingProvider::OpenAi { endpoint: &openai, key: &key, model: "ada" },
        Dialect::Azure => EmbeddingProvider::Azure {
            endpoint: &azure,
            key: &key,
            deployment: "ada",
            api_version: "2023-05-15",
        },
    };
    let soon = RetryPolicy {
        total: Span::from_secs(10),
        attempt: Span::from_ms(500),
        attempts_max: 2,
        backoff_min: Span::from_ms(1),
        backoff_max: Span::from_ms(2),
    };
    EmbeddingClient::new(provider.into()).unwrap().with_policy(soon)
}

fn texts() -> Vec<Arc<str>> {
    ["a sword", "a shield", "a \u{1F409}"].map(Arc::from).to_vec()
}

fn call(dialect: Dialect, texts: usize, status: Option<u16>) -> Call {
    Call { dialect, texts, status }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_dialects_give_the_vectors_of_the_model_to_whoever_has_the_key() {
    let mock = mock().await;
    for dialect in [Dialect::OpenAi, Dialect::Azure] {
        let vectors = client(&mock.address(), dialect, KEY).embed(&texts()).await.unwrap();
        let expected: Vec<_> = texts().iter().map(|text| numbers(text)).collect();
        let given: Vec<_> = vectors.iter().map(|vector| vector.numbers().to_vec()).collect();
        assert_eq!(given, expected, "{dialect:?}");
        let refused = client(&mock.address(), dialect, "another").embed(&texts()).await;
        assert_eq!(refused, Err(EmbedError::Refused(401)));
        assert_eq!(mock.take_calls(), [call(dialect, 3, Some(200)), call(dialect, 0, Some(401))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_misbehaves_as_told_and_is_well_again() {
    let mock = mock().await;
    let client = client(&mock.address(), Dialect::OpenAi, KEY);
    let invalid = |error| Err(EmbedError::Invalid(error));
    let half = InvalidVector::Dimensions { given: 768 };
    for (how, retry_after, expected, requests) in [
        (EmbeddingAnswer::RateLimited, None, Err(EmbedError::RateLimited), 2),
        (EmbeddingAnswer::RateLimited, Some(0), Err(EmbedError::RateLimited), 2),
        (EmbeddingAnswer::RateLimited, Some(60), Err(EmbedError::RateLimited), 1),
        (EmbeddingAnswer::Error, None, Err(EmbedError::Unavailable), 2),
        (EmbeddingAnswer::Stall, None, Err(EmbedError::TimedOut), 2),
        (EmbeddingAnswer::FewerVectors, None, invalid(InvalidReply::Count { asked: 3, given: 2 }), 1),
        (EmbeddingAnswer::PermutedIndex, None, Ok(()), 1),
        (EmbeddingAnswer::WrongDimension, None, invalid(InvalidReply::Vector(half)), 1),
        (EmbeddingAnswer::MalformedJson, None, invalid(InvalidReply::Malformed), 1),
    ] {
        mock.misbehave(Some(how), retry_after);
        let given = client.embed(&texts()).await;
        if let Ok(vectors) = &given {
            assert_eq!(vectors[2].numbers(), numbers(&texts()[2]));
        }
        assert_eq!(given.map(|_| ()), expected, "{how:?}");
        assert_eq!(mock.take_calls().len(), requests, "{how:?}");
    }
    mock.misbehave(None, None);
    assert_eq!(client.embed(&texts()).await.map(|vectors| vectors.len()), Ok(3));
}

#[test]
fn it_stands_alone_as_a_command() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_p2psim"))
        .args(["mock", "embeddings", "--key", KEY])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let given = runtime.block_on(client(&address, Dialect::Azure, KEY).embed(&texts()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(given.map(|vectors| vectors.len()), Ok(3));
}
