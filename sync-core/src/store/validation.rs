//! What was found when data were validated, as the database keeps it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, MapName};
use crate::time::Timestamp;

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValidationType {
    /// How many monsters appear.
    SpawnRate,
    /// How many items fall.
    DropRate,
    /// A monster's numbers.
    MonsterStats,
    /// Where a player is and how it got there.
    PlayerMovement,
    /// How often a skill is used.
    SkillUsage,
    /// Size, depth and shape of the data. The server's own: hosts do not send it.
    DataForm,
    /// Whether the account may say this. The server's own: hosts do not send it.
    AccountRights,
}

impl ValidationType {
    /// The name in the database and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpawnRate => "SPAWN_RATE",
            Self::DropRate => "DROP_RATE",
            Self::MonsterStats => "MONSTER_STATS",
            Self::PlayerMovement => "PLAYER_MOVEMENT",
            Self::SkillUsage => "SKILL_USAGE",
            Self::DataForm => "DATA_FORM",
            Self::AccountRights => "ACCOUNT_RIGHTS",
        }
    }

    /// Whether it is one of the published types, which hosts send.
    pub const fn is_published(self) -> bool {
        !matches!(self, Self::DataForm | Self::AccountRights)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityValidation {
    /// Whose data.
    pub account: AccountId,
    /// The map concerned.
    pub map: MapName,
    /// What was looked at.
    pub validation: ValidationType,
    /// Whether it was in order.
    pub is_valid: bool,
    /// The rule and the numbers, at most [`crate::limits::VALIDATION_DETAILS_BYTES_MAX`] bytes.
    pub details: Arc<str>,
    /// When, by the server's clock.
    pub at: Timestamp,
}
