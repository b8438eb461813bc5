//! `main-server proxy`: a sync proxy from its start to its orderly end.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, INVALID, complain, say};
use crate::config::{Endpoint, TlsFiles};
use crate::runtime::http::HttpClient;
use crate::runtime::main_server::SYNC_PATH;
use crate::runtime::sync_proxy::{SyncProxy, SyncProxyError};
use crate::runtime::tls::{Identity, Trust};

/// `main-server proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ProxyArguments {
    /// The main server's sync endpoint; hosts never see it.
    #[arg(long, value_name = "URL")]
    upstream: Endpoint,
    /// Where to listen; port 0 takes a free one. In plain HTTP unless a certificate is given.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The path that hosts post to.
    #[arg(long, value_name = "PATH", default_value = SYNC_PATH, value_parser = path)]
    path: String,
    /// Certificate chain to speak TLS with, its own first, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    tls_certificate_file: Option<PathBuf>,
    /// Private key of that certificate, as PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_certificate_file")]
    tls_private_key_file: Option<PathBuf>,
    /// Authorities to trust at the main server, beside those of the system, as PEM.
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<PathBuf>,
}

fn path(text: &str) -> Result<String, &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.".contains(&b);
    if text.starts_with('/') && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a path starts with `/` and has letters, digits, `/`, `-`, `_` and `.`")
    }
}

/// Forwards until SIGTERM or Ctrl-C, and gives the exit code. When it is ready it prints `listening on ADDRESS`.
pub(super) fn proxy(arguments: &ProxyArguments) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("error: no threads to work with: {error}"));
            return FAILED;
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => 0,
        Err(error @ (SyncProxyError::Upstream(_) | SyncProxyError::Tls(_))) => {
            complain(&format_args!("error: {error}"));
            INVALID
        }
        Err(error) => {
            complain(&format_args!("error: {error}"));
            FAILED
        }
    }
}

async fn run(arguments: &ProxyArguments) -> Result<(), SyncProxyError> {
    let signals =
        |kind| signal(kind).map_err(|error| SyncProxyError::Listen { address: arguments.listen, error });
    // Before anybody is told that there is something to end.
    let (mut terminate, mut interrupt) =
        (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let trust = Trust::with_file("--tls-ca-file", arguments.tls_ca_file.as_deref())?;
    let client = HttpClient::trusting(&arguments.upstream, &trust)?.reporting(|fault| match fault {
        Some(fault) => complain(&format_args!("main-server: upstream: no TLS: {fault}; {}", fault.help())),
        None => complain(&"main-server: upstream: TLS works again"),
    });
    let identity = match (&arguments.tls_certificate_file, &arguments.tls_private_key_file) {
        (Some(certificate), Some(private_key)) => {
            let files = TlsFiles { certificate: certificate.clone(), private_key: private_key.clone() };
            Some(Identity::named(&files, ["--tls-certificate-file", "--tls-private-key-file"])?)
        }
        _ => None,
    };
    let proxy = SyncProxy::start_with(client, &arguments.path, arguments.listen, identity).await?;
    say(&format!("listening on {}", proxy.address()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    proxy.shutdown().await;
    Ok(())
}
