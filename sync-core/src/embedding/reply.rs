//! Reads a provider's answer: all of it, or an error.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::vector::{InvalidVector, Vector, singles};
use crate::limits;

/// Why an answer with status 200 is not usable. Says nothing of what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidReply {
    /// Not JSON, or not of the form that providers publish.
    #[error("it is malformed")]
    Malformed,
    /// Larger than is read.
    #[error("it is longer than {} bytes", limits::BODY_BYTES_MAX)]
    TooLarge,
    /// Fewer or more vectors than texts.
    #[error("{given} vectors for {asked} texts")]
    Count {
        /// Texts.
        asked: u32,
        /// Vectors.
        given: u32,
    },
    /// An `index` that no text has, or that two vectors have.
    #[error("an index is out of range or stands twice")]
    Index,
    /// A vector that is none.
    #[error("{0}")]
    Vector(#[from] InvalidVector),
}

/// What counts of the published form; all else may change.
#[derive(Deserialize)]
struct Body {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: u64,
    embedding: Numbers,
}

/// An array of numbers (`encoding_format` float), or the base64 of little-endian singles.
struct Numbers(Vec<f32>);

/// The vectors of `asked` texts, in the order of the texts: each stands where its `index` says.
pub fn read(json: &[u8], asked: usize) -> Result<Vec<Vector>, InvalidReply> {
    let Body { data } = serde_json::from_slice(json).map_err(|_| InvalidReply::Malformed)?;
    if data.len() != asked {
        let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
        return Err(InvalidReply::Count { asked: number(asked), given: number(data.len()) });
    }
    let mut vectors = vec![None; asked];
    for Item { index, embedding } in data {
        let place = usize::try_from(index).ok().and_then(|index| vectors.get_mut(index));
        match place {
            Some(place @ None) => *place = Some(Vector::new(embedding.0)?),
            _ => return Err(InvalidReply::Index),
        }
    }
    vectors.into_iter().collect::<Option<_>>().ok_or(InvalidReply::Index)
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumbersVisitor)
    }
}

struct NumbersVisitor;

impl<'de> Visitor<'de> for NumbersVisitor {
    type Value = Numbers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers, or base64")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Numbers, E> {
        singles(text).map(Numbers).ok_or_else(|| E::custom("not the base64 of singles"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Numbers, A::Error> {
        let mut numbers = Vec::with_capacity(limits::EMBEDDING_DIMENSIONS);
        while let Some(number) = items.next_element::<f64>()? {
            if numbers.len() > DIMENSIONS_COUNTED {
                return Err(A::Error::custom("too many numbers"));
            }
            numbers.push(number as f32);
        }
        Ok(Numbers(numbers))
    }
}

/// More numbers than any model gives: what is longer is malformed rather than counted.
const DIMENSIONS_COUNTED: usize = 65_536;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A vector that says which it is.
    fn numbers(mark: f32) -> Vec<f32> {
        let mut numbers = vec![0.25; limits::EMBEDDING_DIMENSIONS];
        numbers[0] = mark;
        numbers
    }

    fn item(index: impl fmt::Display, mark: f32) -> String {
        format!(r#"{{"object":"embedding","index":{index},"embedding":{:?}}}"#, numbers(mark))
    }

    fn item_in_base64(index: usize, mark: f32) -> String {
        let text = Vector::new(numbers(mark)).unwrap().to_base64();
        format!(r#"{{"object":"embedding","index":{index},"embedding":"{text}"}}"#)
    }

    fn body(items: &[String]) -> String {
        format!(
            r#"{{"object":"list","data":[{}],"model":"ada","usage":{{"prompt_tokens":1}}}}"#,
            items.join(",")
        )
    }

    fn check(json: &str, asked: usize, expected: Result<&[f32], InvalidReply>) {
        let marks = read(json.as_bytes(), asked)
            .map(|vectors| vectors.iter().map(|v| v.numbers()[0]).collect::<Vec<_>>());
        assert_eq!(marks.as_deref().map_err(|error| *error), expected);
    }

    #[test]
    fn vectors_come_in_the_order_of_their_index() {
        check(&body(&[item(0, 1.0), item(1, 2.0)]), 2, Ok(&[1.0, 2.0]));
        check(&body(&[item(1, 2.0), item(0, 1.0)]), 2, Ok(&[1.0, 2.0]));
        check(&body(&[item_in_base64(1, 2.0), item(0, 0.1)]), 2, Ok(&[0.1, 2.0]));
        check(&body(&[]), 0, Ok(&[]));
    }

    #[test]
    fn whatever_is_not_one_vector_for_each_text_is_an_error() {
        let count = |asked, given| Err(InvalidReply::Count { asked, given });
        check(&body(&[item(0, 1.0)]), 2, count(2, 1));
        check(&body(&[item(0, 1.0), item(1, 1.0)]), 1, count(1, 2));
        check(&body(&[item(0, 1.0), item(0, 1.0)]), 2, Err(InvalidReply::Index));
        check(&body(&[item(0, 1.0), item(2, 1.0)]), 2, Err(InvalidReply::Index));
        check(&body(&[item(u64::MAX, 1.0)]), 1, Err(InvalidReply::Index));
        let dimensions = InvalidVector::Dimensions { given: 2 };
        check(r#"{"data":[{"index":0,"embedding":[0.5,0.5]}]}"#, 1, Err(dimensions.into()));
        check(r#"{"data":[{"index":0,"embedding":"AAAAPwAAAD8="}]}"#, 1, Err(dimensions.into()));
        let huge = body(&[item(0, 1.0).replacen("1.0", "1e39", 1)]);
        check(&huge, 1, Err(InvalidVector::NotFinite.into()));
        for malformed in [
            "",
            "null",
            r#"{"data":null}"#,
            r#"{"error":{"message":"canary"}}"#,
            r#"{"data":[{"index":0}]}"#,
            r#"{"data":[{"index":-1,"embedding":[]}]}"#,
            r#"{"data":[{"index":0,"embedding":[NaN]}]}"#,
            r#"{"data":[{"index":0,"embedding":[1e400]}]}"#,
            r#"{"data":[{"index":0,"embedding":"AAA"}]}"#,
            r#"{"data":[{"index":0,"embedding":"AAA="}]}"#,
        ] {
            check(malformed, 1, Err(InvalidReply::Malformed));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), asked in 0usize..4) {
            let _ = read(&bytes, asked);
        }

        /// However an answer is permuted, cut or lengthened.
        #[test]
        fn a_text_gets_its_own_vector_or_all_get_none(
            order in prop::collection::vec((0usize..5, any::<bool>()), 0..7),
        ) {
            let items: Vec<_> = order
                .iter()
                .map(|(index, as_text)| match as_text {
                    true => item_in_base64(*index, *index as f32),
                    false => item(index, *index as f32),
                })
                .collect();
            let answer = read(body(&items).as_bytes(), 5);
            let mut indices: Vec<_> = order.iter().map(|(index, _)| *index).collect();
            indices.sort_unstable();
            match answer {
                Ok(vectors) => {
                    let marks: Vec<_> = vectors.iter().map(|v| v.numbers()[0]).collect();
                    prop_assert_eq!(marks, [0.0, 1.0, 2.0, 3.0, 4.0]);
                    prop_assert_eq!(indices, [0, 1, 2, 3, 4]);
                }
                Err(_) => prop_assert_ne!(indices, [0, 1, 2, 3, 4]),
            }
        }
    }
}
