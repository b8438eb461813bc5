//! `main-server proxy`: a sync proxy from its start to its orderly end.

use std::net::SocketAddr;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, INVALID, complain, say};
use crate::config::Endpoint;
use crate::runtime::main_server::SYNC_PATH;
use crate::runtime::sync_proxy::{SyncProxy, SyncProxyError};

/// `main-server proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ProxyArguments {
    /// The main server's sync endpoint; hosts never see it.
    #[arg(long, value_name = "URL")]
    upstream: Endpoint,
    /// Where to listen; port 0 takes a free one. Plain HTTP: let something in front of it speak TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The path that hosts post to.
    #[arg(long, value_name = "PATH", default_value = SYNC_PATH, value_parser = path)]
    path: String,
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
        Err(error @ SyncProxyError::Upstream(_)) => {
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
    let proxy = SyncProxy::start(&arguments.upstream, &arguments.path, arguments.listen).await?;
    say(&format!("listening on {}", proxy.address()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    proxy.shutdown().await;
    Ok(())
}
