//! `p2psim mock`: stand-ins for services of others, on their own.

use std::net::{SocketAddr, TcpListener};

use clap::{Args, Subcommand};
use sync_core::secret::Secret;

use super::{INVALID, complain, say};
use crate::live_rig::{EXIT_UNKNOWN, EmbeddingMock};

/// Stand in for a service of others until Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    mock: Service,
}

#[derive(Debug, Subcommand)]
enum Service {
    /// OpenAI's and Azure OpenAI's embeddings, over plain HTTP: `/v1/embeddings` and
    /// `/openai/deployments/NAME/embeddings?api-version=DATE`.
    ///
    /// The vectors follow the texts: the same text has the same vector, and texts that share more are nearer. When it
    /// is ready it prints one line, `listening on http://127.0.0.1:PORT`.
    Embeddings {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The key that it takes.
        #[arg(long, default_value = "mock-key")]
        key: String,
    },
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let Service::Embeddings { listen, key } = &arguments.mock;
    let listener = match TcpListener::bind(listen) {
        Ok(listener) => listener,
        Err(error) => {
            complain(&format!("error: cannot listen on {listen}: {error}"));
            return INVALID;
        }
    };
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: cannot start: {error}"));
            return EXIT_UNKNOWN;
        }
    };
    runtime.block_on(async {
        let mock = EmbeddingMock::start(listener, Secret::new(key.clone())).await;
        say(&format!("listening on {}", mock.address()));
        // Without a handler a signal ends the process, which is what it asks for.
        let _ = tokio::signal::ctrl_c().await;
    });
    0
}
