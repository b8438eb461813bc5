//! `p2psim node`: parts of a live run that are processes of their own. The run starts them itself; each takes
//! its input from the standard input and ends with it.

use std::fmt::Display;
use std::future::Future;

use clap::{Args, Subcommand};

use super::{INVALID, complain};
use crate::live_rig::peers::node as peer;
use crate::live_rig::{EXIT_UNKNOWN, RunId, janitor, node as main_server, proxy, sync_proxy};

/// Be a part of a live run, as a child process of it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    node: Node,
}

#[derive(Debug, Subcommand)]
enum Node {
    /// Remove what a run made when the run's process ends.
    Janitor {
        /// The run's name.
        #[arg(long)]
        run: RunId,
    },
    /// Pass TCP connections on, and disturb them as told.
    FaultProxy,
    /// Be the main server.
    MainServer,
    /// Be a sync proxy.
    SyncProxy,
    /// Be a peer with a database of its own.
    Peer,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    match &arguments.node {
        Node::Janitor { run } => serve(janitor::serve(run)),
        Node::FaultProxy => serve(proxy::serve()),
        Node::MainServer => ended(main_server::serve()),
        Node::SyncProxy => ended(sync_proxy::serve()),
        Node::Peer => ended(peer::serve()),
    }
}

fn ended(served: anyhow::Result<()>) -> u8 {
    match served {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            EXIT_UNKNOWN
        }
    }
}

/// Runs a part to its end, on a runtime of its own.
fn serve<T, E: Display>(part: impl Future<Output = Result<T, E>>) -> u8 {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: cannot start: {error}"));
            return EXIT_UNKNOWN;
        }
    };
    match runtime.block_on(part) {
        Ok(_) => 0,
        Err(error) => {
            complain(&format!("error: {error}"));
            INVALID
        }
    }
}
