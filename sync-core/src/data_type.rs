//! The kinds of data that travel between a host and the main server, with their wire integers.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What an operation synchronises. The numbers are normative on the wire
/// (0 to 8 as published, 9 to 11 for what the specification uses and the public enum lacks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SyncDataType {
    /// State of a map as a whole.
    MapState = 0,
    /// Monsters of a map.
    MonsterData = 1,
    /// Where a player stands.
    PlayerPosition = 2,
    /// An item fell: an event.
    ItemDrop = 3,
    /// State of the NPCs of a map.
    NpcState = 4,
    /// A player's progress in quests.
    QuestProgress = 5,
    /// Any state that must arrive in real time.
    CriticalGameState = 6,
    /// A line of chat: an event.
    ChatMessage = 7,
    /// Text to be embedded: an event.
    VectorEmbedding = 8,
    /// A player as a whole.
    PlayerData = 9,
    /// What a host measures of itself.
    HostMetrics = 10,
    /// The result of a validation at a host: an event.
    SecurityValidation = 11,
}

/// To whom a state belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One state for each map, whoever hosts it.
    Map,
    /// One state for each account and map.
    Account,
}

/// Whether a later value replaces an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// The latest value is all that counts; may coalesce.
    State,
    /// Each one counts; never coalesced.
    Event,
}

impl SyncDataType {
    /// Every type, in wire order.
    pub const ALL: [Self; 12] = [
        Self::MapState,
        Self::MonsterData,
        Self::PlayerPosition,
        Self::ItemDrop,
        Self::NpcState,
        Self::QuestProgress,
        Self::CriticalGameState,
        Self::ChatMessage,
        Self::VectorEmbedding,
        Self::PlayerData,
        Self::HostMetrics,
        Self::SecurityValidation,
    ];

    /// The integer on the wire.
    pub const fn wire(self) -> u8 {
        self as u8
    }

    /// The type with this wire integer.
    pub fn from_wire(number: u64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index).copied())
    }

    /// The name used in the configuration and in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MapState => "MAP_STATE",
            Self::MonsterData => "MONSTER_DATA",
            Self::PlayerPosition => "PLAYER_POSITION",
            Self::ItemDrop => "ITEM_DROP",
            Self::NpcState => "NPC_STATE",
            Self::QuestProgress => "QUEST_PROGRESS",
            Self::CriticalGameState => "CRITICAL_GAME_STATE",
            Self::ChatMessage => "CHAT_MESSAGE",
            Self::VectorEmbedding => "VECTOR_EMBEDDING",
            Self::PlayerData => "PLAYER_DATA",
            Self::HostMetrics => "HOST_METRICS",
            Self::SecurityValidation => "SECURITY_VALIDATION",
        }
    }

    /// Whether the latest value replaces the earlier ones.
    pub const fn nature(self) -> Nature {
        match self {
            Self::ItemDrop | Self::ChatMessage | Self::VectorEmbedding | Self::SecurityValidation => {
                Nature::Event
            }
            _ => Nature::State,
        }
    }

    /// Whether everybody on a map may be told of it; all else is for its account alone.
    pub const fn is_seen_on_map(self) -> bool {
        matches!(
            self,
            Self::MapState
                | Self::MonsterData
                | Self::PlayerPosition
                | Self::ItemDrop
                | Self::NpcState
                | Self::ChatMessage
        )
    }

    /// To whom a state of this type belongs.
    pub const fn scope(self) -> Scope {
        match self {
            Self::MapState | Self::MonsterData | Self::NpcState => Scope::Map,
            _ => Scope::Account,
        }
    }
}

impl fmt::Display for SyncDataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no data type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a data type")]
pub struct UnknownDataType(pub String);

impl FromStr for SyncDataType {
    type Err = UnknownDataType;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| UnknownDataType(text.to_owned()))
    }
}

impl Serialize for SyncDataType {
    /// The name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for SyncDataType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A set of data types, as `critical_data_types` gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeSet(u16);

impl TypeSet {
    /// Whether the type is in the set.
    pub const fn contains(self, data_type: SyncDataType) -> bool {
        self.0 & (1 << data_type.wire()) != 0
    }

    /// Adds the type.
    pub fn insert(&mut self, data_type: SyncDataType) {
        self.0 |= 1 << data_type.wire();
    }

    /// The members in wire order.
    pub fn iter(self) -> impl Iterator<Item = SyncDataType> {
        SyncDataType::ALL.into_iter().filter(move |t| self.contains(*t))
    }
}

impl Serialize for TypeSet {
    /// The names of the members, in wire order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for TypeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<SyncDataType>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl FromIterator<SyncDataType> for TypeSet {
    fn from_iter<I: IntoIterator<Item = SyncDataType>>(types: I) -> Self {
        let mut set = Self::default();
        types.into_iter().for_each(|t| set.insert(t));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_integers_and_names_lead_back_to_the_type() {
        for (index, data_type) in SyncDataType::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(data_type.wire()), index);
            assert_eq!(SyncDataType::from_wire(index as u64), Some(data_type));
            assert_eq!(data_type.name().parse(), Ok(data_type));
        }
        assert_eq!(SyncDataType::from_wire(12), None);
        assert_eq!(SyncDataType::from_wire(u64::MAX), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: TypeSet = [SyncDataType::SecurityValidation, SyncDataType::MapState].into_iter().collect();
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [SyncDataType::MapState, SyncDataType::SecurityValidation]
        );
    }
}
