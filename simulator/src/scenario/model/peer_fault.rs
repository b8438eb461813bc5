//! What goes wrong among peers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::Distribution;
use super::topology::HostSet;
use crate::scenario::units::{Length, Share, SignedLength};

/// What goes wrong among peers. Sets of peers are written as sets of hosts are: `all`, `{first: 2}`, `{only: [0, 2]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerFault {
    /// Messages from some peers to others vanish.
    Cut(Cut),
    /// Links between peers behave otherwise.
    Degrade(DegradeLinks),
    /// These peers and their databases die at once and start again when the fault ends, with what was committed.
    Crash(HostSet),
    /// The databases of these peers are replaced by copies of themselves that were taken a while ago.
    SetBack(SetBack),
    /// The databases' clocks jump once.
    ClockStep(StepClocks),
    /// Stored rows are altered, as a defect of a disk would: texts change and nothing else.
    Corrupt(Corrupt),
    /// A machine starts again under the name of another that is there, with another database; applications go on
    /// using it. When that ends its database gets the machine's own name, and keeps what was written there.
    SameName(SameName),
    /// The databases of these peers are replaced by others, under the same names.
    Replace(Replace),
    /// These peers start again with another release, which speaks other versions of the protocol. Without `for` they
    /// keep it.
    Release(Release),
}

impl PeerFault {
    /// Whether it happens at one moment and what it did stays so, so that it has no length.
    pub const fn stays(&self) -> bool {
        match self {
            Self::SetBack(_) | Self::ClockStep(_) | Self::Corrupt(_) | Self::Replace(_) => true,
            Self::Cut(_) | Self::Degrade(_) | Self::Crash(_) | Self::SameName(_) | Self::Release(_) => false,
        }
    }
}

/// Messages vanish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// From these peers,
    pub from: HostSet,
    /// to these; a peer in both sets is not cut off from itself.
    pub to: HostSet,
    /// Only messages in this direction; both when absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_way: bool,
}

/// Links behave otherwise; what is absent stays as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DegradeLinks {
    /// All messages to and from these peers.
    #[serde(default)]
    pub peers: HostSet,
    /// Delay of one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Distribution>,
    /// Share of messages that vanish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Share>,
    /// Share of messages that arrive twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Share>,
    /// Share of messages that are held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Share>,
}

/// Databases are replaced by older copies of themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBack {
    /// The peers concerned.
    pub peers: HostSet,
    /// How old the copy is: at most as long as the run has lasted.
    pub by: Length,
}

/// Clocks jump.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepClocks {
    /// The peers concerned.
    #[serde(default)]
    pub peers: HostSet,
    /// How far; a minus sign steps back.
    pub by: SignedLength,
}

/// Stored rows are altered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corrupt {
    /// The peers concerned.
    pub peers: HostSet,
    /// Rows at each, drawn among those that are there; at least 1.
    pub rows: u32,
}

/// A second machine under one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SameName {
    /// The machine concerned.
    pub peer: u32,
    /// The peer whose name it has meanwhile.
    pub of: u32,
    /// The database that it has from then on.
    #[serde(default)]
    pub database: TwinDatabase,
}

/// The database of a second machine under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TwinDatabase {
    /// A new one: both machines were given the same configuration.
    #[default]
    Empty,
    /// A copy of the one that belongs to the name: the machine was copied as a whole.
    Copied,
}

/// Databases are replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// The peers concerned.
    pub peers: HostSet,
    /// By what.
    #[serde(default)]
    pub by: Replacement,
}

/// What takes the place of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Replacement {
    /// A new one: the disk is lost.
    #[default]
    Empty,
    /// A copy of this peer's, which is given the name and a life of its own.
    CopyOf(u32),
}

/// Another release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The peers concerned.
    #[serde(default)]
    pub peers: HostSet,
    /// The oldest version of the protocol that it speaks, at least 1. What there is speaks version 1 alone.
    #[schemars(range(min = 1))]
    pub oldest: u16,
    /// The newest.
    #[schemars(range(min = 1))]
    pub newest: u16,
}
