//! What operations and states are called in a history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync_core::id::{AccountId, MapName};
use sync_core::store::StateKey;

use super::digits::hex;

/// One operation as its application knows it: the same in every rig, whatever ids it travels under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct OpRef {
    /// The host, from 0.
    pub host: u32,
    /// The host's own name for the operation.
    pub ticket: u64,
}

/// The id of an operation on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WireId {
    /// The account.
    pub account: u32,
    /// The session's life; 16 hex digits in JSON, as on the wire.
    #[serde(with = "hex")]
    pub incarnation: u64,
    /// Counts the operations of that life.
    pub counter: u64,
}

/// Names a state: `MAP_STATE/0/prontera` is type, owner (0 for the map's own) and map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateName(pub StateKey);

impl From<sync_core::id::OperationId> for WireId {
    fn from(id: sync_core::id::OperationId) -> Self {
        Self { account: id.account.0, incarnation: id.incarnation.0, counter: id.counter }
    }
}

impl std::fmt::Display for StateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for StateName {
    type Err = NotAStateName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or(NotAStateName);
        let (data_type, owner, map) = (next()?, next()?, next()?);
        Ok(Self(StateKey {
            data_type: data_type.parse().map_err(|_| NotAStateName)?,
            owner: AccountId(owner.parse().map_err(|_| NotAStateName)?),
            map: MapName::new(map).map_err(|_| NotAStateName)?,
        }))
    }
}

impl Serialize for StateName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StateName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for WireId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:016x}-{}", self.account, self.incarnation, self.counter)
    }
}

impl std::fmt::Display for OpRef {
    /// `host.ticket`, as in plans and in written values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.host, self.ticket)
    }
}

impl std::str::FromStr for OpRef {
    type Err = NotAnOpRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, ticket) = text.split_once('.').ok_or(NotAnOpRef)?;
        Ok(Self {
            host: host.parse().map_err(|_| NotAnOpRef)?,
            ticket: ticket.parse().map_err(|_| NotAnOpRef)?,
        })
    }
}

/// The text names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`<type>/<owner>/<map>` is expected, such as `MAP_STATE/0/prontera`")]
pub struct NotAStateName;

/// The text names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`<host>.<ticket>` is expected, such as `3.17`")]
pub struct NotAnOpRef;
