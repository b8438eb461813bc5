//! A model of embeddings in place of a provider's: what it gives for a text, and how a provider answers that is
//! well or misbehaves. The virtual rig's provider and the mock over HTTP both answer from here.
//!
//! A vector is made of the text's runs of three characters, each of which adds a direction of its own; it has length
//! one. So the same text always has the same vector, and texts that share more runs are nearer.

use serde::Serialize;
use sync_core::limits;

use crate::scenario::model::EmbeddingAnswer;

/// The vector of a text.
pub fn numbers(text: &str) -> Vec<f32> {
    let mut numbers = vec![0.0_f32; limits::EMBEDDING_DIMENSIONS];
    let folded: Vec<char> = std::iter::once('\u{2}')
        .chain(text.chars().flat_map(char::to_lowercase))
        .chain(std::iter::once('\u{3}'))
        .collect();
    for run in folded.windows(RUN) {
        let hash = run.iter().fold(0, |hash, c| mix(hash ^ u64::from(u32::from(*c))));
        for place in 0..PLACES {
            let draw = mix(hash ^ (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let sign = if draw >> 63 == 0 { 1.0 } else { -1.0 };
            numbers[(draw % limits::EMBEDDING_DIMENSIONS as u64) as usize] += sign;
        }
    }
    let length = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        numbers.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    } else {
        // Its runs cancel each other out; a direction of its own is as good as any.
        numbers[0] = 1.0;
    }
    numbers
}

/// Tells a vector from others.
pub fn digest(numbers: &[f32]) -> u64 {
    numbers.iter().fold(0, |hash, number| mix(hash ^ u64::from(number.to_bits())))
}

/// Tells a text from others.
pub fn text_digest(text: &str) -> u64 {
    text.bytes().fold(1, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// How numbers stand in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `float`: as an array.
    Float,
    /// `base64`: as little-endian singles.
    Base64,
}

/// What a provider answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// JSON, or what should be.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct Body<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// The answer of a provider that is well or misbehaves; `None` when it never answers.
pub fn answer<T: AsRef<str>>(
    texts: &[T],
    model: &str,
    encoding: Encoding,
    misbehaviour: Option<EmbeddingAnswer>,
    retry_after: Option<u64>,
) -> Option<Answer> {
    match misbehaviour {
        Some(EmbeddingAnswer::Stall) => return None,
        Some(EmbeddingAnswer::RateLimited) => return Some(error(429, retry_after, "rate_limit_exceeded")),
        Some(EmbeddingAnswer::Error) => return Some(error(500, None, "server_error")),
        _ => {}
    }
    let mut vectors: Vec<_> = texts.iter().map(|text| numbers(text.as_ref())).collect();
    match misbehaviour {
        // The first is left out, and the others count from 0: their places say nothing any more.
        Some(EmbeddingAnswer::FewerVectors) => drop(vectors.drain(..vectors.len().min(1))),
        Some(EmbeddingAnswer::WrongDimension) => {
            vectors.iter_mut().for_each(|numbers| numbers.truncate(limits::EMBEDDING_DIMENSIONS / 2));
        }
        _ => {}
    }
    let item = |(index, numbers): (usize, Vec<f32>)| Item {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Float => Numbers::Float(numbers),
            Encoding::Base64 => Numbers::Base64(base64(&numbers)),
        },
    };
    let mut data: Vec<_> = vectors.into_iter().enumerate().map(item).collect();
    if misbehaviour == Some(EmbeddingAnswer::PermutedIndex) {
        data.reverse();
    }
    let tokens = texts.iter().map(|text| text.as_ref().len().div_ceil(4)).sum();
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    let mut body = Vec::new();
    sync_core::wire::write(&Body { object: "list", data, model, usage }, &mut body);
    if misbehaviour == Some(EmbeddingAnswer::MalformedJson) {
        body.truncate(body.len() / 2);
    }
    Some(Answer { status: 200, retry_after: None, body })
}

/// An error in the published form.
pub fn error(status: u16, retry_after: Option<u64>, code: &str) -> Answer {
    let body = serde_json::json!({"error": {"message": code, "type": code, "param": null, "code": code}});
    Answer { status, retry_after, body: body.to_string().into_bytes() }
}

fn base64(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::new();
    sync_core::envelope::encode_base64(&bytes, &mut text);
    text
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Characters of a run, and how many numbers one changes.
const RUN: usize = 3;
const PLACES: u64 = 16;

#[cfg(test)]
mod tests {
    use sync_core::embedding::{InvalidReply, InvalidVector, Vector, reply};

    use super::*;

    fn vector(text: &str) -> Vector {
        Vector::new(numbers(text)).unwrap()
    }

    #[test]
    fn texts_that_share_more_are_nearer() {
        let to = |text: &str| vector("a sword of fire").distance(&vector(text)).billionths();
        let distances = [
            to("a sword of fire"),
            to("A sword of Fire!"),
            to("a shield of fire"),
            to("monsters gather in the north"),
        ];
        assert!(distances.is_sorted() && distances[0] == 0, "{distances:?}");
        assert!(distances[1] < 300_000_000 && distances[3] > 700_000_000, "{distances:?}");
        for odd in ["a", "", "\u{1F409}", "\0"] {
            assert_eq!(vector(odd).distance(&vector(odd)).billionths(), 0);
        }
    }

    fn check(misbehaviour: Option<EmbeddingAnswer>, expected: Result<(), InvalidReply>) {
        for encoding in [Encoding::Float, Encoding::Base64] {
            let texts = ["one", "two", "three"];
            let given = answer(&texts, "ada", encoding, misbehaviour, None).unwrap();
            let read = reply::read(&given.body, 3);
            assert_eq!(read.as_ref().map(|_| ()).map_err(|error| *error), expected, "{misbehaviour:?}");
            if let Ok(vectors) = read {
                assert_eq!(vectors, texts.map(vector));
            }
        }
    }

    #[test]
    fn each_misbehaviour_is_what_it_is_called() {
        check(None, Ok(()));
        check(Some(EmbeddingAnswer::PermutedIndex), Ok(()));
        check(Some(EmbeddingAnswer::FewerVectors), Err(InvalidReply::Count { asked: 3, given: 2 }));
        let half = InvalidVector::Dimensions { given: 768 };
        check(Some(EmbeddingAnswer::WrongDimension), Err(InvalidReply::Vector(half)));
        check(Some(EmbeddingAnswer::MalformedJson), Err(InvalidReply::Malformed));
        let status = |how, retry_after| {
            answer(&["one"], "ada", Encoding::Float, Some(how), retry_after)
                .map(|a| (a.status, a.retry_after))
        };
        assert_eq!(status(EmbeddingAnswer::RateLimited, Some(3)), Some((429, Some(3))));
        assert_eq!(status(EmbeddingAnswer::Error, None), Some((500, None)));
        assert_eq!(status(EmbeddingAnswer::Stall, None), None);
    }
}
