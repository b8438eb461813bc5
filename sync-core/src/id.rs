//! Identifiers as types of their own, each with one text form.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::limits;

/// An account of the game; a host acts for exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub u32);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a session, drawn at its start; tells a restarted host from its former self.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Incarnation {
    /// 16 hex digits: a number in JSON is exact up to 2^53 only.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let wanted =
            text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = wanted.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| D::Error::custom("an incarnation has 16 hex digits in lower case"))
    }
}

/// Names one operation for ever, retries included: `<account>-<incarnation, 16 hex>-<counter>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId {
    /// Whose operation it is.
    pub account: AccountId,
    /// The session's life in which it was asked for.
    pub incarnation: Incarnation,
    /// Counts the operations of that life, from 1.
    pub counter: u64,
}

impl OperationId {
    /// Bytes of the longest text form.
    pub const TEXT_BYTES_MAX: usize = 10 + 1 + 16 + 1 + 20;

    /// The text form, written into `buffer`. Each message holds it several times, and formatting
    /// machinery would cost as much as a block cipher.
    pub fn text<'a>(&self, buffer: &'a mut [u8; Self::TEXT_BYTES_MAX]) -> &'a str {
        let mut at = decimal_before(buffer, Self::TEXT_BYTES_MAX, self.counter);
        at -= 1;
        buffer[at] = b'-';
        for nibble in 0..16 {
            at -= 1;
            buffer[at] = b"0123456789abcdef"[(self.incarnation.0 >> (4 * nibble) & 0xf) as usize];
        }
        at -= 1;
        buffer[at] = b'-';
        at = decimal_before(buffer, at, u64::from(self.account.0));
        // Digits and hyphens only.
        std::str::from_utf8(&buffer[at..]).unwrap_or_default()
    }
}

/// Writes the number so that it ends before `end`, and says where it begins.
pub(crate) fn decimal_before(buffer: &mut [u8], end: usize, mut number: u64) -> usize {
    let mut at = end;
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return at;
        }
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text(&mut [0; Self::TEXT_BYTES_MAX]))
    }
}

/// The text is not an operation id in its one canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an operation id: `<account>-<incarnation, 16 hex digits>-<counter>` is expected")]
pub struct InvalidOperationId;

impl FromStr for OperationId {
    type Err = InvalidOperationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text.as_bytes())
            .filter(|id| id.counter <= limits::JSON_INTEGER_MAX)
            .ok_or(InvalidOperationId)
    }
}

impl OperationId {
    /// The text form with whatever counter. Byte by byte, since every message holds it several times.
    fn read(text: &[u8]) -> Option<Self> {
        let hyphen = text.iter().take(11).position(|b| *b == b'-')?;
        let (account, rest) = (&text[..hyphen], &text[hyphen + 1..]);
        let (incarnation, rest) = rest.split_first_chunk::<16>()?;
        let counter = rest.strip_prefix(b"-")?;
        Some(Self {
            account: AccountId(decimal(account).and_then(|a| u32::try_from(a).ok())?),
            incarnation: Incarnation(incarnation.iter().try_fold(0, |number, digit| {
                let digit = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                Some(number << 4 | u64::from(digit))
            })?),
            counter: decimal(counter)?,
        })
    }
}

impl Serialize for OperationId {
    /// The text form.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; Self::TEXT_BYTES_MAX]))
    }
}

impl<'de> Deserialize<'de> for OperationId {
    /// The text form; the counter may be any: what travels is bounded where it is read from the wire.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::read(text.as_bytes()).ok_or_else(|| D::Error::custom(InvalidOperationId))
    }
}

/// A decimal number in its one canonical form: no sign, no leading zero.
fn decimal(text: &[u8]) -> Option<u64> {
    let canonical = !text.is_empty() && (text.len() == 1 || text[0] != b'0');
    if !canonical {
        return None;
    }
    text.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The name of a map; empty for what belongs to no map. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct MapName(Name);

/// Every operation holds its map's name many times over, so short ones need no memory of their own.
#[derive(Clone, PartialEq, Eq)]
enum Name {
    /// The first `len` bytes; all others are 0.
    Short { len: u8, bytes: [u8; SHORT_NAME_BYTES_MAX] },
    /// Always longer than a short one.
    Long(Arc<str>),
}

/// With length and variant as large as three words.
const SHORT_NAME_BYTES_MAX: usize = 22;

/// The text cannot name a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a map's name has at most {} characters out of `A-Z a-z 0-9 _ - . @ #`", limits::MAP_NAME_BYTES_MAX)]
pub struct InvalidMapName;

impl MapName {
    /// Checks the name's length and characters.
    pub fn new(name: &str) -> Result<Self, InvalidMapName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@' | b'#');
        if name.len() > limits::MAP_NAME_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(InvalidMapName);
        }
        let mut bytes = [0; SHORT_NAME_BYTES_MAX];
        Ok(Self(match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name.as_bytes());
                Name::Short { len: name.len() as u8, bytes }
            }
            None => Name::Long(name.into()),
        }))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Made of text whose every byte is a character.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Name::Short { len, bytes } => &bytes[..usize::from(*len)],
            Name::Long(name) => name.as_bytes(),
        }
    }
}

impl PartialOrd for MapName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MapName {
    /// As text is ordered.
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for MapName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MapName").field(&self.as_str()).finish()
    }
}

impl Serialize for MapName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MapName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).map_err(D::Error::custom)
    }
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Ties an effect to the input that completes it. Unique within one life of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_have_one_text_form() {
        let id = OperationId { account: AccountId(7), incarnation: Incarnation(0xab), counter: 3 };
        assert_eq!(id.to_string(), "7-00000000000000ab-3");
        assert_eq!("7-00000000000000ab-3".parse(), Ok(id));
        let longest = OperationId {
            account: AccountId(u32::MAX),
            incarnation: Incarnation(u64::MAX),
            counter: u64::MAX,
        };
        assert_eq!(longest.to_string(), "4294967295-ffffffffffffffff-18446744073709551615");
        let zero = OperationId { account: AccountId(0), incarnation: Incarnation(0), counter: 0 };
        assert_eq!(zero.to_string(), "0-0000000000000000-0");
        for wrong in [
            "",
            "7",
            "7-00000000000000ab",
            "7-00000000000000AB-3",
            "07-00000000000000ab-3",
            "7-ab-3",
            "7-00000000000000ab-03",
            "7-00000000000000ab-3-1",
            "4294967296-00000000000000ab-3",
            "7-00000000000000ab-9007199254740992",
            "+7-00000000000000ab-3",
        ] {
            assert_eq!(wrong.parse::<OperationId>(), Err(InvalidOperationId), "{wrong}");
        }
    }

    #[test]
    fn map_names_are_bounded() {
        assert!(MapName::new("").is_ok());
        assert!(MapName::new("prontera.gat").is_ok());
        assert!(MapName::new("a b").is_err());
        assert!(MapName::new(&"m".repeat(65)).is_err());
    }

    #[test]
    fn short_and_long_map_names_are_ordered_as_their_texts() {
        let texts = ["", "b", "ba", &"a".repeat(22), &"a".repeat(23), &"a".repeat(64), &"b".repeat(30)];
        for one in texts {
            let name = MapName::new(one).unwrap();
            assert_eq!(
                (name.as_str(), name.to_string().as_str(), format!("{name:?}")),
                (one, one, format!("MapName({one:?})"))
            );
            for other in texts {
                let other_name = MapName::new(other).unwrap();
                assert_eq!(name.cmp(&other_name), one.cmp(other));
                assert_eq!(name == other_name, one == other);
            }
        }
    }
}
