//! Reader of `p2p_data_sync.conf`; [`peer`] reads the environment of a peer.
//!
//! Three layers: `raw` cuts the file into `key = value` lines with their places; [`keys`] is the one
//! table of what may be said; `resolver` turns the lines into a [`Config`], whose types leave
//! nothing to check later. Nothing is read from the system: the bytes come in as an argument.
//!
//! Promises: a file is taken as a whole or refused with every finding at once; no byte sequence
//! makes the reader panic; no finding, no `Debug` output and no text form shows a secret.

mod endpoint;
mod excerpt;
mod key_shape;
pub mod keys;
pub mod peer;
mod raw;
mod reader;
mod resolved;
mod resolver;

pub use endpoint::{Endpoint, EndpointError, Scheme};
pub use resolved::{
    Config, EmbeddingProvider, EmbeddingSettings, RedisSettings, Role, RulesSource, TlsFiles,
};

use crate::diagnostic::{Diagnostic, Severity};

impl Config {
    /// Reads a configuration file; `file_name` is only what findings call it.
    ///
    /// With the configuration come its warnings. A refusal holds every finding, warnings included,
    /// in the order of the lines; those about the file as a whole (line 0) come first.
    ///
    /// # Errors
    /// The findings, when at least one of them is an error.
    pub fn parse(file_name: &str, bytes: &[u8]) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut findings = raw::Findings::new(file_name);
        let config = raw::read(bytes, &mut findings).and_then(|file| resolver::resolve(file, &mut findings));
        let findings = findings.into_sorted();
        match config {
            Some(config) if findings.iter().all(|f| f.severity == Severity::Warning) => {
                Ok((config, findings))
            }
            _ => Err(findings),
        }
    }
}
