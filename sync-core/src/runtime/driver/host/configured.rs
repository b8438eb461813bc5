//! A host of a configuration: its session, its keys, its address.

use std::sync::Arc;

use thiserror::Error;

use super::{Host, HostOptions};
use crate::config::{Config, Role};
use crate::envelope::{HostKey, HostRing, InvalidKey, InvalidRing, LegacyKey};
use crate::host_sync::policy::Standard;
use crate::host_sync::sealed::SealedHost;
use crate::host_sync::session::Session;
use crate::host_sync::settings::SessionSettings;
use crate::id::AccountId;
use crate::runtime::entropy::OsEntropy;
use crate::runtime::http::{ClientError, HttpClient};
use crate::runtime::tls::{TlsFileError, Trust};

/// Why a host could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// The file is a main server's, or has no address.
    #[error("the configuration is not a host's: write `role = host` and `main_server_endpoint`")]
    Role,
    /// A key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The keys together.
    #[error(transparent)]
    Ring(#[from] InvalidRing),
    /// `tls_ca_file`.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// The address.
    #[error("`main_server_endpoint`: {0}")]
    Client(#[from] ClientError),
}

/// What the host of a configuration is put together from.
pub(crate) struct Parts {
    pub(crate) account: AccountId,
    pub(crate) client: HttpClient,
    pub(crate) options: HostOptions,
    settings: Arc<SessionSettings>,
    codec: SealedHost,
}

impl Parts {
    /// A session with the system's randomness.
    pub(crate) fn session(&self) -> Session<SealedHost, OsEntropy> {
        let settings = Arc::clone(&self.settings);
        Session::new(self.account, settings, self.codec.clone(), OsEntropy::new(), Standard)
    }
}

/// The parts of a configuration with `role = host`.
pub(crate) fn parts(config: &Config) -> Result<Parts, StartError> {
    let (Role::Host, Some(endpoint)) = (config.role, &config.main_server_endpoint) else {
        return Err(StartError::Role);
    };
    let key: HostKey = config.encryption_key.expose().parse()?;
    let accepted = config.encryption_keys_accepted.iter().map(|key| key.expose().parse());
    let account = key.account();
    let mut ring = HostRing::new(key, accepted.collect::<Result<_, _>>()?)?;
    if let Some(legacy) = &config.legacy_encryption_key {
        ring = ring.with_legacy(legacy.expose().parse::<LegacyKey>()?);
    }
    let settings = Arc::new(config.session_settings());
    Ok(Parts {
        account,
        client: HttpClient::trusting(endpoint, &Trust::of(config)?)?,
        options: HostOptions::of(&settings),
        settings,
        codec: SealedHost::new(ring),
    })
}

/// Starts the host of a configuration with `role = host`, with the system's randomness. Must be called
/// within a tokio runtime.
///
/// # Errors
/// When the configuration is not a host's, or its address cannot be spoken to.
pub fn start(config: &Config) -> Result<Host, StartError> {
    let parts = parts(config)?;
    let session = parts.session();
    Ok(Host::start(session, parts.client, parts.options))
}
