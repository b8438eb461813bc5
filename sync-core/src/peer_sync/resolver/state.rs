//! What policies keep beside a row: names of writes, and JSON in one canonical form.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

use crate::peer_sync::row::{Extra, RowVersion};
use crate::peer_sync::version::{NodeId, Stamp};

/// Names a write without what it wrote. The later, then the one of the greater node, is the greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    /// When.
    pub stamp: Stamp,
    /// Who.
    pub node: NodeId,
}

/// The text names no write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a write: `<microseconds>.<counter>@<node>` is expected")]
pub struct InvalidWriteId;

impl WriteId {
    /// The write that a version is of, or its latest if it is combined.
    pub fn of(row: &RowVersion) -> Self {
        Self { stamp: row.version.stamp, node: row.version.node.clone() }
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.stamp, self.node)
    }
}

impl FromStr for WriteId {
    type Err = InvalidWriteId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (stamp, node) = text.split_once('@')?;
            let (us, counter) = stamp.split_once('.')?;
            let stamp = Stamp { us: us.parse().ok()?, counter: counter.parse().ok()? };
            Some(Self { stamp, node: NodeId::new(node).ok()? })
        };
        // One write has one name: no leading zero, no sign.
        parse().filter(|write| write.to_string() == text).ok_or(InvalidWriteId)
    }
}

impl Serialize for WriteId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WriteId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Writes a state down.
pub(super) fn to_state<T: Serialize>(state: &T) -> Extra {
    // What is written here are texts and lists of texts, which JSON always has a form for.
    serde_json::to_string(state).map_or(Extra::None, |text| Extra::State(text.into()))
}

/// Reads a state; none for what is none, or is not in the form that [`to_state`] gives it.
pub(super) fn from_state<T: Serialize + DeserializeOwned>(extra: &Extra) -> Option<T> {
    let Extra::State(text) = extra else { return None };
    let state: T = serde_json::from_str(text).ok()?;
    (to_state(&state) == *extra).then_some(state)
}
