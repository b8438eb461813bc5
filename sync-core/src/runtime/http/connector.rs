//! Opens a client's connections: TCP, and TLS inside it where the address asks for it.

use std::fmt;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};
use tower_service::Service;

use crate::host_sync::operation::TlsFault;
use crate::limits;
use crate::runtime::duration;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// For one address: the name that its certificate must have is fixed.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// In clear without `tls`.
    pub(super) fn new(tls: Option<(TlsConnector, ServerName<'static>)>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(duration(limits::CONNECT_TIMEOUT)));
        tcp.enforce_http(tls.is_none());
        Self { tcp, tls }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

/// What a request and its answer travel on.
pub(super) trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

impl Connection for Box<dyn Channel> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Channel>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let opening = self.tcp.call(uri);
        let tls = self.tls.clone();
        Box::pin(async move {
            let stream: TcpStream = opening.await?.into_inner();
            let channel: Box<dyn Channel> = match tls {
                None => Box::new(stream),
                Some((connector, name)) => {
                    // Whoever asked may be gone while this is still under way, so it has a bound of its own.
                    let shaken = connector.connect(name, stream);
                    let shaken = timeout(duration(limits::TLS_HANDSHAKE_TIMEOUT), shaken).await?;
                    Box::new(shaken.map_err(told)?)
                }
            };
            Ok(TokioIo::new(channel))
        })
    }
}

/// The fault of TLS, where it is one; else what the system says.
fn told(error: std::io::Error) -> BoxError {
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map(fault);
    match fault {
        Some(fault) => fault.into(),
        None => error.into(),
    }
}

fn fault(error: &Error) -> TlsFault {
    use CertificateError as C;
    match error {
        // A signature is bad when an authority has been made anew under its old name.
        Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => TlsFault::UnknownAuthority,
        Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => TlsFault::Expired,
        Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => TlsFault::NotYetValid,
        Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            TlsFault::WrongName
        }
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsFault::Unusable,
        Error::InvalidMessage(_) => TlsFault::NotTls,
        Error::AlertReceived(AlertDescription::UnrecognisedName) => TlsFault::WrongName,
        _ => TlsFault::NoAgreement,
    }
}

/// The fault of TLS among the causes of an error.
pub(super) fn tls_fault(error: &(dyn std::error::Error + 'static)) -> Option<TlsFault> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<TlsFault>())
        .copied()
}
