//! Asks peers.

use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::time::timeout;

use super::{Body, Coding, EXCHANGE_PATH, HELLO_HEADER, Keys, SIGNATURE_HEADER, STATUS_PATH, ZSTD};
use crate::limits;
use crate::peer_sync::announcement::PeerAddress;
use crate::peer_sync::authentication::{Proof, Request};
use crate::peer_sync::message::{Asked, Hello, PeerAnswer, PeerQuestion, Refusal};
use crate::peer_sync::replica::{NoAnswer, Status};
use crate::runtime::duration;
use crate::time::Span;

/// Asks any number of peers over connections that are kept. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct PeerClient {
    client: Client<HttpConnector, Full<Bytes>>,
    keys: Keys,
}

/// An answer as it arrived.
struct Arrived {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
    is_believed: bool,
}

impl PeerClient {
    pub(crate) fn new(keys: Keys) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(duration(limits::CONNECT_TIMEOUT)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(duration(limits::CLIENT_IDLE))
            .build(tcp);
        Self { client, keys }
    }

    /// Asks a peer: a hello at its API port, anything else at its listen port.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, to: &PeerAddress, asked: &Asked, bound: Span) -> Result<PeerAnswer, NoAnswer> {
        let exchanged = async {
            match &asked.question {
                PeerQuestion::Hello(hello) => self.hello(to, hello).await,
                _ => self.exchange(to, asked).await,
            }
        };
        timeout(duration(bound), exchanged).await.unwrap_or(Err(NoAnswer::TimedOut))
    }

    async fn hello(&self, to: &PeerAddress, hello: &Hello) -> Result<PeerAnswer, NoAnswer> {
        let hello = STANDARD.encode(serde_json::to_vec(hello).unwrap_or_default());
        let request = Request { method: Method::GET.as_str(), target: STATUS_PATH, head: &hello, body: b"" };
        let proof = self.keys.prove(&request);
        let built = hyper::Request::get(format!("http://{to}{STATUS_PATH}")).header(HELLO_HEADER, &hello);
        let arrived = self.send(built, proof, Bytes::new()).await?;
        match arrived.status {
            StatusCode::SERVICE_UNAVAILABLE => Ok(PeerAnswer::Busy),
            // Whoever answers there does not hold the key.
            StatusCode::OK if !arrived.is_believed => Ok(PeerAnswer::Refused(Refusal::Key)),
            StatusCode::OK => {
                let status: Status = arrived.json()?;
                status.hello.map(PeerAnswer::Hello).ok_or(NoAnswer::Malformed)
            }
            _ => arrived.json::<Refused>().map(|refused| PeerAnswer::Refused(refused.refused)),
        }
    }

    async fn exchange(&self, to: &PeerAddress, asked: &Asked) -> Result<PeerAnswer, NoAnswer> {
        // Only a push can be large.
        let body = match &asked.question {
            PeerQuestion::Push(_) => {
                let asked = asked.clone();
                aside(move || Body::write(&asked)).await
            }
            _ => Body::write(asked).ok(),
        };
        let Body { bytes, coding } = body.ok_or(NoAnswer::Malformed)?;
        let method = Method::POST.as_str();
        let proof = self.keys.prove(&Request {
            method,
            target: EXCHANGE_PATH,
            head: coding_name(coding),
            body: &bytes,
        });
        let mut built = hyper::Request::post(format!("http://{to}{EXCHANGE_PATH}"))
            .header(CONTENT_TYPE, "application/json");
        if coding == Coding::Zstd {
            built = built.header(CONTENT_ENCODING, ZSTD);
        }
        let arrived = self.send(built, proof, bytes.into()).await?;
        match arrived.status {
            StatusCode::SERVICE_UNAVAILABLE => Ok(PeerAnswer::Busy),
            StatusCode::UNAUTHORIZED => Ok(PeerAnswer::Refused(Refusal::Key)),
            StatusCode::OK if !arrived.is_believed => Ok(PeerAnswer::Refused(Refusal::Key)),
            StatusCode::OK => arrived.answer().await,
            _ => Err(NoAnswer::Malformed),
        }
    }

    async fn send(
        &self,
        built: hyper::http::request::Builder,
        proof: Option<Proof>,
        body: Bytes,
    ) -> Result<Arrived, NoAnswer> {
        let built = match proof {
            Some(proof) => built.header(AUTHORIZATION, proof.to_string()),
            None => built,
        };
        // A host that can stand in no URL is nowhere.
        let request = built.body(Full::new(body)).map_err(|_| NoAnswer::Unreachable)?;
        let response = self.client.request(request).await.map_err(|_| NoAnswer::Unreachable)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limits::PEER_BODY_BYTES_MAX).collect().await;
        let bytes: Vec<u8> = body.map_err(|_| NoAnswer::Malformed)?.to_bytes().into();
        let signature = parts.headers.get(SIGNATURE_HEADER).and_then(|signature| signature.to_str().ok());
        let is_believed = self.keys.believes(proof, parts.status.as_u16(), &bytes, signature);
        Ok(Arrived { status: parts.status, headers: parts.headers, bytes, is_believed })
    }
}

/// How a refused hello is answered.
#[derive(Deserialize)]
struct Refused {
    refused: Refusal,
}

impl Arrived {
    fn json<T: for<'de> Deserialize<'de>>(&self) -> Result<T, NoAnswer> {
        serde_json::from_slice(&self.bytes).map_err(|_| NoAnswer::Malformed)
    }

    async fn answer(self) -> Result<PeerAnswer, NoAnswer> {
        let packed =
            self.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes() == ZSTD.as_bytes());
        let body = Body { bytes: self.bytes, coding: if packed { Coding::Zstd } else { Coding::Plain } };
        let answer = if body.is_large() { aside(move || body.read()).await } else { body.read().ok() };
        answer.ok_or(NoAnswer::Malformed)
    }
}

/// What stands for the coding of a body where it is signed.
pub(super) const fn coding_name(coding: Coding) -> &'static str {
    match coding {
        Coding::Plain => "",
        Coding::Zstd => ZSTD,
    }
}

/// Does what takes long beside the threads that wait for sockets.
pub(super) async fn aside<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok().and_then(Result::ok)
}
