//! Which of two versions of a row wins: the greater one, by (stamp, node, content hash).
//!
//! The derived orders of [`Stamp`] and [`Version`] are the relation itself, deletes included. It is one strict
//! total order: it looks at nothing but the two versions, so it cannot depend on which side is the local one.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

use crate::limits;

/// Names a peer. Ordered by its bytes, in every language and collation alike. Cheap to clone.
#[derive(Clone)]
pub struct NodeId {
    /// The first bytes, the first of them the greatest, with zeros behind a shorter name: most comparisons end here,
    /// without a look at what is elsewhere in memory.
    first: u64,
    name: Arc<str>,
}

/// The text cannot name a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a node id has 1 to {} characters out of `A-Z a-z 0-9 _ - .`", limits::NODE_ID_BYTES_MAX)]
pub struct InvalidNodeId;

impl NodeId {
    /// Checks length and characters.
    pub fn new(name: &str) -> Result<Self, InvalidNodeId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if name.is_empty() || name.len() > limits::NODE_ID_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(InvalidNodeId);
        }
        Ok(Self::unchecked(name))
    }

    /// Of a name that is known to be sound.
    pub(crate) fn unchecked(name: &str) -> Self {
        let mut first = [0; 8];
        for (byte, of_name) in first.iter_mut().zip(name.bytes()) {
            *byte = of_name;
        }
        Self { first: u64::from_be_bytes(first), name: name.into() }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> Ordering {
        // A name has no zeros in it: the shorter of two that begin alike comes first either way, and two short ones that
        // begin alike are one.
        self.first.cmp(&other.first).then_with(|| match self.name.len().max(other.name.len()) <= 8 {
            true => Ordering::Equal,
            false => self.name.cmp(&other.name),
        })
    }
}

impl PartialEq for NodeId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for NodeId {}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for NodeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeId").field(&self.name).finish()
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).map_err(D::Error::custom)
    }
}

/// A moment of a hybrid logical clock: strictly grows at a node, and past everything the node has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Microseconds since 1970-01-01T00:00:00Z, of the clock or of the greatest stamp seen.
    pub us: u64,
    /// Orders what falls into one microsecond.
    pub counter: u32,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.us, self.counter)
    }
}

/// The first 16 bytes of SHA-256 over a row's canonical content; made at the origin and carried.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 16]);

impl fmt::Display for ContentHash {
    /// 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a content hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a content hash has 32 hex digits in lower case")]
pub struct InvalidContentHash;

impl FromStr for ContentHash {
    type Err = InvalidContentHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| InvalidContentHash)?;
        let mut hash = [0; 16];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| match d {
                b'0'..=b'9' => Ok(d - b'0'),
                b'a'..=b'f' => Ok(d - b'a' + 10),
                _ => Err(InvalidContentHash),
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Names one write of one row. The greater version wins; the derived order is the relation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// When it was written, by the writer's hybrid logical clock.
    pub stamp: Stamp,
    /// Who wrote it.
    pub node: NodeId,
    /// What was written; decides only where one identity was used twice.
    pub hash: ContentHash,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.stamp, self.node)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    fn version(us: u64, counter: u32, node: &str, hash: u8) -> Version {
        Version {
            stamp: Stamp { us, counter },
            node: NodeId::new(node).unwrap(),
            hash: ContentHash([hash; 16]),
        }
    }

    #[test]
    fn stamp_then_node_by_bytes_then_hash_decides() {
        assert!(version(2, 0, "a", 0) > version(1, 9, "z", 9));
        assert!(version(1, 1, "a", 0) > version(1, 0, "z", 9));
        assert!(version(1, 1, "a", 0) > version(1, 1, "Z", 9), "bytes, not a collation");
        assert!(version(1, 1, "a10", 0) < version(1, 1, "a9", 0), "bytes, not numbers");
        assert!(version(1, 1, "a", 2) > version(1, 1, "a", 1));
    }

    #[test]
    fn nodes_are_ordered_and_alike_as_their_names() {
        let long = "a-name-that-is-longer";
        let names = [
            "a",
            "ab",
            "ab.",
            "abcdefgh",
            "abcdefghi",
            "abcdefghj",
            "abcdefg",
            "b",
            "Z",
            long,
            "a-name-that-is",
        ];
        for (one, other) in names.iter().flat_map(|one| names.iter().map(move |other| (*one, *other))) {
            let (a, b) = (NodeId::new(one).unwrap(), NodeId::new(other).unwrap());
            assert_eq!(a.cmp(&b), one.cmp(other), "{one} {other}");
            assert_eq!(a == b, one == other);
            let hash = |node: &NodeId| rustc_hash::FxBuildHasher.hash_one(node);
            assert!(a != b || hash(&a) == hash(&b));
        }
    }

    #[test]
    fn names_and_hashes_have_one_text_form() {
        assert!(NodeId::new("").is_err() && NodeId::new("a b").is_err());
        assert!(NodeId::new(&"x".repeat(limits::NODE_ID_BYTES_MAX + 1)).is_err());
        let hash = ContentHash([0xa5; 16]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!(hash.to_string().to_uppercase().parse::<ContentHash>().is_err());
    }
}
