//! What is stored beside a vector: a JSON object in one canonical form, and which of them a filter picks.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::limits;

/// A JSON object without what a database would alter: its keys are sorted and distinct, its numbers are integers
/// within 2^53, no text holds NUL. Its text form has no white space. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata(Arc<str>);

/// Why a text is no metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidMetadata {
    /// Not JSON, or nested too deeply to be read.
    #[error("it is not JSON")]
    Json,
    /// Another kind of value.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A number with a fraction or an exponent, or a large one.
    #[error("a number is not an integer within 2^53")]
    Number,
    /// `\u0000`.
    #[error("a text holds the character NUL")]
    Nul,
    /// Too many bytes.
    #[error("it is longer than {} bytes", limits::EMBEDDING_METADATA_BYTES_MAX)]
    TooLarge,
}

impl Metadata {
    /// Reads a text; of a key that stands twice the last value counts.
    pub fn parse(json: &str) -> Result<Self, InvalidMetadata> {
        Self::new(&serde_json::from_str(json).map_err(|_| InvalidMetadata::Json)?)
    }

    /// Takes a value.
    pub fn new(value: &Value) -> Result<Self, InvalidMetadata> {
        if !value.is_object() {
            return Err(InvalidMetadata::NotAnObject);
        }
        let mut text = String::new();
        write(value, &mut text)?;
        if text.len() > limits::EMBEDDING_METADATA_BYTES_MAX {
            return Err(InvalidMetadata::TooLarge);
        }
        Ok(Self(text.into()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether everything in `filter` is in here: each of its keys with a value that contains the filter's; for
    /// arrays, an element that contains it for each of its elements; all else by equality. As `@>` of PostgreSQL's jsonb.
    pub fn contains(&self, filter: &Self) -> bool {
        filter.0.as_ref() == "{}" || contains(&self.value(), &filter.value())
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }
}

fn contains(value: &Value, filter: &Value) -> bool {
    match (value, filter) {
        (Value::Object(value), Value::Object(filter)) => {
            filter.iter().all(|(key, wanted)| value.get(key).is_some_and(|value| contains(value, wanted)))
        }
        (Value::Array(value), Value::Array(filter)) => {
            filter.iter().all(|wanted| value.iter().any(|value| contains(value, wanted)))
        }
        _ => value == filter,
    }
}

fn write(value: &Value, text: &mut String) -> Result<(), InvalidMetadata> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => {
            let magnitude = number.as_i64().ok_or(InvalidMetadata::Number)?.unsigned_abs();
            if magnitude > limits::JSON_INTEGER_MAX {
                return Err(InvalidMetadata::Number);
            }
            text.push_str(&number.to_string());
        }
        Value::String(string) => write_text(string, text)?,
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        Value::Object(fields) => write_object(fields, text)?,
    }
    Ok(())
}

fn write_object(fields: &Map<String, Value>, text: &mut String) -> Result<(), InvalidMetadata> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    text.push('{');
    for (place, (key, value)) in fields.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write_text(key, text)?;
        text.push(':');
        write(value, text)?;
    }
    text.push('}');
    Ok(())
}

fn write_text(string: &str, text: &mut String) -> Result<(), InvalidMetadata> {
    if string.contains('\0') {
        return Err(InvalidMetadata::Nul);
    }
    // Writing text as JSON cannot fail.
    text.push_str(&serde_json::to_string(string).unwrap_or_default());
    Ok(())
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<&str, InvalidMetadata>) {
        let read = Metadata::parse(json);
        assert_eq!(read.as_ref().map(Metadata::as_str).map_err(|error| *error), expected, "{json}");
    }

    #[test]
    fn metadata_have_one_form() {
        check("{}", Ok("{}"));
        check(
            r#" { "b" : [1, {"d":null,"c":true}], "a" : "\u00e9\n" } "#,
            Ok("{\"a\":\"é\\n\",\"b\":[1,{\"c\":true,\"d\":null}]}"),
        );
        check(r#"{"a":-9007199254740991}"#, Ok(r#"{"a":-9007199254740991}"#));
        check(r#"{"a":9007199254740992}"#, Err(InvalidMetadata::Number));
        check(r#"{"a":1.0}"#, Err(InvalidMetadata::Number));
        check(r#"{"a":1e3}"#, Err(InvalidMetadata::Number));
        check(r#"{"a":["\u0000"]}"#, Err(InvalidMetadata::Nul));
        check(r#"{"\u0000":1}"#, Err(InvalidMetadata::Nul));
        check("[]", Err(InvalidMetadata::NotAnObject));
        check("{", Err(InvalidMetadata::Json));
        check(&format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500)), Err(InvalidMetadata::Json));
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(limits::EMBEDDING_METADATA_BYTES_MAX));
        check(&large, Err(InvalidMetadata::TooLarge));
    }

    #[test]
    fn a_filter_picks_what_contains_it() {
        let check = |value: &str, filter: &str, expected| {
            let (value, filter) = (Metadata::parse(value).unwrap(), Metadata::parse(filter).unwrap());
            assert_eq!(value.contains(&filter), expected, "{value:?} {filter:?}");
        };
        check(r#"{"a":1,"b":2}"#, "{}", true);
        check(r#"{"a":1,"b":2}"#, r#"{"a":1}"#, true);
        check(r#"{"a":1,"b":2}"#, r#"{"a":2}"#, false);
        check(r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false);
        check(r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":2}}"#, true);
        check(r#"{"a":{"x":1}}"#, r#"{"a":{}}"#, true);
        check(r#"{"a":[1,[2,3],{"x":1,"y":1}]}"#, r#"{"a":[{"x":1},1,1]}"#, true);
        check(r#"{"a":[1,[2,3]]}"#, r#"{"a":[[3]]}"#, true);
        check(r#"{"a":[1,[2,3]]}"#, r#"{"a":[3]}"#, false);
        check(r#"{"a":[]}"#, r#"{"a":{}}"#, false);
        check(r#"{"a":["x"]}"#, r#"{"a":"x"}"#, false);
    }
}
