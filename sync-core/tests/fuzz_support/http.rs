//! Requests. An input is text: `METHOD TARGET`, headers as `name: value` a line each, an empty line, the body. What is no
//! such request is sent over a connection as it is.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use sync_core::peer_sync::message::PeerAnswer;
use sync_core::runtime::peer_node::wire::{self, Coding, EXCHANGE_PATH, HELLO_HEADER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::world::{FROM, World};
use super::{Became, Finding};

/// No answer takes nearly as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const REGISTER_PATH: &str = "/api/v1/auth/register";

/// An input as a request.
pub struct Spoken<'a> {
    pub method: Method,
    pub target: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: &'a [u8],
}

impl<'a> Spoken<'a> {
    /// Reads an input; none if a server of HTTP would not take it for a request.
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let mut rest = input;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            rest = end.map_or(&[], |end| &rest[end + 1..]);
            line
        };
        let mut first = line().splitn(2, |byte| *byte == b' ');
        let method = Method::from_bytes(first.next()?).ok()?;
        let target = Uri::try_from(first.next()?).ok().filter(|target| target.path().starts_with('/'))?;
        let mut headers = Vec::new();
        loop {
            let line = line();
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            headers.push((name, value));
        }
        Some(Self { method, target, headers, body: rest })
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body.to_vec()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        // As a connection has it; what an input says of its length is for inputs that are sent as they are.
        let length = HeaderValue::from(self.body.len());
        let headers = self.headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH);
        for (name, value) in headers.cloned().chain([(CONTENT_LENGTH, length)]) {
            request.headers_mut().append(name, value);
        }
        request
    }

    fn only_reads(&self) -> bool {
        let says_hello = self.headers.iter().any(|(name, _)| name == HELLO_HEADER);
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS) && !says_hello
    }
}

pub(super) async fn tell(world: &World, input: &[u8]) -> Result<Became, Finding> {
    let Some(spoken) = Spoken::read(input) else { return tell_bytes(world, input).await };
    let is_p2p = spoken.target.path() == EXCHANGE_PATH;
    let response = match is_p2p {
        true => world.ports.p2p(FROM, spoken.request()).await,
        false => world.ports.api(FROM, spoken.request()).await,
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| Finding("the answer breaks off".to_owned()))?.to_bytes();
    if parts.status.is_server_error() {
        let text = String::from_utf8_lossy(&body).into_owned();
        return Err(Finding(format!("answered {} although nothing is amiss: {text}", parts.status)));
    }
    let is_refused = parts.status.is_client_error()
        || parts.status == StatusCode::OK && is_p2p && {
            let packed = parts.headers.get("content-encoding").is_some();
            let coding = if packed { Coding::Zstd } else { Coding::Plain };
            let answer = wire::Body { bytes: body.to_vec(), coding }.read::<PeerAnswer>();
            let answer = answer.map_err(|error| Finding(format!("what it answers a peer: {error}")))?;
            matches!(answer, PeerAnswer::Refused(_) | PeerAnswer::Busy)
        };
    if world.is_keyed && spoken.target.path() != REGISTER_PATH {
        world.has_its_rows("without the key nothing but users can be written")?;
    }
    Ok(match (is_refused, spoken.only_reads()) {
        (true, _) => Became::Refused,
        (false, true) => Became::Read,
        (false, false) => Became::Accepted,
    })
}

/// What is no request, over a connection to the documented endpoints.
async fn tell_bytes(world: &World, input: &[u8]) -> Result<Became, Finding> {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let talk = async {
        // Whoever does not like what it reads may close at any time.
        let _ = client.write_all(input).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let ended = timeout(ANSWER_TIMEOUT, client.read_to_end(&mut answer)).await;
        drop(client);
        ended.map(|_| answer)
    };
    let (answer, ()) = tokio::join!(talk, world.ports.connection(FROM, server));
    let answer = answer.map_err(|_| Finding("the connection does not end with its client".to_owned()))?;
    // Requests that were one after all, and not refused.
    let is_taken = answer.windows(10).any(|part| part.starts_with(b"HTTP/1.1 2"));
    Ok(if is_taken { Became::Accepted } else { Became::Refused })
}
