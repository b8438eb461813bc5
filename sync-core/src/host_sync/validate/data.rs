//! The rules held against the data of one operation.
//!
//! Looks at the published fields only: what else the data holds is the application's.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::rules::{Rules, Size};
use crate::data_type::SyncDataType;
use crate::store::condition::{Condition, PaceRule};
use crate::store::validation::ValidationType;
use crate::wire::Request;

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// What was looked at.
    pub validation: ValidationType,
    /// The rule and the numbers, without the name of the validation.
    pub details: String,
}

/// A player, a position, or the use of a skill; what each rule does not look at may be missing.
#[derive(Deserialize)]
struct Moved {
    account_id: u64,
    position: Place,
}

#[derive(Deserialize)]
struct Place {
    x: u64,
    y: u64,
    #[serde(default)]
    m: Option<String>,
}

#[derive(Deserialize)]
struct Map {
    map_name: String,
    host_id: u64,
}

/// What a host found, as published.
#[derive(Deserialize)]
pub(crate) struct Finding {
    pub(crate) host_id: u64,
    pub(crate) map_name: String,
    pub(crate) validation_type: ValidationType,
    pub(crate) result: bool,
}

#[derive(Deserialize)]
struct MonsterList {
    map_name: String,
    monsters: Vec<Monster>,
    /// How many of them are new.
    spawned: u64,
}

#[derive(Deserialize)]
struct Monster {
    level: u64,
    hp: u64,
    max_hp: u64,
    position: Place,
}

#[derive(Deserialize)]
struct Dropped {
    map_name: String,
    amount: u64,
    position: Place,
}

#[derive(Deserialize)]
struct Skill {
    account_id: u64,
    skill_id: u32,
}

/// Data that say whose they are.
#[derive(Deserialize)]
struct Owned {
    account_id: u64,
}

/// Holds the rules against a write. Says what must hold of what took effect before, if anything.
pub(super) fn judge(rules: &Rules, request: &Request) -> Result<Option<Condition>, Violation> {
    form(rules, request)?;
    let judge = Judge { rules, request };
    match request.data_type {
        SyncDataType::PlayerPosition | SyncDataType::PlayerData if rules.movement.is_some() => judge.moved(),
        SyncDataType::MonsterData if rules.monsters.is_some() || rules.spawn.is_some() => judge.monsters(),
        SyncDataType::ItemDrop if rules.drop.is_some() => judge.dropped(),
        SyncDataType::CriticalGameState if rules.skills.is_some() || rules.account_rights => judge.skill(),
        SyncDataType::MapState if rules.account_rights => {
            let map: Map = judge.read(ValidationType::DataForm)?;
            judge.account("host_id", map.host_id)?;
            judge.map("map_name", &map.map_name)?;
            Ok(None)
        }
        SyncDataType::SecurityValidation if rules.account_rights => {
            let found: Finding = judge.read(ValidationType::DataForm)?;
            judge.account("host_id", found.host_id)?;
            judge.map("map_name", &found.map_name)?;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// A finding of a host about its own players, as published. `None` when the data have another form.
pub(crate) fn finding(data: &str) -> Option<Finding> {
    let is_object = data.trim_start().starts_with('{');
    serde_json::from_str::<Finding>(data)
        .ok()
        .filter(|_| is_object)
        .filter(|found| found.validation_type.is_published())
}

fn form(rules: &Rules, request: &Request) -> Result<(), Violation> {
    let Some(form) = &rules.form else { return Ok(()) };
    let refuse = |details| Err(Violation { validation: ValidationType::DataForm, details });
    let bytes = request.data.len() as u64;
    if let Some(max) = form.bytes_max.get(&request.data_type).filter(|max| bytes > max.get()) {
        return refuse(format!("form.bytes_max: {bytes} bytes, at most {} are taken", max.get()));
    }
    let depth = depth(&request.data);
    if depth > form.depth_max.get() {
        return refuse(format!("form.depth_max: {depth} levels, at most {} are taken", form.depth_max.get()));
    }
    Ok(())
}

/// How deep arrays and objects of a JSON text are nested.
fn depth(json: &str) -> u64 {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0u64, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Rules and what they are held against.
struct Judge<'a> {
    rules: &'a Rules,
    request: &'a Request,
}

impl<'a> Judge<'a> {
    /// Reads the published fields.
    fn read<T: Deserialize<'a>>(&self, validation: ValidationType) -> Result<T, Violation> {
        let refuse = |why: &dyn std::fmt::Display| Violation {
            validation,
            details: format!("the data have not the published form of {}: {why}", self.request.data_type),
        };
        // Serde would take an array for the fields in their order.
        if !self.request.data.trim_start().starts_with('{') {
            return Err(refuse(&"they are no JSON object"));
        }
        serde_json::from_str(&self.request.data).map_err(|error| refuse(&error))
    }

    /// The account in the data is the operation's.
    fn account(&self, field: &str, account: u64) -> Result<(), Violation> {
        let own = u64::from(self.request.operation.account.0);
        if !self.rules.account_rights || account == own {
            return Ok(());
        }
        let details = format!("{field}: account {account} in the data, the host's is {own}");
        Err(Violation { validation: ValidationType::AccountRights, details })
    }

    /// The map in the data is the operation's.
    fn map(&self, field: &str, map: &str) -> Result<(), Violation> {
        let own = self.request.map.as_str();
        if !self.rules.account_rights || map == own {
            return Ok(());
        }
        // The name in the data may be any text: it is not repeated.
        let details = format!("{field}: another map in the data than {own}, the operation's");
        Err(Violation { validation: ValidationType::AccountRights, details })
    }

    /// The position lies within the map.
    fn inside(&self, validation: ValidationType, position: &Place) -> Result<(), Violation> {
        let Size { columns, rows } = self.rules.size(&self.request.map);
        let bounds =
            [("position.x", position.x, columns.get() - 1), ("position.y", position.y, rows.get() - 1)];
        match bounds.into_iter().find(|(_, at, max)| at > max) {
            Some((field, at, max)) => {
                Err(Violation { validation, details: format!("{field}: {at}, at most {max} on this map") })
            }
            None => Ok(()),
        }
    }

    /// A number within its bound.
    fn at_most(&self, rule: &str, number: u64, max: u64) -> Result<(), Violation> {
        if number <= max {
            return Ok(());
        }
        let details = format!("{rule}: {number}, at most {max} is taken");
        Err(Violation { validation: ValidationType::MonsterStats, details })
    }

    fn moved(&self) -> Result<Option<Condition>, Violation> {
        let moved: Moved = self.read(ValidationType::PlayerMovement)?;
        self.account("account_id", moved.account_id)?;
        if let Some(map) = &moved.position.m {
            self.map("position.m", map)?;
        }
        self.inside(ValidationType::PlayerMovement, &moved.position)?;
        let reach = self.rules.movement.map(|movement| Condition::Reach {
            // Within the map, so far below 2^32.
            x: moved.position.x as u32,
            y: moved.position.y as u32,
            slack_cells: movement.slack_cells.get() as u32,
            millicells_per_second: movement.cells_per_second_max.get() as u32 * 1_000,
        });
        Ok(reach)
    }

    fn monsters(&self) -> Result<Option<Condition>, Violation> {
        let list: MonsterList = self.read(ValidationType::MonsterStats)?;
        self.map("map_name", &list.map_name)?;
        if let Some(bounds) = &self.rules.monsters {
            self.at_most("monsters.per_map_max", list.monsters.len() as u64, bounds.per_map_max.get())?;
            for monster in &list.monsters {
                self.at_most("monsters.level_max", monster.level, bounds.level_max.get())?;
                self.at_most("monsters.hp_max", monster.max_hp, bounds.hp_max.get())?;
                self.at_most("hp, by max_hp", monster.hp, monster.max_hp)?;
                self.inside(ValidationType::MonsterStats, &monster.position)?;
            }
        }
        let Some(spawn) = self.rules.spawn.filter(|_| list.spawned > 0) else { return Ok(None) };
        let listed = list.monsters.len() as u64;
        if list.spawned > listed {
            let details = format!("spawned: {} of them are new, {listed} are on the list", list.spawned);
            return Err(Violation { validation: ValidationType::SpawnRate, details });
        }
        let of = (spawn.monsters_per_minute_max.get(), spawn.burst_max.get());
        pace(PaceRule::SpawnRate, "spawn.burst_max", list.spawned, of)
    }

    fn dropped(&self) -> Result<Option<Condition>, Violation> {
        let dropped: Dropped = self.read(ValidationType::DropRate)?;
        self.map("map_name", &dropped.map_name)?;
        self.inside(ValidationType::DropRate, &dropped.position)?;
        let Some(drop) = self.rules.drop.filter(|_| dropped.amount > 0) else { return Ok(None) };
        let of = (drop.items_per_minute_max.get(), drop.burst_max.get());
        pace(PaceRule::DropRate, "drop.burst_max", dropped.amount, of)
    }

    fn skill(&self) -> Result<Option<Condition>, Violation> {
        // Other critical states have forms of their own: but who names a skill, or an account, says it in the published
        // form, or it could not be judged.
        let fields: BTreeMap<String, IgnoredAny> = match self.request.data.trim_start().starts_with('{') {
            true => self.read(ValidationType::DataForm)?,
            false => BTreeMap::new(),
        };
        if !fields.contains_key("skill_id") {
            if fields.contains_key("account_id") && self.rules.account_rights {
                let Owned { account_id } = self.read(ValidationType::AccountRights)?;
                self.account("account_id", account_id)?;
            }
            return Ok(None);
        }
        let Skill { account_id, skill_id: skill } = self.read(ValidationType::SkillUsage)?;
        self.account("account_id", account_id)?;
        let Some(rules) = &self.rules.skills else { return Ok(None) };
        let cooldown_ms = rules.named_cooldown_ms.get(&skill).map_or(rules.cooldown_ms.get(), |ms| ms.get());
        let cost_us = cooldown_ms * 1_000;
        let condition =
            Condition::Pace { rule: PaceRule::SkillUsage, subject: skill, cost_us, ahead_us_max: cost_us };
        Ok((cost_us > 0).then_some(condition))
    }
}

/// So many units at so many a minute, with so many at once after a pause.
fn pace(
    rule: PaceRule,
    name: &str,
    units: u64,
    (per_minute, burst): (u64, u64),
) -> Result<Option<Condition>, Violation> {
    if units > burst {
        let details = format!("{name}: {units} at once, at most {burst} are taken");
        return Err(Violation { validation: rule.validation(), details });
    }
    let unit_us = 60_000_000 / per_minute;
    Ok(Some(Condition::Pace { rule, subject: 0, cost_us: units * unit_us, ahead_us_max: burst * unit_us }))
}

#[cfg(test)]
mod tests;
