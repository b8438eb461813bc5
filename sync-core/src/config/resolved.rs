//! A configuration that has been understood.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Endpoint;
use super::excerpt::MASK;
use super::keys::{self, KeySpec};
use crate::data_type::TypeSet;
use crate::host_sync::settings::{ServerSettings, SessionSettings};
use crate::id::MapName;
use crate::secret::Secret;
use crate::time::Span;

/// Which side of the synchronisation a file configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A P2P host: holds its own key and nothing else that is worth stealing.
    Host,
    /// The main server: holds the master key, the database and the embedding provider.
    MainServer,
}

impl Role {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Host, Self::MainServer];

    /// As written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::MainServer => "main_server",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All of `p2p_data_sync.conf`, within the ranges of [`keys`] and consistent with the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `role`.
    pub role: Role,
    /// `main_server_endpoint`; a host always has one.
    pub main_server_endpoint: Option<Endpoint>,
    /// `tls_certificate_file` and `tls_private_key_file`; never at a host.
    pub tls: Option<TlsFiles>,
    /// `tls_ca_file`.
    pub tls_ca_file: Option<PathBuf>,
    /// `redis_*`.
    pub redis: RedisSettings,
    /// `critical_timeout_ms`.
    pub critical_timeout: Span,
    /// `critical_data_types`.
    pub critical_types: TypeSet,
    /// `critical_slots`, at least 1.
    pub critical_slots: usize,
    /// `host_batch_max`, at least 1.
    pub host_batch_max: usize,
    /// `pg_connection_string`; never at a host.
    pub pg_connection_string: Option<Secret<String>>,
    /// `openai_*`, `azure_openai_*`, `use_azure_openai`; the defaults at a host.
    pub embedding: EmbeddingSettings,
    /// `vector_eligible_maps`.
    pub vector_eligible_maps: BTreeSet<MapName>,
    /// `encryption_key` in the text form of the role; parsing it to a key is the envelope's.
    pub encryption_key: Secret<String>,
    /// `encryption_keys_accepted`, in the order of the file; each key id is distinct.
    pub encryption_keys_accepted: Vec<Secret<String>>,
    /// `legacy_encryption_key`, base64 of 32 bytes; there exactly when `allow_legacy_envelope = 1`.
    pub legacy_encryption_key: Option<Secret<String>>,
    /// `freshness_window_ms`.
    pub freshness_window: Span,
    /// `validation_rules`; the file is not looked at yet.
    pub validation_rules: RulesSource,
    /// `sync_interval_ms`.
    pub sync_interval: Span,
    /// `cache_expiry_seconds`; `None` never expires.
    pub cache_expiry: Option<Span>,
    /// `max_queue_size`, at least 1.
    pub queue_max: usize,
    /// `worker_threads`, at least 1.
    pub worker_threads: usize,
    /// `debug_mode`.
    pub debug_mode: bool,
}

/// Where a listener's certificate is. Relative paths count from where the program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the listener's own certificate first.
    pub certificate: PathBuf,
    /// The private key of that certificate.
    pub private_key: PathBuf,
}

/// Where the rules on what hosts write come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RulesSource {
    /// There are none.
    Off,
    /// Those built in: all data from hosts is validated (specification, "Security Considerations").
    #[default]
    BuiltIn,
    /// A file of rules; a relative name counts from the folder in which the program was started.
    File(PathBuf),
}

impl From<&str> for RulesSource {
    /// What is neither `off` nor `default` names a file.
    fn from(text: &str) -> Self {
        match text {
            "off" => Self::Off,
            "default" => Self::BuiltIn,
            file => Self::File(file.into()),
        }
    }
}

impl fmt::Display for RulesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::BuiltIn => f.write_str("default"),
            Self::File(file) => file.display().fmt(f),
        }
    }
}

/// Where the cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// Name or address in canonical form, IPv6 without brackets; on this machine at a host.
    pub host: String,
    /// From 1.
    pub port: u16,
    /// `None` for a Redis that asks for none.
    pub password: Option<Secret<String>>,
    /// The database's number.
    pub db: u32,
}

/// Both providers as configured; [`EmbeddingSettings::provider`] is the one in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingSettings {
    /// Base address of OpenAI.
    pub openai_endpoint: Endpoint,
    /// Key for OpenAI.
    pub openai_api_key: Option<Secret<String>>,
    /// Model asked for at OpenAI.
    pub openai_embedding_model: String,
    /// Base address of the Azure resource.
    pub azure_openai_endpoint: Option<Endpoint>,
    /// Key for Azure.
    pub azure_openai_key: Option<Secret<String>>,
    /// Deployment asked for at Azure.
    pub azure_openai_deployment: String,
    /// `api-version` of requests to Azure.
    pub azure_openai_api_version: String,
    /// Whether Azure is used; then its address and key are there.
    pub use_azure_openai: bool,
}

/// The embedding provider in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingProvider<'a> {
    /// OpenAI, or a server that speaks like it.
    OpenAi {
        /// Base address.
        endpoint: &'a Endpoint,
        /// Bearer token.
        key: &'a Secret<String>,
        /// Model.
        model: &'a str,
    },
    /// Azure OpenAI.
    Azure {
        /// Base address of the resource.
        endpoint: &'a Endpoint,
        /// The `api-key` header.
        key: &'a Secret<String>,
        /// Deployment.
        deployment: &'a str,
        /// The `api-version` parameter.
        api_version: &'a str,
    },
}

impl EmbeddingSettings {
    /// The provider in use, `None` when there are no credentials.
    pub fn provider(&self) -> Option<EmbeddingProvider<'_>> {
        if self.use_azure_openai {
            Some(EmbeddingProvider::Azure {
                endpoint: self.azure_openai_endpoint.as_ref()?,
                key: self.azure_openai_key.as_ref()?,
                deployment: &self.azure_openai_deployment,
                api_version: &self.azure_openai_api_version,
            })
        } else {
            Some(EmbeddingProvider::OpenAi {
                endpoint: &self.openai_endpoint,
                key: self.openai_api_key.as_ref()?,
                model: &self.openai_embedding_model,
            })
        }
    }
}

impl Config {
    /// What a host's session needs.
    pub fn session_settings(&self) -> SessionSettings {
        SessionSettings {
            critical_timeout: self.critical_timeout,
            critical_types: self.critical_types,
            queue_max: self.queue_max,
            workers: self.worker_threads,
            critical_slots: self.critical_slots,
            batch_max: self.host_batch_max,
            ..SessionSettings::default()
        }
    }

    /// What the main server's engine needs.
    pub fn server_settings(&self) -> ServerSettings {
        ServerSettings {
            freshness_window: self.freshness_window,
            cache_expiry: self.cache_expiry,
            critical_types: self.critical_types,
            vector_maps: self.vector_eligible_maps.clone(),
            embeds: self.embedding.provider().is_some(),
            ..ServerSettings::default()
        }
    }

    /// Every key with its value in force, in the form of the file, secrets as `***`.
    pub fn to_masked_text(&self) -> String {
        self.values()
            .into_iter()
            .map(|(spec, value)| {
                let gap = if value.is_empty() { "" } else { " " };
                format!("{} ={gap}{value}\n", spec.name)
            })
            .collect()
    }

    fn values(&self) -> [(&'static KeySpec, String); keys::ALL.len()] {
        let hidden = |secret: Option<&Secret<String>>| secret.map_or(String::new(), |_| MASK.to_owned());
        let switch = |on: bool| u8::from(on).to_string();
        let address = |endpoint: Option<&Endpoint>| endpoint.map_or(String::new(), Endpoint::to_string);
        let file = |path: Option<&Path>| path.map_or(String::new(), |path| path.display().to_string());
        let embedding = &self.embedding;
        [
            (&keys::ROLE, self.role.to_string()),
            (&keys::MAIN_SERVER_ENDPOINT, address(self.main_server_endpoint.as_ref())),
            (&keys::TLS_CERTIFICATE_FILE, file(self.tls.as_ref().map(|tls| tls.certificate.as_path()))),
            (&keys::TLS_PRIVATE_KEY_FILE, file(self.tls.as_ref().map(|tls| tls.private_key.as_path()))),
            (&keys::TLS_CA_FILE, file(self.tls_ca_file.as_deref())),
            (&keys::REDIS_HOST, self.redis.host.clone()),
            (&keys::REDIS_PORT, self.redis.port.to_string()),
            (&keys::REDIS_PASSWORD, hidden(self.redis.password.as_ref())),
            (&keys::REDIS_DB, self.redis.db.to_string()),
            (&keys::CRITICAL_TIMEOUT_MS, self.critical_timeout.as_ms().to_string()),
            (&keys::CRITICAL_DATA_TYPES, comma_list(self.critical_types.iter())),
            (&keys::CRITICAL_SLOTS, self.critical_slots.to_string()),
            (&keys::HOST_BATCH_MAX, self.host_batch_max.to_string()),
            (&keys::PG_CONNECTION_STRING, hidden(self.pg_connection_string.as_ref())),
            (&keys::OPENAI_API_KEY, hidden(embedding.openai_api_key.as_ref())),
            (&keys::OPENAI_ENDPOINT, embedding.openai_endpoint.to_string()),
            (&keys::OPENAI_EMBEDDING_MODEL, embedding.openai_embedding_model.clone()),
            (&keys::AZURE_OPENAI_ENDPOINT, address(embedding.azure_openai_endpoint.as_ref())),
            (&keys::AZURE_OPENAI_KEY, hidden(embedding.azure_openai_key.as_ref())),
            (&keys::AZURE_OPENAI_DEPLOYMENT, embedding.azure_openai_deployment.clone()),
            (&keys::AZURE_OPENAI_API_VERSION, embedding.azure_openai_api_version.clone()),
            (&keys::USE_AZURE_OPENAI, switch(embedding.use_azure_openai)),
            (&keys::VECTOR_ELIGIBLE_MAPS, comma_list(self.vector_eligible_maps.iter())),
            (&keys::ENCRYPTION_KEY, hidden(Some(&self.encryption_key))),
            (&keys::ENCRYPTION_KEYS_ACCEPTED, hidden(self.encryption_keys_accepted.first())),
            (&keys::ALLOW_LEGACY_ENVELOPE, switch(self.legacy_encryption_key.is_some())),
            (&keys::LEGACY_ENCRYPTION_KEY, hidden(self.legacy_encryption_key.as_ref())),
            (&keys::FRESHNESS_WINDOW_MS, self.freshness_window.as_ms().to_string()),
            (&keys::VALIDATION_RULES, self.validation_rules.to_string()),
            (&keys::SYNC_INTERVAL_MS, self.sync_interval.as_ms().to_string()),
            (&keys::CACHE_EXPIRY_SECONDS, self.cache_expiry.map_or(0, |e| e.as_ms() / 1_000).to_string()),
            (&keys::MAX_QUEUE_SIZE, self.queue_max.to_string()),
            (&keys::WORKER_THREADS, self.worker_threads.to_string()),
            (&keys::DEBUG_MODE, switch(self.debug_mode)),
        ]
    }
}

fn comma_list(items: impl Iterator<Item = impl fmt::Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
