//! A host's end: sends one body and brings the answer's.

use axum::http::uri::PathAndQuery;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio::time::timeout;

use crate::config::{Endpoint, Scheme};
use crate::host_sync::operation::TransportError;
use crate::limits;
use crate::runtime::duration;
use crate::time::Span;

/// Why one exchange brought no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct Failure {
    /// What a session is told.
    pub error: TransportError,
    /// How long the server asked to be left alone.
    pub retry_after: Option<Span>,
}

/// Why an address cannot be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// `https://`.
    #[error(
        "TLS is not built in: let a proxy on this machine speak it, and give its `http://127.0.0.1` address"
    )]
    Tls,
    /// The address is none that HTTP knows.
    #[error("the address cannot be used for HTTP")]
    Address,
}

/// Sends bodies to one address over connections that are kept. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    /// Goes with every request, such as a key.
    header: Option<(HeaderName, HeaderValue)>,
}

impl HttpClient {
    /// A client for one address. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address asks for TLS.
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        if endpoint.scheme() == Scheme::Https {
            return Err(ClientError::Tls);
        }
        let uri: Uri = endpoint.to_string().parse().map_err(|_| ClientError::Address)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(duration(limits::CONNECT_TIMEOUT)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(duration(limits::CLIENT_IDLE))
            .build(connector);
        Ok(Self { client, uri, header: None })
    }

    /// The same connections, another path (and query) on the same server.
    ///
    /// # Errors
    /// When `path` is no path.
    pub fn with_path(&self, path: &str) -> Result<Self, ClientError> {
        let path: PathAndQuery = path.parse().map_err(|_| ClientError::Address)?;
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(path);
        let uri = Uri::from_parts(parts).map_err(|_| ClientError::Address)?;
        Ok(Self { uri, ..self.clone() })
    }

    /// The same connections, with a header of one's own on every request.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// Posts one body and brings the body of an answer with status 200, of at most
    /// [`limits::BODY_BYTES_MAX`] bytes, within `bound` from now.
    ///
    /// # Errors
    /// Any other status; no connection, or one that broke; no answer in time; an answer that is too large,
    /// which counts as one that is not authentic.
    pub async fn exchange(&self, body: Vec<u8>, bound: Span) -> Result<Vec<u8>, Failure> {
        let (status, headers, body) = self.request(Method::POST, body, bound).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(Failure { error: TransportError::Status(status.as_u16()), retry_after: retry_after(&headers) })
    }

    /// Fetches the address and brings the answer's status and body, whatever the status.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange), but for the status.
    pub async fn fetch(&self, bound: Span) -> Result<(u16, Vec<u8>), Failure> {
        let (status, _, body) = self.request(Method::GET, Vec::new(), bound).await?;
        Ok((status.as_u16(), body))
    }

    async fn request(
        &self,
        method: Method,
        body: Vec<u8>,
        bound: Span,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), Failure> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header.clone() {
            request.headers_mut().insert(name, value);
        }
        let answer = async {
            let response = self.client.request(request).await.map_err(|_| TransportError::Unreachable)?;
            read(response).await
        };
        let answer = timeout(duration(bound), answer).await.unwrap_or(Err(TransportError::TimedOut));
        answer.map_err(|error| Failure { error, retry_after: None })
    }
}

async fn read(response: Response<Incoming>) -> Result<(StatusCode, HeaderMap, Vec<u8>), TransportError> {
    let (parts, body) = response.into_parts();
    match Limited::new(body, limits::BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok((parts.status, parts.headers, body.to_bytes().into())),
        Err(error) if error.is::<LengthLimitError>() => Err(TransportError::Untrusted),
        Err(_) => Err(TransportError::Unreachable),
    }
}

/// In whole seconds only; a date is not taken.
fn retry_after(headers: &HeaderMap) -> Option<Span> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Span::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_refused_rather_than_left_out() {
        let refused = HttpClient::new(&"https://sync.example.com/p2p-sync".parse().unwrap());
        assert_eq!(refused.map(|_| ()), Err(ClientError::Tls));
        assert!(HttpClient::new(&"http://[::1]:8080/p2p-sync".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_pause_is_taken_in_whole_seconds_only() {
        let check = |text: &'static str, expected| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers), expected, "{text}");
        };
        check("3", Some(Span::from_secs(3)));
        check("18446744073709551615", Some(Span::MAX));
        check("-1", None);
        check("Wed, 21 Oct 2015 07:28:00 GMT", None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
