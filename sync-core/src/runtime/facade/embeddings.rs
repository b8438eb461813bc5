//! Vectors of texts, and what is near to one.

use std::sync::Arc;

use serde_json::Value;

use super::entries::answer;
use super::{P2pDataSync, SyncError};
use crate::data_type::SyncDataType;
use crate::embedding::Vector;
use crate::host_sync::operation::Ask;
use crate::id::MapName;
use crate::wire::embedding::{
    EmbedData, EmbeddingData, FoundEmbedding, MatchesPayload, SearchData, VectorsPayload,
};
use crate::wire::{Kind, read, write};

impl P2pDataSync {
    /// The vector of a text, by the main server's provider. `map_name` is one of its `vector_eligible_maps`.
    ///
    /// # Errors
    /// When the main server refuses (map, text or provider), or there is no answer.
    pub async fn create_embedding(&self, map_name: &str, text: &str) -> Result<Vector, SyncError> {
        let payload = self.embedding(Kind::Embed, map_name, &EmbedData { texts: vec![text.into()] }).await?;
        let VectorsPayload { vectors } = read(payload.as_bytes()).map_err(|_| SyncError::Malformed)?;
        match <[Vector; 1]>::try_from(vectors) {
            Ok([vector]) => Ok(vector),
            Err(_) => Err(SyncError::Malformed),
        }
    }

    /// The embeddings nearest to `embedding`, nearest first, at most `limit` of those whose metadata contain
    /// `filter`; of all maps without one. `map_name` is one of the main server's `vector_eligible_maps`.
    ///
    /// # Errors
    /// When the main server refuses (map, limit or filter), or there is no answer.
    pub async fn search_similar_embeddings(
        &self,
        map_name: &str,
        embedding: &Vector,
        limit: u32,
        filter: Option<Value>,
    ) -> Result<Vec<FoundEmbedding>, SyncError> {
        let search =
            SearchData { text: None, vector: Some(embedding.to_base64()), limit: Some(limit), filter };
        let payload = self.embedding(Kind::Search, map_name, &search).await?;
        let MatchesPayload { matches } = read(payload.as_bytes()).map_err(|_| SyncError::Malformed)?;
        Ok(matches)
    }

    /// Stores the vector of a text under a name, which is one of this account on this map, in the place of what was
    /// there; under the operation's id without one. `metadata`, an object, is what searches give back and filter by.
    /// Waits until it is stored.
    ///
    /// # Errors
    /// When the main server refuses (map, name, text, metadata or provider), or there is no answer.
    pub async fn store_embedding(
        &self,
        map_name: &str,
        name: Option<&str>,
        text: &str,
        metadata: Option<Value>,
    ) -> Result<(), SyncError> {
        let (name, text) = (name.map(str::to_owned), Some(text.into()));
        let data = EmbeddingData { text, name, metadata, delete: None };
        self.ask_embedding(Kind::SyncTo, map_name, &data).await.map(drop)
    }

    /// Removes a stored text and its vector, if they are there; waits until that is done.
    ///
    /// # Errors
    /// When the main server refuses (map or name), or there is no answer.
    pub async fn delete_embedding(&self, map_name: &str, name: &str) -> Result<(), SyncError> {
        let data = EmbeddingData { delete: Some(name.to_owned()), ..EmbeddingData::default() };
        self.ask_embedding(Kind::SyncTo, map_name, &data).await.map(drop)
    }

    async fn embedding(
        &self,
        kind: Kind,
        map_name: &str,
        data: &impl serde::Serialize,
    ) -> Result<Arc<str>, SyncError> {
        self.ask_embedding(kind, map_name, data).await?.ok_or(SyncError::Malformed)
    }

    async fn ask_embedding(
        &self,
        kind: Kind,
        map_name: &str,
        data: &impl serde::Serialize,
    ) -> Result<Option<Arc<str>>, SyncError> {
        let mut text = Vec::new();
        write(data, &mut text);
        let ask = Ask {
            ticket: self.ticket(),
            kind,
            data_type: SyncDataType::VectorEmbedding,
            map: MapName::new(map_name)?,
            data: String::from_utf8(text).map_err(|_| SyncError::Malformed)?.into(),
            critical: false,
            priority: false,
        };
        answer(self.host.ask(ask).await?.outcome)
    }
}
