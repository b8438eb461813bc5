//! An application's own entries in the main server's cache.

use super::{P2pDataSync, SyncError};
use crate::data_type::SyncDataType;
use crate::host_sync::operation::{Ask, Outcome};
use crate::id::MapName;
use crate::wire::entries::{EntryName, EntryPayload, EntrySet, FoundPayload};
use crate::wire::{Kind, read};

impl P2pDataSync {
    /// Sets an entry. It is this account's own, unless its key begins with
    /// [`SHARED`](crate::wire::entries::SHARED). `expiry_seconds` 0 never expires.
    ///
    /// # Errors
    /// When the main server refuses it (key or value too long, cache away), or there is no answer.
    pub async fn cache_data(&self, key: &str, value: &str, expiry_seconds: u64) -> Result<(), SyncError> {
        let set = EntrySet { key: key.into(), value: value.into(), expiry_seconds };
        self.entry(Kind::CacheSet, key, &set).await.map(|_| ())
    }

    /// The value of an entry, if there is one.
    ///
    /// # Errors
    /// When the main server refuses (cache away), or there is no answer.
    pub async fn get_cached_data(&self, key: &str) -> Result<Option<String>, SyncError> {
        let payload = self.entry(Kind::CacheGet, key, &EntryName { key: key.into() }).await?;
        let Some(payload) = payload else { return Ok(None) };
        let payload: EntryPayload<'_> = read(payload.as_bytes()).map_err(|_| SyncError::Malformed)?;
        Ok(Some(payload.value.into_owned()))
    }

    /// Removes an entry and says whether it was there.
    ///
    /// # Errors
    /// When the main server refuses (cache away), or there is no answer.
    pub async fn delete_cached_data(&self, key: &str) -> Result<bool, SyncError> {
        self.found(Kind::CacheDelete, key).await
    }

    /// Whether an entry is there.
    ///
    /// # Errors
    /// When the main server refuses (cache away), or there is no answer.
    pub async fn has_cached_data(&self, key: &str) -> Result<bool, SyncError> {
        self.found(Kind::CacheExists, key).await
    }

    async fn found(&self, kind: Kind, key: &str) -> Result<bool, SyncError> {
        let payload = self.entry(kind, key, &EntryName { key: key.into() }).await?;
        let payload = payload.ok_or(SyncError::Malformed)?;
        let FoundPayload { found } = read(payload.as_bytes()).map_err(|_| SyncError::Malformed)?;
        Ok(found)
    }

    async fn entry(
        &self,
        kind: Kind,
        key: &str,
        data: &impl serde::Serialize,
    ) -> Result<Option<std::sync::Arc<str>>, SyncError> {
        let mut text = Vec::new();
        crate::wire::write(data, &mut text);
        let ask = Ask {
            ticket: self.ticket(),
            kind,
            data_type: SyncDataType::MapState,
            map: line(key)?,
            data: String::from_utf8(text).map_err(|_| SyncError::Malformed)?.into(),
            critical: false,
            priority: false,
        };
        answer(self.host.ask(ask).await?.outcome)
    }
}

/// The payload of an operation that was done, or why it was not.
pub(super) fn answer(outcome: Outcome) -> Result<Option<std::sync::Arc<str>>, SyncError> {
    match outcome {
        Outcome::Done(payload) => Ok(payload),
        Outcome::Rejected(rejection) => Err(SyncError::Rejected(rejection)),
        Outcome::Failed(error) => Err(SyncError::Failed(error)),
        Outcome::DeadlineExceeded => Err(SyncError::NoResult("its deadline is past")),
        Outcome::Superseded => Err(SyncError::NoResult("a newer operation took its place")),
        Outcome::Displaced => {
            Err(SyncError::NoResult("a more urgent operation took its place in the full queue"))
        }
        Outcome::ShutDown { .. } => Err(SyncError::NoResult("the session ended first")),
    }
}

/// Operations on one entry follow one another; those on others need not wait for them. A session keeps something
/// for each map and type, so entries share this many lines.
const LINES: u32 = 64;

/// Where an operation on this entry waits in line: by a hash of its key (FNV-1a, 32 bits). Maps that players are
/// on have no such name.
fn line(key: &str) -> Result<MapName, SyncError> {
    let hash =
        key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Ok(MapName::new(&format!("#entries.{}", hash % LINES))?)
}
