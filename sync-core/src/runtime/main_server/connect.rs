//! The database, the cache and the embedding provider that a configuration names.

use std::sync::Arc;

use super::MainServerError;
use crate::config::{Config, EmbeddingProvider};
use crate::host_sync::operation::TlsFault;
use crate::limits;
use crate::runtime::embedding::{Embedder, EmbeddingClient};
use crate::runtime::postgres::{PostgresOptions, PostgresStore};
use crate::runtime::redis::{RedisCache, RedisOptions};
use crate::runtime::tls::Trust;

/// Connects to `pg_connection_string` and brings the schema up to date. There is a connection for each batch
/// that the shards keep under way.
///
/// # Errors
/// When no database is named, it cannot be reached, or it refuses.
pub async fn connect_database(config: &Config) -> Result<PostgresStore, MainServerError> {
    let dsn = config.pg_connection_string.as_ref().ok_or(MainServerError::NoDatabase)?;
    let options = PostgresOptions {
        connections_max: limits::APPLY_BATCHES_IN_FLIGHT_MAX.max(config.worker_threads),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::connect(dsn, options).await?;
    store.migrate().await?;
    Ok(store)
}

/// Connects to Redis; when it is away the cache goes on trying, and [`RedisCache::status`] says so.
///
/// # Errors
/// When the settings are no address.
pub async fn connect_cache(config: &Config) -> Result<RedisCache, MainServerError> {
    Ok(RedisCache::connect(&config.redis, RedisOptions::default()).await?)
}

/// The embedding provider of the configuration, if it has credentials for one. Nothing is connected yet. `report` is told
/// why TLS does not come about with it, and with `None` that it does again.
///
/// # Errors
/// When its address cannot be spoken to, or `tls_ca_file` cannot be used.
pub fn connect_provider(
    config: &Config,
    report: impl Fn(Option<TlsFault>) + Send + Sync + 'static,
) -> Result<Option<Arc<dyn Embedder>>, MainServerError> {
    let trust = Trust::of(config)?;
    let Some(provider) = config.embedding.provider() else { return Ok(None) };
    let key = match provider {
        EmbeddingProvider::OpenAi { .. } => "openai_endpoint",
        EmbeddingProvider::Azure { .. } => "azure_openai_endpoint",
    };
    match EmbeddingClient::trusting(provider.into(), &trust) {
        Ok(client) => Ok(Some(Arc::new(client.reporting(report)))),
        Err(error) => Err(MainServerError::Embedding { key, error }),
    }
}
