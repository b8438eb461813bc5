//! Inputs out of others: valid messages with something altered, and now and then nothing but random bytes.

use serde_json::{Value, json};

/// Draws that follow from a seed (Steele, Lea, Flood 2014: SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`; 0 if there is nothing less.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    pub(super) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// No input grows beyond this.
const BYTES_MAX: usize = 16 * 1024;

/// What means something here, and what seldom does elsewhere.
const WORDS: [&str; 40] = [
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "0.1",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "4294967296",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{202e}",
    "%00",
    "%ff",
    "..",
    "//",
    "?",
    "&",
    "=",
    "\r\n",
    "\n\n",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    ":",
    ",",
    "users",
    "categories",
    "reviews",
    "role",
    "id",
    "n1",
    "n2",
    "limit=1&after=",
    "since=",
];

/// An input out of `corpus`.
pub(super) fn input(draws: &mut Draws, corpus: &[Vec<u8>]) -> Vec<u8> {
    if corpus.is_empty() || draws.below(20) == 0 {
        return (0..draws.below(200)).map(|_| draws.next().to_le_bytes()[0]).collect();
    }
    let mut input = draws.one(corpus).clone();
    let rounds = if draws.below(3) == 0 { 3 } else { 1 };
    for _ in 0..rounds {
        let from = begins(draws, &input);
        match draws.below(8) {
            0..=2 => alter_json(draws, &mut input),
            3 => alter_bytes(draws, &mut input[from..]),
            4 => {
                let at = from + draws.below(input.len() - from + 1);
                let word = *draws.one(&WORDS);
                input.splice(at..at, word.bytes());
            }
            5 => {
                let (start, end) = range(draws, from, &input);
                let part = input[start..end].to_vec();
                let at = from + draws.below(input.len() - from + 1);
                input.splice(at..at, part);
            }
            6 => {
                let (start, end) = range(draws, from, &input);
                input.drain(start..end);
            }
            _ => {
                let other = draws.one(corpus);
                let (start, end) = range(draws, 0, other);
                let at = from + draws.below(input.len() - from + 1);
                input.splice(at..at, other[start..end].iter().copied());
            }
        }
    }
    input.truncate(BYTES_MAX);
    input
}

/// Where the part begins that is altered: mostly the body of a request, or else its query, so that what is around it
/// stays valid.
fn begins(draws: &mut Draws, input: &[u8]) -> usize {
    if draws.below(4) == 0 {
        return 0;
    }
    let body = input.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2);
    let query = input.iter().position(|byte| *byte == b'?').map(|at| at + 1);
    body.filter(|at| *at < input.len()).or(query).unwrap_or(0)
}

fn range(draws: &mut Draws, from: usize, of: &[u8]) -> (usize, usize) {
    let start = from + draws.below(of.len() - from + 1);
    (start, start + draws.below((of.len() - start).min(64) + 1))
}

fn alter_bytes(draws: &mut Draws, input: &mut [u8]) {
    if input.is_empty() {
        return;
    }
    for _ in 0..=draws.below(4) {
        let at = draws.below(input.len());
        match draws.below(3) {
            0 => input[at] ^= 1 << draws.below(8),
            1 => input[at] = draws.next().to_le_bytes()[0],
            _ => input[at] = *draws.one(b"\0\x7f\xff\x80 \"{}[]:,0919-+.eE\\/%?&="),
        }
    }
}

/// Puts something else into one place of the JSON that an input ends with.
fn alter_json(draws: &mut Draws, input: &mut Vec<u8>) {
    let start = (0..input.len()).find_map(|at| {
        let rest = matches!(input[at], b'{' | b'[').then(|| &input[at..])?;
        Some((at, serde_json::from_slice::<Value>(rest).ok()?))
    });
    let Some((start, mut value)) = start else { return alter_bytes(draws, input) };
    // Half of the time it is something that stands elsewhere in it: what is there twice, or in the wrong place.
    let elsewhere = nth(&value, draws.below(count(&value))).filter(|_| draws.below(2) == 0).cloned();
    let place = draws.below(count(&value));
    alter(draws, &mut value, &mut { place }, elsewhere);
    input.truncate(start);
    input.extend(value.to_string().bytes());
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(all) => 1 + all.iter().map(count).sum::<usize>(),
        Value::Object(all) => 1 + all.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// The part at a place, counted as [`count`] does.
fn nth(value: &Value, place: usize) -> Option<&Value> {
    let mut left = place;
    if left == 0 {
        return Some(value);
    }
    left -= 1;
    let parts: Vec<&Value> = match value {
        Value::Array(all) => all.iter().collect(),
        Value::Object(all) => all.values().collect(),
        _ => return None,
    };
    for part in parts {
        if left < count(part) {
            return nth(part, left);
        }
        left -= count(part);
    }
    None
}

fn alter(draws: &mut Draws, value: &mut Value, place: &mut usize, elsewhere: Option<Value>) {
    let is_reached = *place == 0;
    *place = place.wrapping_sub(1);
    if is_reached {
        *value = elsewhere.unwrap_or_else(|| other(draws, value));
        return;
    }
    let parts: Vec<&mut Value> = match value {
        Value::Array(all) => all.iter_mut().collect(),
        Value::Object(all) => all.values_mut().collect(),
        _ => return,
    };
    for part in parts {
        if *place == usize::MAX {
            return;
        }
        alter(draws, part, place, elsewhere.clone());
    }
}

fn other(draws: &mut Draws, value: &Value) -> Value {
    match (draws.below(3), value) {
        (0, Value::Array(all)) => Value::Array(all.iter().chain(all).cloned().collect()),
        (1, Value::Array(all)) => Value::Array(all.iter().skip(1).cloned().collect()),
        (0 | 1, Value::Object(all)) => {
            let left_out = draws.below(all.len());
            let kept = all.iter().enumerate().filter(|(place, _)| *place != left_out);
            Value::Object(kept.map(|(_, (name, value))| (name.clone(), value.clone())).collect())
        }
        (0 | 1, Value::Number(number)) if number.is_u64() => {
            let number = number.as_u64().unwrap_or_default();
            json!(draws.one(&[
                number.wrapping_add(1),
                number.wrapping_sub(1),
                number << 1,
                number ^ (1 << 63)
            ]))
        }
        (0 | 1, Value::String(text)) => {
            let mut text = text.clone();
            let at =
                (0..=text.len()).filter(|at| text.is_char_boundary(*at)).nth(draws.below(text.len() + 1));
            let added = *draws.one(&['\0', '\'', '\u{301}', '\u{10ffff}', '0', 'x']);
            text.insert(at.unwrap_or(0), added);
            json!(text)
        }
        _ => draws
            .one(&[
                Value::Null,
                json!(true),
                json!(0),
                json!(4_096),
                json!(u32::MAX),
                json!(-1),
                json!(u64::MAX),
                json!(1.5e300),
                json!(""),
                json!("1"),
                json!("u1"),
                json!("x".repeat(5_000)),
                json!([]),
                json!([[[[[]]]]]),
                json!({}),
                json!({ "id": "u1" }),
            ])
            .clone(),
    }
}
