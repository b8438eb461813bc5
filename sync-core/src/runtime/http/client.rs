//! A host's end: sends one body and brings the answer's.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::uri::PathAndQuery;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::connector::{Connector, tls_fault};
use crate::config::{Endpoint, Scheme};
use crate::host_sync::operation::{TlsFault, TransportError};
use crate::limits;
use crate::runtime::duration;
use crate::runtime::tls::Trust;
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
    /// Nobody is trusted, so no certificate could be.
    #[error(
        "the system trusts no authority, so `https://` leads nowhere: install its certificates (`ca-certificates`), \
         or name a file in `tls_ca_file`"
    )]
    NoAuthorities,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up with what this program was built from")]
    Tls,
    /// The address is none that HTTP knows.
    #[error("the address cannot be used for HTTP")]
    Address,
}

/// Sends bodies to one address over connections that are kept. Cheap to clone; clones share connections.
///
/// When TLS does not come about, and when it does again, that is logged once, as a warning under the target
/// `p2p_data_sync`; whoever keeps its own log says so with [`reporting`](Self::reporting).
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
    /// Goes with every request, such as a key.
    header: Option<(HeaderName, HeaderValue)>,
    /// For addresses with `https://`.
    watch: Option<Arc<TlsWatch>>,
}

/// How TLS was last seen, and who is told of a change.
struct TlsWatch {
    last: Mutex<Option<TlsFault>>,
    report: Box<dyn Fn(Option<TlsFault>) + Send + Sync>,
}

impl HttpClient {
    /// A client for one address that trusts the system's authorities. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address cannot be spoken to.
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        Self::trusting(endpoint, &Trust::default())
    }

    /// A client for one address, with a say in who is trusted. Nothing is connected yet.
    ///
    /// # Errors
    /// When the address cannot be spoken to.
    pub fn trusting(endpoint: &Endpoint, trust: &Trust) -> Result<Self, ClientError> {
        let uri: Uri = endpoint.to_string().parse().map_err(|_| ClientError::Address)?;
        let tls = match endpoint.scheme() {
            Scheme::Http => None,
            Scheme::Https => Some(tls(endpoint, trust)?),
        };
        let watch = tls.is_some().then(|| Arc::new(TlsWatch::new(log)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(duration(limits::CLIENT_IDLE))
            .build(Connector::new(tls));
        Ok(Self { client, uri, header: None, watch })
    }

    /// The same connections; `report` is told why TLS does not come about, and with `None` that it does again. Without
    /// effect for plain HTTP.
    #[must_use]
    pub fn reporting(self, report: impl Fn(Option<TlsFault>) + Send + Sync + 'static) -> Self {
        let watch = self.watch.as_ref().map(|_| Arc::new(TlsWatch::new(report)));
        Self { watch, ..self }
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
            let response = self.client.request(request).await;
            let fault = response.as_ref().err().and_then(|error| tls_fault(error));
            if let Some(watch) = &self.watch
                && (fault.is_some() || response.is_ok())
            {
                watch.saw(fault);
            }
            let error = fault.map_or(TransportError::Unreachable, TransportError::Tls);
            read(response.map_err(|_| error)?).await
        };
        let answer = timeout(duration(bound), answer).await.unwrap_or(Err(TransportError::TimedOut));
        answer.map_err(|error| Failure { error, retry_after: None })
    }
}

fn tls(endpoint: &Endpoint, trust: &Trust) -> Result<(TlsConnector, ServerName<'static>), ClientError> {
    let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|_| ClientError::Address)?;
    let connector = trust.connector().map_err(|_| ClientError::Tls)?;
    Ok((connector.ok_or(ClientError::NoAuthorities)?, name))
}

impl TlsWatch {
    fn new(report: impl Fn(Option<TlsFault>) + Send + Sync + 'static) -> Self {
        Self { last: Mutex::default(), report: Box::new(report) }
    }

    /// Reports a change.
    fn saw(&self, fault: Option<TlsFault>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != fault {
            *last = fault;
            drop(last);
            (self.report)(fault);
        }
    }
}

impl fmt::Debug for TlsWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsWatch").field("last", &self.last).finish_non_exhaustive()
    }
}

fn log(fault: Option<TlsFault>) {
    match fault {
        Some(fault) => {
            tracing::warn!(target: LOG_TARGET, "no TLS with the server: {fault}; {}", fault.help())
        }
        None => tracing::warn!(target: LOG_TARGET, "TLS with the server works again"),
    }
}

/// What log filters know these lines by.
const LOG_TARGET: &str = "p2p_data_sync";

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
    fn a_change_of_tls_is_reported_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let watch = TlsWatch::new({
            let told = Arc::clone(&told);
            move |fault| told.lock().unwrap().push(fault)
        });
        let (expired, name) = (Some(TlsFault::Expired), Some(TlsFault::WrongName));
        for seen in [None, expired, expired, name, None, None] {
            watch.saw(seen);
        }
        assert_eq!(*told.lock().unwrap(), [expired, name, None]);
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
