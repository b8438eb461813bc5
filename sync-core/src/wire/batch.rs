//! Several operations in one HTTP request, each in a frame of its own.
//!
//! `{"operations": [request, ...]}` is answered by `{"operations": [answer, ...]}` in the same order. An
//! answer is what the operation would have got alone: `{"encrypted_data": frame}`, or `{"status": number}`
//! in place of a bare HTTP status. Nobody vouches for a bare status, here as there.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Malformed, read, write};
use crate::limits;

/// What a body holds, as far as it can be seen without a key.
#[derive(Clone, Debug)]
pub enum Outer<'a> {
    /// One operation, of this account. Whether it is well formed is for whoever opens it to say; without
    /// an account it is not.
    Single(Option<u32>),
    /// Several operations, at least one: each is the text of a request.
    Batch(Vec<&'a RawValue>),
    /// More than [`limits::BATCH_OPERATIONS_MAX`] operations.
    TooMany,
    /// Neither: `operations` beside something else, or not a list of at least one.
    Malformed,
}

/// Only what is needed to tell the forms apart.
#[derive(Deserialize)]
struct Peek {
    account_id: Option<u32>,
    operations: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    operations: Bounded<'a>,
}

/// A list of which no more is kept than may be there.
struct Bounded<'a> {
    kept: Vec<&'a RawValue>,
    surplus: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Bounded<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Bounded<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of operations")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < limits::BATCH_OPERATIONS_MAX {
                    match list.next_element()? {
                        Some(element) => kept.push(element),
                        None => return Ok(Bounded { kept, surplus: false }),
                    }
                }
                let mut surplus = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    surplus = true;
                }
                Ok(Bounded { kept, surplus })
            }
        }

        deserializer.deserialize_seq(List)
    }
}

impl<'a> Outer<'a> {
    /// Looks at a body.
    pub fn of(json: &'a [u8]) -> Self {
        let Ok(peek) = read::<Peek>(json) else { return Self::Single(None) };
        if peek.operations.is_none() {
            return Self::Single(peek.account_id);
        }
        match read::<Batch<'a>>(json) {
            Ok(Batch { operations: Bounded { surplus: true, .. } }) => Self::TooMany,
            Ok(Batch { operations: Bounded { kept, .. } }) if !kept.is_empty() => Self::Batch(kept),
            _ => Self::Malformed,
        }
    }

    /// The account that stands outside the frame of one request, if it can be read.
    pub fn account(request: &[u8]) -> Option<u32> {
        read::<Peek>(request).ok().and_then(|peek| peek.account_id)
    }
}

/// An operation's answer in a batch: its reply `{"encrypted_data": frame}`, or the HTTP status in its place.
pub type Answer = Result<Vec<u8>, u16>;

/// The body of a batched request, out of the bodies of single ones.
pub fn write_batch(requests: &[Vec<u8>]) -> Vec<u8> {
    list(requests.iter().map(|request| request.as_slice().into()))
}

/// The body of the answer to a batch.
pub fn write_answers(answers: &[Answer]) -> Vec<u8> {
    list(answers.iter().map(|answer| match answer {
        Ok(reply) => reply.as_slice().into(),
        Err(status) => {
            let mut refused = Vec::new();
            write(&Refused { status: *status }, &mut refused);
            refused.into()
        }
    }))
}

/// Reads the body of the answer to a batch. The replies in it have yet to be opened.
///
/// # Errors
/// When it is not a list of answers, or of more than a batch can have.
pub fn read_answers(json: &[u8]) -> Result<Vec<Answer>, Malformed> {
    let Bounded { kept, surplus } = read::<Batch<'_>>(json)?.operations;
    if surplus {
        return Err(Malformed);
    }
    let answer = |raw: &RawValue| match read::<Refused>(raw.get().as_bytes()) {
        Ok(refused) => Err(refused.status),
        Err(Malformed) => Ok(raw.get().as_bytes().to_vec()),
    };
    Ok(kept.into_iter().map(answer).collect())
}

#[derive(serde::Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    status: u16,
}

fn list<'a>(elements: impl Iterator<Item = std::borrow::Cow<'a, [u8]>>) -> Vec<u8> {
    let mut json = b"{\"operations\":[".to_vec();
    for (index, element) in elements.enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(&element);
    }
    json.extend_from_slice(b"]}");
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(json: &str) -> String {
        match Outer::of(json.as_bytes()) {
            Outer::Single(Some(account)) => format!("single {account}"),
            Outer::Single(None) => "single".to_owned(),
            Outer::Batch(kept) => format!("batch {}", kept.iter().map(|r| r.get()).collect::<String>()),
            Outer::TooMany => "too many".to_owned(),
            Outer::Malformed => "malformed".to_owned(),
        }
    }

    #[test]
    fn one_operation_and_several_are_told_apart() {
        let check = |json: &str, expected: &str| assert_eq!(shape(json), expected, "{json}");
        check(r#"{"account_id":7,"encrypted_data":"x"}"#, "single 7");
        check(r#"{"encrypted_data":"x"}"#, "single");
        check(r#"{"account_id":4294967296}"#, "single");
        check("no json", "single");
        check("", "single");
        check(r#"{"operations":[{"a":1}, 2]}"#, r#"batch {"a":1}2"#);
        check(r#"{"operations":[]}"#, "malformed");
        check(r#"{"operations":{}}"#, "malformed");
        check(r#"{"operations":[1],"account_id":7}"#, "malformed");
        let list = |count: usize| format!(r#"{{"operations":[{}0]}}"#, "0,".repeat(count - 1));
        assert!(shape(&list(limits::BATCH_OPERATIONS_MAX)).starts_with("batch"));
        check(&list(limits::BATCH_OPERATIONS_MAX + 1), "too many");
    }

    #[test]
    fn answers_come_back_in_their_order() {
        let reply = br#"{"encrypted_data":"AA=="}"#.to_vec();
        let answers = vec![Ok(reply.clone()), Err(400), Ok(reply), Err(429)];
        let json = write_answers(&answers);
        assert_eq!(
            String::from_utf8(json.clone()).unwrap(),
            r#"{"operations":[{"encrypted_data":"AA=="},{"status":400},{"encrypted_data":"AA=="},{"status":429}]}"#
        );
        assert_eq!(read_answers(&json), Ok(answers));
        assert_eq!(read_answers(b"{}"), Err(Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_looked_at_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Outer::of(&bytes);
            let _ = read_answers(&bytes);
        }
    }
}
