//! What stands in `data` and `payload` of the operations on embeddings.
//!
//! They concern the type VECTOR_EMBEDDING and a map of `vector_eligible_maps`. Vectors are standard base64 of
//! little-endian singles, distances whole billionths: numbers are integers here as everywhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ErrorCode, Rejection};
use crate::embedding::{Metadata, Vector};
use crate::limits;
use crate::store::Match;

/// `data` of [`Kind::Embed`](super::Kind::Embed): give the vectors of these texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedData {
    /// 1 to [`limits::EMBEDDING_BATCH_TEXTS_MAX`].
    pub texts: Vec<Arc<str>>,
}

/// Payload of the reply to [`Kind::Embed`](super::Kind::Embed): a vector for each text, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorsPayload {
    /// See above.
    pub vectors: Vec<Vector>,
}

/// `data` of [`Kind::Search`](super::Kind::Search): what is nearest to a text or to a vector?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchData {
    /// One of these two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
    /// Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
    /// 1 to [`limits::SEARCH_RESULTS_MAX`]; [`limits::SEARCH_RESULTS_DEFAULT`] when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only embeddings whose metadata contain this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Value>,
}

/// Payload of the reply to [`Kind::Search`](super::Kind::Search), nearest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchesPayload {
    /// See above.
    pub matches: Vec<FoundEmbedding>,
}

/// One that a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundEmbedding {
    /// `<account>/<map>/<name>`.
    pub id: String,
    /// Cosine distance in billionths, 0 to 2 * 10^9.
    pub distance_billionths: u32,
    /// `account_id`, `map_name` and `text`, and under `metadata` what was given with the text.
    pub metadata: Value,
}

/// `data` of a VECTOR_EMBEDDING that is synchronised: a text to be embedded and stored, or one to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingData {
    /// The text. One of this and `delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
    /// Its name among those of this account on this map; the operation's id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An object that searches give back and filter by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The name of the one to be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<String>,
}

impl EmbedData {
    /// Reads `data`, which must hold texts that a provider takes.
    pub fn read(data: &str) -> Result<Self, Rejection> {
        let read: Self = parse(data, r#"{"texts": [text, ...]}"#)?;
        if !(1..=limits::EMBEDDING_BATCH_TEXTS_MAX).contains(&read.texts.len()) {
            let (given, most) = (read.texts.len(), limits::EMBEDDING_BATCH_TEXTS_MAX);
            return Err(reject(ErrorCode::TooLarge, format!("{given} texts, 1 to {most} are taken")));
        }
        for (place, text) in read.texts.iter().enumerate() {
            check_text(text, place)?;
        }
        let bytes: usize = read.texts.iter().map(|text| text.len()).sum();
        if bytes > limits::EMBEDDING_BATCH_BYTES_MAX {
            let most = limits::EMBEDDING_BATCH_BYTES_MAX;
            return Err(reject(
                ErrorCode::TooLarge,
                format!("{bytes} bytes of texts, at most {most} are taken"),
            ));
        }
        Ok(read)
    }
}

impl SearchData {
    /// Reads `data`: how many are wanted, and by which filter.
    pub fn read(data: &str) -> Result<(Self, u32, Option<Metadata>), Rejection> {
        let read: Self = parse(data, r#"{"text" or "vector", "limit", "filter"}"#)?;
        let limit = read.limit.unwrap_or(limits::SEARCH_RESULTS_DEFAULT);
        if !(1..=limits::SEARCH_RESULTS_MAX).contains(&limit) {
            let most = limits::SEARCH_RESULTS_MAX;
            return Err(malformed(format!("a limit of {limit}, 1 to {most} are found")));
        }
        let filter = read.filter.as_ref().map(|filter| metadata(filter, "filter")).transpose()?;
        match (&read.text, &read.vector) {
            (Some(text), None) => check_text(text, 0)?,
            (None, Some(_)) => {}
            _ => return Err(malformed("a search is near to one `text` or one `vector`".to_owned())),
        }
        Ok((read, limit, filter))
    }

    /// The vector that stands there.
    pub fn near(&self) -> Result<Option<Vector>, Rejection> {
        let read =
            |text: &String| Vector::from_base64(text).map_err(|error| malformed(format!("vector: {error}")));
        self.vector.as_ref().map(read).transpose()
    }
}

impl EmbeddingData {
    /// Reads `data`.
    pub fn read(data: &str) -> Result<Self, Rejection> {
        let read: Self = parse(data, r#"{"text", "name", "metadata"} or {"delete": name}"#)?;
        match &read {
            Self { text: Some(text), delete: None, .. } => check_text(text, 0)?,
            Self { text: None, name: None, metadata: None, delete: Some(_) } => {}
            _ => return Err(malformed("an embedding is a `text` to store or a name to `delete`".to_owned())),
        }
        Ok(read)
    }
}

impl MatchesPayload {
    /// What a search found.
    pub fn new(found: &[Match]) -> Self {
        let matches = found.iter().map(|found| FoundEmbedding {
            id: found.id.to_string(),
            distance_billionths: found.distance.billionths(),
            metadata: serde_json::from_str(found.metadata.as_str()).unwrap_or(Value::Null),
        });
        Self { matches: matches.collect() }
    }
}

/// A value of a message as canonical metadata.
pub fn metadata(value: &Value, what: &str) -> Result<Metadata, Rejection> {
    Metadata::new(value).map_err(|error| malformed(format!("{what}: {error}")))
}

fn check_text(text: &str, place: usize) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(malformed(format!("text {place} is empty")));
    }
    if text.len() > limits::EMBEDDING_TEXT_BYTES_MAX {
        let (bytes, most) = (text.len(), limits::EMBEDDING_TEXT_BYTES_MAX);
        let message = format!("text {place} has {bytes} bytes, at most {most} are taken");
        return Err(reject(ErrorCode::TooLarge, message));
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(data: &'a str, form: &str) -> Result<T, Rejection> {
    super::read(data.as_bytes()).map_err(|_| malformed(format!("data is not {form}")))
}

fn malformed(message: String) -> Rejection {
    reject(ErrorCode::MalformedData, message)
}

fn reject(code: ErrorCode, message: String) -> Rejection {
    Rejection { code, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(read: Result<T, Rejection>, expected: Result<(), (ErrorCode, &str)>) {
        let read = read.map(|_| ());
        let read = read.as_ref().copied().map_err(|rejection| (rejection.code, &*rejection.message));
        assert_eq!(read, expected);
    }

    const MALFORMED: ErrorCode = ErrorCode::MalformedData;

    #[test]
    fn texts_are_taken_within_their_bounds() {
        let texts = |texts: &[&str]| {
            serde_json::to_string(&EmbedData { texts: texts.iter().map(|text| (*text).into()).collect() })
                .unwrap()
        };
        let long = "x".repeat(limits::EMBEDDING_TEXT_BYTES_MAX);
        check(EmbedData::read(&texts(&["a", &long])), Ok(()));
        let longer = format!("{long}x");
        let message = "text 1 has 8192 bytes, at most 8191 are taken";
        check(EmbedData::read(&texts(&["a", &longer])), Err((ErrorCode::TooLarge, message)));
        check(EmbedData::read(&texts(&["a", ""])), Err((MALFORMED, "text 1 is empty")));
        check(EmbedData::read(&texts(&[])), Err((ErrorCode::TooLarge, "0 texts, 1 to 64 are taken")));
        check(EmbedData::read(&texts(&["a"; 64])), Ok(()));
        check(EmbedData::read(&texts(&["a"; 65])), Err((ErrorCode::TooLarge, "65 texts, 1 to 64 are taken")));
        let message = "311258 bytes of texts, at most 300000 are taken";
        check(EmbedData::read(&texts(&[&long[..]; 38])), Err((ErrorCode::TooLarge, message)));
        let form = r#"data is not {"texts": [text, ...]}"#;
        check(EmbedData::read("{}"), Err((MALFORMED, form)));
        check(EmbedData::read(r#"{"texts":["a"],"more":1}"#), Err((MALFORMED, form)));
    }

    #[test]
    fn a_search_is_near_to_one_thing() {
        let vector = crate::store::testing::vector(0.5);
        let with_vector = format!(r#"{{"vector":"{}","limit":100,"filter":{{"a":1}}}}"#, vector.to_base64());
        let (read, limit, filter) = SearchData::read(&with_vector).unwrap();
        assert_eq!((read.near(), limit), (Ok(Some(vector)), 100));
        assert_eq!(filter, Some(Metadata::parse(r#"{"a":1}"#).unwrap()));
        let (read, limit, filter) = SearchData::read(r#"{"text":"a"}"#).unwrap();
        assert_eq!((read.near(), limit, filter), (Ok(None), 10, None));
        let one = "a search is near to one `text` or one `vector`";
        check(SearchData::read("{}"), Err((MALFORMED, one)));
        check(SearchData::read(r#"{"text":"a","vector":""}"#), Err((MALFORMED, one)));
        for limit in [0, 101] {
            let message = format!("a limit of {limit}, 1 to 100 are found");
            check(
                SearchData::read(&format!(r#"{{"text":"a","limit":{limit}}}"#)),
                Err((MALFORMED, &message)),
            );
        }
        let message = "filter: a number is not an integer within 2^53";
        check(SearchData::read(r#"{"text":"a","filter":{"a":0.5}}"#), Err((MALFORMED, message)));
        let (read, ..) = SearchData::read(r#"{"vector":"AAAAAA=="}"#).unwrap();
        check(read.near(), Err((MALFORMED, "vector: 1 dimensions, 1536 are taken")));
    }

    #[test]
    fn an_embedding_is_stored_or_removed() {
        check(EmbeddingData::read(r#"{"text":"a","name":"n","metadata":{}}"#), Ok(()));
        check(EmbeddingData::read(r#"{"delete":"n"}"#), Ok(()));
        let message = "an embedding is a `text` to store or a name to `delete`";
        for wrong in ["{}", r#"{"name":"n"}"#, r#"{"text":"a","delete":"n"}"#, r#"{"delete":"n","name":"n"}"#]
        {
            check(EmbeddingData::read(wrong), Err((MALFORMED, message)));
        }
    }
}
