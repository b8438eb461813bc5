//! The rules held against the data of one operation.
//!
//! Looks at the published fields only: what else the data holds is the application's.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

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

/// What data of any type may name; a field that is there has the published form.
#[derive(Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "given")]
    account_id: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    host_id: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    map_name: Option<String>,
}

/// A player or a position; a field that no rule looks at may be missing.
#[derive(Deserialize)]
struct Moved {
    #[serde(default, deserialize_with = "given")]
    position: Option<Place>,
}

#[derive(Deserialize)]
struct Place {
    x: u64,
    y: u64,
    #[serde(default)]
    m: Option<String>,
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
    #[serde(default, deserialize_with = "given")]
    monsters: Option<Vec<Monster>>,
    /// How many of them are new.
    #[serde(default, deserialize_with = "given")]
    spawned: Option<u64>,
}

#[derive(Deserialize)]
struct Monster {
    #[serde(default, deserialize_with = "given")]
    level: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    hp: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    max_hp: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    position: Option<Place>,
}

#[derive(Deserialize)]
struct Dropped {
    #[serde(default, deserialize_with = "given")]
    amount: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    position: Option<Place>,
}

#[derive(Deserialize)]
struct Skill {
    #[serde(rename = "account_id")]
    _account_id: u64,
    skill_id: u32,
}

/// A field that is there: null is no value of it.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Holds the rules against a write: each section by itself, whichever others there are. Says what must hold of what
/// took effect before, if anything.
pub(super) fn judge(rules: &Rules, request: &Request) -> Result<Option<Condition>, Violation> {
    form(rules, request)?;
    let judge = Judge { rules, request };
    if rules.account_rights {
        judge.rights()?;
    }
    match request.data_type {
        SyncDataType::PlayerPosition | SyncDataType::PlayerData => judge.moved(),
        SyncDataType::MonsterData => judge.monsters(),
        SyncDataType::ItemDrop => judge.dropped(),
        SyncDataType::CriticalGameState => judge.skill(),
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
        // Serde would take an array for the fields in their order.
        if !self.is_object() {
            return Err(self.no_published_form(validation, &"they are no JSON object"));
        }
        serde_json::from_str(&self.request.data).map_err(|error| self.no_published_form(validation, &error))
    }

    fn is_object(&self) -> bool {
        self.request.data.trim_start().starts_with('{')
    }

    fn no_published_form(&self, validation: ValidationType, why: &dyn std::fmt::Display) -> Violation {
        let details = format!("the data have not the published form of {}: {why}", self.request.data_type);
        Violation { validation, details }
    }

    /// A field that a rule looks at.
    fn needed<T>(&self, validation: ValidationType, field: &str, value: Option<T>) -> Result<T, Violation> {
        value.ok_or_else(|| self.no_published_form(validation, &format_args!("missing field `{field}`")))
    }

    /// Accounts and maps that the data name are the operation's, and those of the published form are named.
    fn rights(&self) -> Result<(), Violation> {
        let data_type = self.request.data_type;
        let free = !matches!(
            data_type,
            SyncDataType::PlayerPosition
                | SyncDataType::PlayerData
                | SyncDataType::MonsterData
                | SyncDataType::ItemDrop
                | SyncDataType::MapState
                | SyncDataType::SecurityValidation
        );
        // Data of other types may have any form: but who names an account or a map says it in the published one, or
        // it could not be judged.
        if free && !self.is_object() {
            return Ok(());
        }
        let validation = if free { ValidationType::AccountRights } else { form_of(data_type) };
        let named: Named = self.read(validation)?;
        let needed = |field, is_there: bool| self.needed(validation, field, is_there.then_some(()));
        match data_type {
            SyncDataType::PlayerPosition | SyncDataType::PlayerData => {
                needed("account_id", named.account_id.is_some())?;
            }
            SyncDataType::MonsterData | SyncDataType::ItemDrop => {
                needed("map_name", named.map_name.is_some())?;
            }
            SyncDataType::MapState => {
                needed("map_name", named.map_name.is_some())?;
                needed("host_id", named.host_id.is_some())?;
            }
            SyncDataType::SecurityValidation => drop(self.read::<Finding>(validation)?),
            _ => {}
        }
        for (field, account) in [("account_id", named.account_id), ("host_id", named.host_id)] {
            self.account(field, account)?;
        }
        self.map("map_name", named.map_name.as_deref())
    }

    /// The account in the data is the operation's.
    fn account(&self, field: &str, account: Option<u64>) -> Result<(), Violation> {
        let own = u64::from(self.request.operation.account.0);
        match account.filter(|account| *account != own) {
            Some(account) => {
                let details = format!("{field}: account {account} in the data, the host's is {own}");
                Err(Violation { validation: ValidationType::AccountRights, details })
            }
            None => Ok(()),
        }
    }

    /// The map in the data is the operation's.
    fn map(&self, field: &str, map: Option<&str>) -> Result<(), Violation> {
        let own = self.request.map.as_str();
        if map.is_none_or(|map| map == own) {
            return Ok(());
        }
        // The name in the data may be any text: it is not repeated.
        let details = format!("{field}: another map in the data than {own}, the operation's");
        Err(Violation { validation: ValidationType::AccountRights, details })
    }

    /// The map of a position is the operation's, and the position lies within it if that is `bounded`.
    fn place(&self, position: Option<&Place>, bounded: bool) -> Result<(), Violation> {
        let validation = form_of(self.request.data_type);
        if let Some(position) = position.filter(|_| self.rules.account_rights) {
            self.map("position.m", position.m.as_deref())?;
        }
        if bounded {
            self.inside(validation, self.needed(validation, "position", position)?)?;
        }
        Ok(())
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
        let Rules { account_rights, maps, movement, .. } = self.rules;
        // Without sizes of maps a position lies within the greatest that there can be.
        let bounded = maps.is_some() || movement.is_some();
        if !account_rights && !bounded {
            return Ok(None);
        }
        let Moved { position } = self.read(ValidationType::PlayerMovement)?;
        self.place(position.as_ref(), bounded)?;
        let reach = position.zip(*movement).map(|(position, movement)| Condition::Reach {
            // Within the map, so far below 2^32.
            x: position.x as u32,
            y: position.y as u32,
            slack_cells: movement.slack_cells.get() as u32,
            millicells_per_second: movement.cells_per_second_max.get() as u32 * 1_000,
        });
        Ok(reach)
    }

    fn monsters(&self) -> Result<Option<Condition>, Violation> {
        let Rules { account_rights, maps, spawn, monsters: bounds, .. } = self.rules;
        let listed = maps.is_some() || spawn.is_some() || bounds.is_some();
        if !account_rights && !listed {
            return Ok(None);
        }
        let list: MonsterList = self.read(ValidationType::MonsterStats)?;
        if listed {
            self.needed(ValidationType::MonsterStats, "monsters", list.monsters.as_ref())?;
        }
        let monsters = list.monsters.unwrap_or_default();
        if let Some(bounds) = bounds {
            self.at_most("monsters.per_map_max", monsters.len() as u64, bounds.per_map_max.get())?;
            let needed = |field, value| self.needed(ValidationType::MonsterStats, field, value);
            for monster in &monsters {
                let (hp, max_hp) = (needed("hp", monster.hp)?, needed("max_hp", monster.max_hp)?);
                self.at_most("monsters.level_max", needed("level", monster.level)?, bounds.level_max.get())?;
                self.at_most("monsters.hp_max", max_hp, bounds.hp_max.get())?;
                self.at_most("hp, by max_hp", hp, max_hp)?;
            }
        }
        for monster in &monsters {
            self.place(monster.position.as_ref(), maps.is_some())?;
        }
        let Some(spawn) = spawn else { return Ok(None) };
        let spawned = self.needed(ValidationType::SpawnRate, "spawned", list.spawned)?;
        if spawned == 0 {
            return Ok(None);
        }
        let listed = monsters.len() as u64;
        if spawned > listed {
            let details = format!("spawned: {spawned} of them are new, {listed} are on the list");
            return Err(Violation { validation: ValidationType::SpawnRate, details });
        }
        let of = (spawn.monsters_per_minute_max.get(), spawn.burst_max.get());
        pace(PaceRule::SpawnRate, "spawn.burst_max", spawned, of)
    }

    fn dropped(&self) -> Result<Option<Condition>, Violation> {
        let Rules { account_rights, maps, drop, .. } = self.rules;
        if !account_rights && maps.is_none() && drop.is_none() {
            return Ok(None);
        }
        let dropped: Dropped = self.read(ValidationType::DropRate)?;
        self.place(dropped.position.as_ref(), maps.is_some())?;
        let Some(drop) = drop else { return Ok(None) };
        let amount = self.needed(ValidationType::DropRate, "amount", dropped.amount)?;
        if amount == 0 {
            return Ok(None);
        }
        let of = (drop.items_per_minute_max.get(), drop.burst_max.get());
        pace(PaceRule::DropRate, "drop.burst_max", amount, of)
    }

    fn skill(&self) -> Result<Option<Condition>, Violation> {
        let Some(rules) = &self.rules.skills else { return Ok(None) };
        // Other critical states have forms of their own: but who names a skill says it in the published form, or it
        // could not be judged.
        if !self.is_object() {
            return Ok(None);
        }
        let fields: BTreeMap<String, IgnoredAny> = self.read(ValidationType::DataForm)?;
        if !fields.contains_key("skill_id") {
            return Ok(None);
        }
        let Skill { skill_id: skill, .. } = self.read(ValidationType::SkillUsage)?;
        let cooldown_ms = rules.named_cooldown_ms.get(&skill).map_or(rules.cooldown_ms.get(), |ms| ms.get());
        let cost_us = cooldown_ms * 1_000;
        let condition =
            Condition::Pace { rule: PaceRule::SkillUsage, subject: skill, cost_us, ahead_us_max: cost_us };
        Ok((cost_us > 0).then_some(condition))
    }
}

/// What data that lack the published form of their type are recorded as.
fn form_of(data_type: SyncDataType) -> ValidationType {
    match data_type {
        SyncDataType::PlayerPosition | SyncDataType::PlayerData => ValidationType::PlayerMovement,
        SyncDataType::MonsterData => ValidationType::MonsterStats,
        SyncDataType::ItemDrop => ValidationType::DropRate,
        _ => ValidationType::DataForm,
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
