//! Defects in how a provider's answer is read.

use serde_json::Value;
use sync_core::embedding::{EmbedError, Vector, reply};
use sync_core::limits;

use super::Planted;

/// Reads an answer as the defect does: 61 takes vectors in the order of the answer, 62 pairs texts with as many
/// vectors as there are and gives the rest the last one, 63 fills a vector that is too short with zeros.
pub(super) fn read_vectors(planted: Planted, body: &[u8], asked: usize) -> Result<Vec<Vector>, EmbedError> {
    let altered = match serde_json::from_slice::<Value>(body) {
        Ok(mut answer) if planted.is(61) || planted.is(62) || planted.is(63) => {
            if let Some(items) = answer["data"].as_array_mut() {
                alter(planted, items, asked);
            }
            answer.to_string().into_bytes()
        }
        _ => body.to_vec(),
    };
    Ok(reply::read(&altered, asked)?)
}

fn alter(planted: Planted, items: &mut Vec<Value>, asked: usize) {
    if planted.is(61) {
        number(items);
    }
    if let (true, Some(last)) = (planted.is(62), items.last().cloned()) {
        items.resize(asked, last);
        number(items);
    }
    if planted.is(63) {
        items.iter_mut().for_each(lengthen);
    }
}

fn number(items: &mut [Value]) {
    for (place, item) in items.iter_mut().enumerate() {
        item["index"] = place.into();
    }
}

fn lengthen(item: &mut Value) {
    let Some(text) = item["embedding"].as_str() else { return };
    let mut short = Vec::new();
    if sync_core::envelope::decode_base64(text.as_bytes(), &mut short).is_ok() {
        let zeros = std::iter::repeat(0);
        let bytes: Vec<u8> = short.into_iter().chain(zeros).take(limits::EMBEDDING_DIMENSIONS * 4).collect();
        let mut text = String::new();
        sync_core::envelope::encode_base64(&bytes, &mut text);
        item["embedding"] = text.into();
    }
}

#[cfg(test)]
mod tests {
    use sync_core::embedding::InvalidReply;

    use super::*;
    use crate::embedding::{Encoding, answer, numbers};
    use crate::scenario::model::EmbeddingAnswer;

    fn check(number: u32, how: EmbeddingAnswer, expected: Result<(), InvalidReply>) {
        let texts = ["one", "two", "three"];
        let given = answer(&texts, "m", Encoding::Base64, Some(how), None).unwrap();
        let read = read_vectors(Planted::new(number), &given.body, 3);
        let own = texts.map(|text| Vector::new(numbers(text)).unwrap());
        match (read, expected) {
            (Ok(vectors), Ok(())) => assert_ne!(vectors, own, "{number}"),
            (Err(EmbedError::Invalid(error)), Err(expected)) => assert_eq!(error, expected),
            (read, _) => panic!("{number}: {read:?}"),
        }
    }

    #[test]
    fn each_defect_reads_what_the_core_refuses_or_pairs_otherwise() {
        check(61, EmbeddingAnswer::PermutedIndex, Ok(()));
        check(62, EmbeddingAnswer::FewerVectors, Ok(()));
        check(63, EmbeddingAnswer::WrongDimension, Ok(()));
        check(61, EmbeddingAnswer::FewerVectors, Err(InvalidReply::Count { asked: 3, given: 2 }));
        check(62, EmbeddingAnswer::MalformedJson, Err(InvalidReply::Malformed));
    }
}
