//! Why a run came to no result.

use crate::live_rig::LiveError;

/// Why a run came to no result.
#[derive(Debug, thiserror::Error)]
pub enum LiveRunError {
    /// The rig failed, or cannot do what the plan asks.
    #[error("{0}")]
    Rig(#[from] LiveError),
    /// The plan asks for what this rig cannot do.
    #[error("{0}")]
    Cannot(String),
    /// A server that the rig reads from failed it.
    #[error("{0}")]
    Reading(String),
    /// Something that was started could not be removed.
    #[error("not everything could be removed: {0}")]
    Left(String),
    /// A file could not be written.
    #[error("cannot record the run: {0}")]
    Recording(std::io::Error),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted {
        /// The exit code by convention: 128 and the signal's number.
        exit_code: u8,
    },
}

impl LiveRunError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Rig(error) => error.remedy(),
            Self::Cannot(_) => {
                "leave --rig live out, or take that out of the scenario; what concerns servers that are given by their \
                 address works with those that the rig starts"
            }
            Self::Left(_) => "p2psim doctor --remove-leftovers",
            Self::Reading(_) => "see that the machine has memory and disk left, and `p2psim doctor`",
            Self::Recording(_) => "choose another folder with --out",
            Self::Interrupted { .. } => "run it again",
        }
    }
}
