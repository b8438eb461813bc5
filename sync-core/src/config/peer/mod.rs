//! The environment of a peer: what it may say, and what that comes to.
//!
//! [`variables`] is the one table of what may be said; `resolver` turns it into a [`PeerConfig`], whose types leave
//! nothing to check later; [`tables`] is the allow-list of what travels; [`env_file`] reads files such as `.env`. Nothing
//! is read from the system: variables and files come in as arguments.
//!
//! Promises: everything that is wrong is found at once and named with its variable and remedy; no text makes it panic; no
//! finding, no `Debug` output shows a secret.

pub mod env_file;
mod resolver;
pub mod tables;
pub mod variables;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Severity};
use crate::peer_sync::announcement::PeerAddress;
use crate::peer_sync::authentication::SharedKey;
use crate::peer_sync::schema::{InvalidSchema, Schema};
use crate::peer_sync::settings::ReplicaSettings;
use crate::peer_sync::version::NodeId;
use crate::secret::Secret;
use crate::time::Span;

/// Where findings say that a variable stands which no file holds.
pub const ENVIRONMENT: &str = "environment";

/// What a peer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// `BIND_ADDRESS`.
    pub bind_address: IpAddr,
    /// `API_PORT`.
    pub api_port: u16,
    /// `P2P_PORT`.
    pub p2p_port: u16,
    /// `DISCOVERY_PORT`.
    pub discovery_port: u16,
    /// `NODE_NAME`.
    pub node_name: Option<NodeId>,
    /// `DATABASE_URL`.
    pub database_url: Option<Secret<String>>,
    /// `ENABLE_P2P_SYNC`.
    pub sync_enabled: bool,
    /// `ENABLE_AUTO_DISCOVERY`.
    pub auto_discovery: bool,
    /// `SYNC_INTERVAL`.
    pub sync_interval: Span,
    /// `STATIC_PEERS`.
    pub static_peers: Vec<PeerAddress>,
    /// `DISCOVERY_PEER_PORTS`.
    pub discovery_peer_ports: Vec<u16>,
    /// `DISCOVERY_ADDRESSES`.
    pub discovery_addresses: Vec<Ipv4Addr>,
    /// `MAX_PEERS`.
    pub peers_max: usize,
    /// `P2P_SHARED_KEY`.
    pub shared_key: Option<SharedKey>,
    /// `SYNC_TABLES`; empty for all.
    pub sync_tables: Vec<String>,
    /// `SYNC_SCHEMA_FILE`.
    pub schema_file: Option<PathBuf>,
}

/// Variables as they were given.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, Given>);

#[derive(Clone)]
struct Given {
    value: String,
    /// Where it stands.
    place: String,
}

impl std::fmt::Debug for Given {
    /// Without the value: any may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place)
    }
}

impl Variables {
    /// Adds variables of a process's environment, before which those of files give way.
    #[must_use]
    pub fn with_environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in variables {
            self.0.insert(name, Given { value, place: ENVIRONMENT.to_owned() });
        }
        self
    }

    /// Adds the variables of a file; of two with one name the last counts.
    ///
    /// # Errors
    /// When the file cannot be read as one of variables.
    pub fn with_file(mut self, file: &str, bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        for line in env_file::parse(file, bytes)? {
            let place = format!("{file}:{}", line.line);
            self.0.insert(line.name, Given { value: line.value, place });
        }
        Ok(self)
    }
}

impl PeerConfig {
    /// Resolves variables. With the configuration come its warnings; a refusal holds every finding.
    ///
    /// # Errors
    /// The findings, when at least one of them is an error.
    pub fn resolve(variables: &Variables) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (config, findings) = resolver::resolve(variables);
        match findings.iter().any(|found| found.severity == Severity::Error) {
            true => Err(findings),
            false => Ok((config, findings)),
        }
    }

    /// The tables that travel. `declared` is the text of `SYNC_SCHEMA_FILE`, if that is given.
    ///
    /// # Errors
    /// What is wrong with the file or with `SYNC_TABLES`.
    pub fn schema(&self, declared: Option<&str>) -> Result<Schema, Diagnostic> {
        let tables = match declared {
            None => tables::of_the_specification(),
            Some(text) => {
                let file =
                    self.schema_file.as_ref().map_or("SYNC_SCHEMA_FILE".into(), |f| f.to_string_lossy());
                tables::parse(&file, text)?
            }
        };
        tables::choose(tables, &self.sync_tables)
    }

    /// What the engine needs to know, with the ports that were really taken.
    pub fn settings(&self, host: &str, api_port: u16, listen_port: u16) -> ReplicaSettings {
        ReplicaSettings {
            sync_enabled: self.sync_enabled,
            auto_discovery: self.auto_discovery,
            sync_interval: self.sync_interval,
            host: host.to_owned(),
            api_port,
            listen_port,
            static_peers: self.static_peers.clone(),
            peers_max: self.peers_max,
            ..ReplicaSettings::default()
        }
    }
}

/// What is wrong with tables, as a finding.
fn schema_error(place: &str, error: &InvalidSchema) -> Diagnostic {
    Diagnostic::file_error(place, error.to_string(), "docs/peer-node.md says what a table may declare")
}
