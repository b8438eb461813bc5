//! The embedding provider over HTTP: sends what [`Provider`] says, and asks again as [`Attempts`] decides.
//!
//! Nothing that the provider says is logged or passed on but numbers: its errors may quote texts and keys.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use hyper::header::{HeaderName, HeaderValue};
use tokio::time::sleep;

use super::clock::Clock;
use super::duration;
use super::entropy::OsEntropy;
use super::http::{ClientError, Failure, HttpClient};
use super::tls::Trust;
use crate::embedding::{
    Attempts, EmbedError, Fault, InvalidReply, Provider, RetryPolicy, Vector, batches, reply,
};
use crate::entropy::{Entropy, Purpose};
use crate::host_sync::operation::{TlsFault, TransportError};
use crate::time::Span;

/// Gives texts their vectors. A harness stands in for the real one.
pub trait Embedder: fmt::Debug + Send + Sync + 'static {
    /// One vector for each text, in their order, or an error for all of them.
    fn embed(&self, texts: Arc<Vec<Arc<str>>>) -> BoxFuture<'_, Result<Vec<Vector>, EmbedError>>;
}

/// A provider at its address; its requests share connections.
#[derive(Debug)]
pub struct EmbeddingClient {
    http: HttpClient,
    provider: Provider,
    policy: RetryPolicy,
    clock: Clock,
    /// Requests so far: keys the draws.
    requests: AtomicU64,
}

impl EmbeddingClient {
    /// A client that trusts the system's authorities; nothing is connected yet.
    ///
    /// # Errors
    /// When the address cannot be spoken to.
    pub fn new(provider: Provider) -> Result<Self, ClientError> {
        Self::trusting(provider, &Trust::default())
    }

    /// The same, with a say in who is trusted.
    ///
    /// # Errors
    /// When the address cannot be spoken to.
    pub fn trusting(provider: Provider, trust: &Trust) -> Result<Self, ClientError> {
        let (name, value) = provider.authentication();
        let name = HeaderName::from_static(name);
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| ClientError::Address)?;
        // It is not shown then, not even by whoever prints headers.
        value.set_sensitive(true);
        let http = HttpClient::trusting(provider.endpoint(), trust)?
            .with_path(&provider.path_and_query())?
            .with_header(name, value);
        let (clock, policy) = (Clock::start(), RetryPolicy::default());
        Ok(Self { http, provider, policy, clock, requests: AtomicU64::new(0) })
    }

    /// The same with bounds of one's own.
    #[must_use]
    pub fn with_policy(self, policy: RetryPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The same; `report` is told why TLS does not come about with the provider, and with `None` that it does again.
    #[must_use]
    pub fn reporting(self, report: impl Fn(Option<TlsFault>) + Send + Sync + 'static) -> Self {
        Self { http: self.http.reporting(report), ..self }
    }

    /// The vectors of any number of texts, asked for in as many requests as they take, one after the other.
    ///
    /// # Errors
    /// That of the first request that failed; no text has a vector then.
    pub async fn embed(&self, texts: &[Arc<str>]) -> Result<Vec<Vector>, EmbedError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in batches(texts) {
            vectors.extend(self.request(&texts[batch]).await?);
        }
        Ok(vectors)
    }

    async fn request(&self, texts: &[Arc<str>]) -> Result<Vec<Vector>, EmbedError> {
        let mut attempts = Attempts::new(self.policy, self.clock.now().monotonic);
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let body = self.provider.body(texts);
        loop {
            let bound = attempts.bound(self.clock.now().monotonic);
            let fault = match self.attempt(body.clone(), bound).await {
                Ok(body) => return Ok(reply::read(&body?, texts.len())?),
                Err(fault) => fault,
            };
            let ordinal = u64::from(attempts.failed());
            let draw = OsEntropy::new().draw(Purpose::Jitter, request, ordinal);
            sleep(duration(attempts.failed_with(self.clock.now().monotonic, fault, draw)?)).await;
        }
    }

    /// The body of an answer with status 200, or how there is none.
    async fn attempt(&self, body: Vec<u8>, bound: Span) -> Result<Result<Vec<u8>, InvalidReply>, Fault> {
        match self.http.exchange(body, bound).await {
            Ok(body) => Ok(Ok(body)),
            Err(Failure { error: TransportError::Status(code), retry_after }) => {
                Err(Fault::Status { code, retry_after })
            }
            Err(Failure { error: TransportError::TimedOut, .. }) => Err(Fault::TimedOut),
            // Why there is no TLS is for the operator of this server, not for its hosts.
            Err(Failure { error: TransportError::Unreachable | TransportError::Tls(_), .. }) => {
                Err(Fault::Unreachable)
            }
            // What the client calls an answer that is too large.
            Err(Failure { error: TransportError::Untrusted | TransportError::Stale, .. }) => {
                Ok(Err(InvalidReply::TooLarge))
            }
        }
    }
}

impl Embedder for EmbeddingClient {
    fn embed(&self, texts: Arc<Vec<Arc<str>>>) -> BoxFuture<'_, Result<Vec<Vector>, EmbedError>> {
        Box::pin(async move { Self::embed(self, &texts).await })
    }
}
