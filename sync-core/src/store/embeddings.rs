//! Embeddings in the database: what is asked of them, and the in-memory table of them, whose search is exact.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::Apply;
use crate::embedding::{Distance, Metadata, Vector};
use crate::id::{AccountId, MapName};
use crate::limits;

/// Names one embedding: `<account>/<map>/<name>`, so that no host can name another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmbeddingId(Arc<str>);

/// The name is none: it is empty, too long, or holds NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a name has 1 to {} bytes without NUL", limits::EMBEDDING_NAME_BYTES_MAX)]
pub struct InvalidEmbeddingName;

/// Stores the embedding of a text when its operation takes effect, in the place of one with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreEmbedding {
    /// The operation, an event: applied as one of a batch.
    pub apply: Apply,
    /// Its name.
    pub id: EmbeddingId,
    /// Its vector.
    pub vector: Vector,
    /// What a search gives back, and filters by.
    pub metadata: Metadata,
}

/// Removes an embedding, if there is one, when its operation takes effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteEmbedding {
    /// The operation, an event: applied as one of a batch.
    pub apply: Apply,
    /// Which.
    pub id: EmbeddingId,
}

/// Finds the nearest embeddings by cosine distance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchEmbeddings {
    /// Near to what.
    pub vector: Vector,
    /// How many at most; so many are found whenever so many pass the filter.
    pub limit: u32,
    /// Only those whose metadata contain it.
    pub filter: Option<Metadata>,
}

/// An embedding as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingRow {
    /// Its vector.
    pub vector: Vector,
    /// What stands beside it.
    pub metadata: Metadata,
}

/// One that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Its name.
    pub id: EmbeddingId,
    /// How far it is.
    pub distance: Distance,
    /// What stands beside it.
    pub metadata: Metadata,
}

impl EmbeddingId {
    /// The embedding of that name that belongs to an account on a map.
    pub fn new(account: AccountId, map: &MapName, name: &str) -> Result<Self, InvalidEmbeddingName> {
        if name.is_empty() || name.len() > limits::EMBEDDING_NAME_BYTES_MAX || name.contains('\0') {
            return Err(InvalidEmbeddingName);
        }
        Ok(Self(format!("{account}/{}/{name}", map.as_str()).into()))
    }

    /// The text form of one that was named before.
    pub(crate) fn from_text(text: &str) -> Result<Self, InvalidEmbeddingName> {
        let mut parts = text.splitn(3, '/');
        let (Some(account), Some(map), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidEmbeddingName);
        };
        let account = AccountId(account.parse().map_err(|_| InvalidEmbeddingName)?);
        Self::new(account, &MapName::new(map).map_err(|_| InvalidEmbeddingName)?, name)
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmbeddingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for EmbeddingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EmbeddingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_text(&std::borrow::Cow::<str>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The table, in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Embeddings {
    rows: BTreeMap<EmbeddingId, EmbeddingRow>,
}

impl Embeddings {
    pub(super) fn store(&mut self, request: &StoreEmbedding) {
        let row = EmbeddingRow { vector: request.vector.clone(), metadata: request.metadata.clone() };
        self.rows.insert(request.id.clone(), row);
    }

    pub(super) fn delete(&mut self, id: &EmbeddingId) {
        self.rows.remove(id);
    }

    /// Compares with every row. Of equal distances the smaller id comes first.
    pub(super) fn search(&self, request: &SearchEmbeddings) -> Vec<Match> {
        let passes =
            |row: &EmbeddingRow| request.filter.as_ref().is_none_or(|filter| row.metadata.contains(filter));
        let mut near: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| passes(row))
            .map(|(id, row)| (request.vector.distance(&row.vector), id, row))
            .collect();
        near.sort_unstable_by(|left, right| (left.0, left.1).cmp(&(right.0, right.1)));
        near.truncate(request.limit as usize);
        near.into_iter()
            .map(|(distance, id, row)| Match { id: id.clone(), distance, metadata: row.metadata.clone() })
            .collect()
    }

    pub(super) fn rows(&self) -> &BTreeMap<EmbeddingId, EmbeddingRow> {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::vector;
    use super::super::{MemoryStore, StoreReply, StoreRequest, Verdict};
    use super::*;
    use crate::data_type::SyncDataType;
    use crate::id::{Incarnation, OperationId};
    use crate::time::Timestamp;

    fn apply(counter: u64, sequence: u64) -> Apply {
        Apply {
            operation: OperationId { account: AccountId(1), incarnation: Incarnation(1), counter },
            data_type: SyncDataType::VectorEmbedding,
            map: MapName::new("m").unwrap(),
            sequence,
            critical: false,
            data: "{}".into(),
            received: Timestamp::from_ms(counter),
            condition: None,
        }
    }

    fn id(name: &str) -> EmbeddingId {
        EmbeddingId::new(AccountId(1), &MapName::new("m").unwrap(), name).unwrap()
    }

    fn store(counter: u64, name: &str, angle: f32) -> StoreRequest {
        let metadata = Metadata::parse(&format!(r#"{{"name":"{name}","by":{counter}}}"#)).unwrap();
        let request =
            StoreEmbedding { apply: apply(counter, counter), id: id(name), vector: vector(angle), metadata };
        StoreRequest::StoreEmbedding(Arc::new(request))
    }

    fn search(store: &mut MemoryStore, limit: u32, filter: Option<&str>) -> Vec<String> {
        let filter = filter.map(|filter| Metadata::parse(filter).unwrap());
        let request = SearchEmbeddings { vector: vector(0.0), limit, filter };
        match store.execute(&StoreRequest::SearchEmbeddings(Arc::new(request))) {
            StoreReply::Found(found) => found.iter().map(|found| found.id.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn verdict(reply: StoreReply) -> (Verdict, bool) {
        match reply {
            StoreReply::Applied(applied) => (applied[0].verdict, applied[0].duplicate),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_nearest_are_found_nearest_first_among_those_that_pass() {
        let mut memory = MemoryStore::default();
        for (counter, name, angle) in [(1, "far", 3.0), (2, "near", 0.1), (3, "mid", 1.0), (4, "near2", -0.1)]
        {
            memory.execute(&store(counter, name, angle));
        }
        assert_eq!(search(&mut memory, 3, None), ["1/m/near", "1/m/near2", "1/m/mid"]);
        assert_eq!(search(&mut memory, 3, Some(r#"{"name":"far"}"#)), ["1/m/far"]);
        assert_eq!(search(&mut memory, 0, None), [""; 0]);
    }

    #[test]
    fn an_embedding_changes_only_when_its_operation_takes_effect() {
        let mut memory = MemoryStore::default();
        let applied = Verdict::Applied { version: 2 };
        assert_eq!(verdict(memory.execute(&store(2, "a", 1.0))), (applied, false));
        let content = memory.content();
        // Repeated with another vector, and an older one of the same session.
        assert_eq!(verdict(memory.execute(&store(2, "a", 2.0))), (applied, true));
        assert_eq!(verdict(memory.execute(&store(1, "b", 2.0))), (Verdict::OutOfOrder { last: 2 }, false));
        assert_eq!(memory.content(), content);
        let delete = |counter| {
            StoreRequest::DeleteEmbedding(Arc::new(DeleteEmbedding {
                apply: apply(counter, counter),
                id: id("a"),
            }))
        };
        assert_eq!(verdict(memory.execute(&delete(2))), (applied, true));
        assert_eq!(memory.content(), content);
        assert_eq!(verdict(memory.execute(&delete(3))), (Verdict::Applied { version: 3 }, false));
        assert!(memory.content().embeddings.is_empty());
    }

    #[test]
    fn an_id_names_its_owner() {
        let map = MapName::new("prontera").unwrap();
        let named = EmbeddingId::new(AccountId(7), &map, "a/b").unwrap();
        assert_eq!(named.as_str(), "7/prontera/a/b");
        assert_eq!(EmbeddingId::from_text("7/prontera/a/b"), Ok(named));
        for wrong in ["", "7/m", "7/m/", "x/m/a", "7/m m/a", "7/m/\0"] {
            assert_eq!(EmbeddingId::from_text(wrong), Err(InvalidEmbeddingName), "{wrong:?}");
        }
        let long = "x".repeat(limits::EMBEDDING_NAME_BYTES_MAX + 1);
        assert_eq!(EmbeddingId::new(AccountId(7), &map, &long), Err(InvalidEmbeddingName));
    }
}
