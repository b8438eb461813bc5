//! What must hold of what took effect before: conditions that a server's rules attach to an operation and that
//! the store decides with it, in the same atomic request.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::validation::ValidationType;
use super::{Apply, Verdict};
use crate::data_type::SyncDataType;
use crate::id::{AccountId, MapName};
use crate::limits;
use crate::time::Timestamp;

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The position can be reached from the last one of the same account, map and type: the greater of the
    /// distances in columns and in rows is at most `slack_cells` plus what the speed allows in the time between, by
    /// the servers' clocks. A first position is not judged.
    Reach {
        /// Column.
        x: u32,
        /// Row.
        y: u32,
        /// Cells that are always allowed.
        slack_cells: u32,
        /// Speed in thousandths of a cell a second.
        millicells_per_second: u32,
    },
    /// It comes no more often than its rule allows (generic cell rate algorithm, ITU-T I.371): each unit takes
    /// `cost_us` of a subject's time, and the subject may be ahead of the clock by `ahead_us_max`.
    Pace {
        /// The rule.
        rule: PaceRule,
        /// What is paced beside the account or map: a skill's number, else 0.
        subject: u32,
        /// Time that this operation takes, in microseconds.
        cost_us: u64,
        /// How far ahead of the clock its end may lie, in microseconds.
        ahead_us_max: u64,
    },
}

/// A rule on how often something comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaceRule {
    /// Monsters that appear on a map.
    SpawnRate,
    /// Items that fall on a map.
    DropRate,
    /// Uses of one skill by one account.
    SkillUsage,
}

impl PaceRule {
    /// Every rule, in the order of their numbers in the database.
    pub const ALL: [Self; 3] = [Self::SpawnRate, Self::DropRate, Self::SkillUsage];

    /// Which kind of finding a violation is.
    pub const fn validation(self) -> ValidationType {
        match self {
            Self::SpawnRate => ValidationType::SpawnRate,
            Self::DropRate => ValidationType::DropRate,
            Self::SkillUsage => ValidationType::SkillUsage,
        }
    }

    /// Rule and field, as in `docs/validation.md`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpawnRate => "SPAWN_RATE spawn.monsters_per_minute_max",
            Self::DropRate => "DROP_RATE drop.items_per_minute_max",
            Self::SkillUsage => "SKILL_USAGE skills.cooldown_ms",
        }
    }

    /// Its number in the database.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Whose pace an operation counts for: the map's, or the account's.
    fn subject_of(self, apply: &Apply) -> (AccountId, Option<MapName>) {
        match self {
            Self::SpawnRate | Self::DropRate => (AccountId(0), Some(apply.map.clone())),
            Self::SkillUsage => (apply.operation.account, None),
        }
    }
}

/// What the in-memory database remembers for conditions.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    places: FxHashMap<(AccountId, MapName, SyncDataType), Place>,
    /// Until when what came already takes its subject's time, in microseconds.
    paces: FxHashMap<Pace, u64>,
}

type Pace = (PaceRule, u32, AccountId, Option<MapName>);

#[derive(Clone, Copy, Debug)]
struct Place {
    x: u32,
    y: u32,
    at: Timestamp,
}

impl Conditions {
    /// Decides, and remembers what takes effect. `None` when the condition holds.
    pub(super) fn decide(&mut self, condition: &Condition, apply: &Apply) -> Option<Verdict> {
        let now_us = apply.received.as_us();
        match *condition {
            Condition::Reach { x, y, slack_cells, millicells_per_second } => {
                let key = (apply.operation.account, apply.map.clone(), apply.data_type);
                if let Some(last) = self.places.get(&key) {
                    let elapsed_us = now_us.saturating_sub(last.at.as_us()).min(limits::REACH_ELAPSED_US_MAX);
                    let cells =
                        x.abs_diff(last.x).max(y.abs_diff(last.y)).min(limits::REACH_CELLS_MAX as u32);
                    let speed = u64::from(millicells_per_second).min(limits::REACH_MILLICELLS_PER_SECOND_MAX);
                    let walked = elapsed_us * speed / 1_000_000_000;
                    let cells_max = (u64::from(slack_cells) + walked).min(limits::REACH_CELLS_MAX) as u32;
                    if cells > cells_max {
                        return Some(Verdict::Unreachable { cells, cells_max });
                    }
                }
                self.places.insert(key, Place { x, y, at: apply.received });
                None
            }
            Condition::Pace { rule, subject, cost_us, ahead_us_max } => {
                let (account, map) = rule.subject_of(apply);
                let taken_until = self.paces.entry((rule, subject, account, map)).or_insert(0);
                let until = (*taken_until).max(now_us) + cost_us;
                let ahead_us = until - now_us;
                if ahead_us > ahead_us_max {
                    let wait_ms = (ahead_us - ahead_us_max).div_ceil(1_000);
                    return Some(Verdict::TooOften { rule, wait_ms });
                }
                *taken_until = until;
                None
            }
        }
    }

    /// Forgets paces that decide nothing any more.
    pub(super) fn purge(&mut self, before: Timestamp) {
        self.paces.retain(|_, until| *until >= before.as_us());
    }
}
