//! What can go wrong at the facade. No message holds a secret.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::diagnostic::Diagnostic;
use crate::host_sync::operation::{AskError, TransportError};
use crate::id::InvalidMapName;
use crate::runtime::driver::host::configured::StartError;
use crate::wire::Rejection;

/// Why the system did not start.
#[derive(Debug, Error)]
pub enum InitError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file has mistakes; each is told with its place.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Diagnostic>),
    /// It is no host's, its keys do not go together, or its address cannot be spoken to.
    #[error("{0}")]
    Start(#[from] StartError),
}

/// Why a question was not taken up, or brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SyncError {
    /// The session refused it; it had no effect.
    #[error(transparent)]
    Refused(#[from] AskError),
    /// A host acts for the account of its key and for no other.
    #[error("account {asked} is not this host's: its key is that of account {own}")]
    Account {
        /// The one named.
        asked: u32,
        /// The one that the key is of.
        own: u32,
    },
    /// No such name can be a map's.
    #[error(transparent)]
    Map(#[from] InvalidMapName),
    /// A subscription's session did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The main server refused it; it had no effect.
    #[error("the main server refused: {0}")]
    Rejected(Rejection),
    /// Every attempt failed; whether it took effect is not known.
    #[error("{0}; whether it took effect is not known")]
    Failed(TransportError),
    /// It did not end in time, was displaced, or the session ended first.
    #[error("no result: {0}")]
    NoResult(&'static str),
    /// The main server answered something that this version does not know.
    #[error("the main server's answer cannot be read")]
    Malformed,
    /// The system has shut down.
    #[error("the system has shut down")]
    Stopped,
}
