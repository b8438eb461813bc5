//! Rules as data: what a server lets hosts say, read from JSON.
//!
//! `fixtures/rules/default.json` is the set built in, and the example for others. A section that is missing is not
//! judged. Data of a type that a section judges must have the published form (see `data`).

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::data_type::SyncDataType;
use crate::diagnostic::{Diagnostic, Severity};
use crate::id::MapName;
use crate::limits;

/// A set of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Size and depth of the data of every type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// Whether accounts and maps named in the data of any type must be those of the operation.
    #[serde(default)]
    pub account_rights: bool,
    /// How large maps are: positions lie within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maps: Option<Maps>,
    /// PLAYER_POSITION and PLAYER_DATA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub movement: Option<Movement>,
    /// MONSTER_DATA: how many appear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spawn: Option<Spawn>,
    /// ITEM_DROP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<Drop>,
    /// MONSTER_DATA: what each is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monsters: Option<Monsters>,
    /// CRITICAL_GAME_STATE that tells of the use of a skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skills: Option<Skills>,
}

/// Size and depth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// Arrays and objects within each other, 1 to 128.
    pub depth_max: Bounded<1, 128>,
    /// Bytes of the data of a type, where less is taken than of others: 2 to 1 MiB.
    #[serde(default)]
    pub bytes_max: BTreeMap<SyncDataType, Bounded<2, 1_048_576>>,
}

/// How large maps are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maps {
    /// A map that is not named.
    pub default: Size,
    /// Maps of other sizes.
    #[serde(default)]
    pub named: BTreeMap<MapName, Size>,
}

/// Cells of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Columns; `x` counts from 0.
    pub columns: Bounded<1, 65_536>,
    /// Rows; `y` counts from 0.
    pub rows: Bounded<1, 65_536>,
}

/// How players move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Movement {
    /// Cells that one gets across in a second, 1 to 1,000.
    pub cells_per_second_max: Bounded<1, 1_000>,
    /// Cells that are allowed beyond, for clocks and delays that differ, 0 to 1,000.
    pub slack_cells: Bounded<0, 1_000>,
}

/// How often monsters appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// On one map, in the long run, 1 to 60,000.
    pub monsters_per_minute_max: Bounded<1, 60_000>,
    /// At once, after a pause, 1 to 60,000.
    pub burst_max: Bounded<1, 60_000>,
}

/// How often items fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drop {
    /// On one map, in the long run, 1 to 60,000.
    pub items_per_minute_max: Bounded<1, 60_000>,
    /// At once, after a pause, 1 to 60,000.
    pub burst_max: Bounded<1, 60_000>,
}

/// What a monster is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monsters {
    /// Monsters of one map, 1 to 100,000.
    pub per_map_max: Bounded<1, 100_000>,
    /// Level, 1 to 1,000.
    pub level_max: Bounded<1, 1_000>,
    /// Hit points, 1 to 2^53 - 1.
    pub hp_max: Bounded<1, { limits::JSON_INTEGER_MAX }>,
}

/// How often a skill is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skills {
    /// Between two uses of one skill by one account, in milliseconds, 0 to a day.
    pub cooldown_ms: Bounded<0, 86_400_000>,
    /// Of skills with another, by the skill's number.
    #[serde(default)]
    pub named_cooldown_ms: BTreeMap<u32, Bounded<0, 86_400_000>>,
}

/// A whole number within bounds; the reading says where one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Default for Bounded<MIN, MAX> {
    /// The greatest.
    fn default() -> Self {
        Self(MAX)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(D::Error::custom(format_args!("{number} is not within {MIN} to {MAX}")))
        }
    }
}

impl Rules {
    /// The rules built in.
    pub fn built_in() -> Self {
        // The tests read the file: it is in order.
        Self::parse("default.json", include_str!("../../../../fixtures/rules/default.json"))
            .unwrap_or_default()
    }

    /// Reads rules; `file_name` appears in the diagnostic, which says what is wrong and where.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, Box<Diagnostic>> {
        if text.len() > limits::RULES_BYTES_MAX {
            let message =
                format!("{} bytes of rules, at most {} are taken", text.len(), limits::RULES_BYTES_MAX);
            return Err(Box::new(Diagnostic::file_error(
                file_name,
                message,
                "leave out maps of the usual size",
            )));
        }
        // Serde would take an array for the sections in their order.
        if text.trim_start().starts_with('[') {
            let help = "fixtures/rules/default.json shows every section, docs/validation.md explains them";
            return Err(Box::new(Diagnostic::file_error(file_name, "it is no JSON object".to_owned(), help)));
        }
        let rules: Self = serde_json::from_str(text).map_err(|error| wrong(file_name, text, &error))?;
        let maps = rules.maps.as_ref().map_or(0, |maps| maps.named.len());
        let entries = maps + rules.skills.as_ref().map_or(0, |s| s.named_cooldown_ms.len());
        if entries > limits::RULES_ENTRIES_MAX {
            let message = format!(
                "{entries} maps and skills are named, at most {} are taken",
                limits::RULES_ENTRIES_MAX
            );
            return Err(Box::new(Diagnostic::file_error(
                file_name,
                message,
                "leave out those of the usual size",
            )));
        }
        Ok(rules)
    }

    /// Cells of a map; where nothing is said of maps, of the greatest that there can be.
    pub fn size(&self, map: &MapName) -> Size {
        self.maps
            .as_ref()
            .map_or_else(Size::default, |maps| maps.named.get(map).copied().unwrap_or(maps.default))
    }
}

fn wrong(file_name: &str, text: &str, error: &serde_json::Error) -> Box<Diagnostic> {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    // Columns count characters there and bytes here.
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let before = line.bytes().take(error.column().saturating_sub(1));
    let column = 1 + before.filter(|byte| !(0x80..0xc0).contains(byte)).count();
    let found = Diagnostic::at(Severity::Error, file_name, text, error.line(), column, 1, message);
    let help = "fixtures/rules/default.json shows every section, docs/validation.md explains them";
    Box::new(Diagnostic { help: Some(help.to_owned()), ..found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_built_in_are_read_and_written_alike() {
        let rules = Rules::built_in();
        assert!(rules.movement.is_some() && rules.skills.is_some() && rules.account_rights);
        let prontera = rules.size(&MapName::new("prontera").unwrap());
        assert_eq!((prontera.columns.get(), prontera.rows.get()), (312, 392));
        assert_eq!(rules.size(&MapName::new("geffen").unwrap()).columns.get(), 512);
        let again = serde_json::to_string(&rules).unwrap();
        assert_eq!(Rules::parse("again", &again).unwrap(), rules);
    }

    /// A broken file, and where the mistake is found.
    fn check(text: &str, line: usize, message: &str) {
        let found = Rules::parse("rules.json", text).unwrap_err();
        assert!(found.message.contains(message) && found.line == line, "{found:?}");
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let maps = r#""maps": { "default": { "columns": 5, "rows": 5 } }"#;
        check("", 1, "EOF");
        check("1", 1, "invalid type");
        assert!(Rules::parse("rules.json", "[]").unwrap_err().message.contains("no JSON object"));
        check(&format!("{{\n{maps},\n\"speed\": 1 }}"), 3, "unknown field `speed`");
        check(&format!("{{\n{maps},\n\"form\": {{ \"depth_max\": 0 }} }}"), 3, "0 is not within 1 to 128");
        check(&format!("{{\n{maps},\n\n\"form\": {{ \"depth_max\": -1 }} }}"), 4, "invalid value");
        check(
            &format!("{{\n{maps},\n\"form\": {{ \"depth_max\": 1, \"bytes_max\": {{ \"CHAT\": 9 }} }} }}"),
            3,
            "`CHAT` is not a data type",
        );
        check(
            &format!(
                "{{\n{maps},\n\"movement\": {{\n\"cells_per_second_max\": 1001, \"slack_cells\": 0 }} }}"
            ),
            4,
            "1001 is not within 1 to 1000",
        );
    }

    #[test]
    fn every_section_may_be_missing() {
        let rules = Rules::parse("rules.json", "{}").unwrap();
        assert_eq!(rules, Rules::default());
        assert_eq!(rules.size(&MapName::new("prontera").unwrap()), Size::default());
    }
}
