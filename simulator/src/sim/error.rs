//! What can be wrong with what a [`Sim`](super::Sim) is given.

use std::fmt::Write as _;
use std::path::PathBuf;

use sync_core::diagnostic::Diagnostic;
use thiserror::Error;

/// Why nothing was run.
#[derive(Debug, Error)]
pub enum SimError {
    /// The scenario cannot be read, or breaks rules of the format.
    #[error("{}", listed(.0))]
    Scenario(Vec<Diagnostic>),
    /// The scenario has hosts.
    #[error(
        "scenario `{scenario}` has hosts and no peers, so it has no use for {what}; give one with `peers`"
    )]
    NoPeers {
        /// Its name.
        scenario: String,
        /// What was given.
        what: &'static str,
    },
    /// The scenario has no such table.
    #[error("scenario `{scenario}` has no table `{table}`; its tables are {tables}")]
    NoTable {
        /// Its name.
        scenario: String,
        /// The table.
        table: String,
        /// Those that it has.
        tables: String,
    },
    /// An own engine decides by itself who wins.
    #[error(
        "a resolver and a whole engine were given: the engine decides by itself who wins; give one of the two"
    )]
    ResolverAndEngine,
    /// The scenario asks for what an own engine is not asked for.
    #[error("scenario `{scenario}` cannot run with an own engine: {why}")]
    EngineCannot {
        /// Its name.
        scenario: String,
        /// Why, and what to do.
        why: String,
    },
    /// The seeds were none.
    #[error("no seed was given; leave `seeds` out for seed 1")]
    NoSeeds,
    /// `P2PSIM_SEED` is no number.
    #[error("P2PSIM_SEED is `{0}`; write a whole number below 2^64, or unset it")]
    Seed(String),
    /// It needs another rig.
    #[error("scenario `{scenario}` cannot run in the virtual rig: {why}")]
    NotVirtual {
        /// Its name.
        scenario: String,
        /// Why.
        why: &'static str,
    },
    /// The run's folder could not be written.
    #[error("cannot keep the run below {}: {error}; choose another folder", folder.display())]
    Out {
        /// Where.
        folder: PathBuf,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let _ = write!(out, "\n{diagnostic}");
    }
    out
}
