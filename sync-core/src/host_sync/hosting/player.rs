//! The published data formats of a map and a player, and the operations that a host makes of them: a player
//! enters a map, moves on it, leaves it.

use serde::{Deserialize, Serialize};

use crate::data_type::SyncDataType;
use crate::host_sync::operation::Ask;
use crate::id::{AccountId, MapName};
use crate::time::Timestamp;
use crate::wire::Kind;

/// A map, as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapStatus {
    /// The map.
    pub map_name: MapName,
    /// The account of the host that says so.
    pub host_id: AccountId,
    /// Whether the main server's own machines run it.
    pub is_vps_hosted: bool,
    /// Hosts that would take over.
    pub backup_host_ids: Vec<AccountId>,
    /// Hosts that help.
    pub assistance_host_ids: Vec<AccountId>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
}

/// Where a player stands, as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Column, from 0.
    pub x: u32,
    /// Row, from 0.
    pub y: u32,
    /// The map.
    pub m: MapName,
}

/// A player, as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    /// The account.
    pub account_id: AccountId,
    /// The character.
    pub char_id: u32,
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: u32,
    /// Its base level.
    pub base_level: u32,
    /// Its job level.
    pub job_level: u32,
    /// Hit points.
    pub hp: u64,
    /// Most hit points.
    pub max_hp: u64,
    /// Spell points.
    pub sp: u64,
    /// Most spell points.
    pub max_sp: u64,
    /// Where it stands.
    pub position: Position,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
}

/// A player enters the map of its position: the player as a whole, with priority, since others see it from now on.
pub fn player_enters(ticket: u64, player: &Player) -> Ask {
    let map = player.position.m.clone();
    Ask { priority: true, ..ask(ticket, SyncDataType::PlayerData, map, player) }
}

/// A player moves on its map: its position only, in real time.
pub fn player_moves(ticket: u64, account: AccountId, position: &Position, now: Timestamp) -> Ask {
    #[derive(Serialize)]
    struct Moved<'a> {
        account_id: AccountId,
        position: &'a Position,
        timestamp: u64,
    }
    let moved = Moved { account_id: account, position, timestamp: now.as_ms() };
    Ask { critical: true, ..ask(ticket, SyncDataType::PlayerPosition, position.m.clone(), &moved) }
}

/// A player leaves a map: the player as it was when it left, so that the next map finds it so.
pub fn player_leaves(ticket: u64, player: &Player) -> Ask {
    ask(ticket, SyncDataType::PlayerData, player.position.m.clone(), player)
}

/// A host says how its map is run.
pub fn map_state(ticket: u64, state: &MapStatus) -> Ask {
    Ask { critical: true, ..ask(ticket, SyncDataType::MapState, state.map_name.clone(), state) }
}

/// What a host validates on its own map: the published types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PublishedValidation {
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
}

/// A host tells what it found on its map.
pub fn security_validation(
    ticket: u64,
    host: AccountId,
    map: MapName,
    validation: PublishedValidation,
    is_valid: bool,
    now: Timestamp,
) -> Ask {
    #[derive(Serialize)]
    struct Found<'a> {
        host_id: AccountId,
        map_name: &'a MapName,
        validation_type: PublishedValidation,
        result: bool,
        timestamp: u64,
    }
    let found = Found {
        host_id: host,
        map_name: &map,
        validation_type: validation,
        result: is_valid,
        timestamp: now.as_ms(),
    };
    let ask = ask(ticket, SyncDataType::SecurityValidation, map.clone(), &found);
    Ask { critical: true, ..ask }
}

fn ask(ticket: u64, data_type: SyncDataType, map: MapName, data: &impl Serialize) -> Ask {
    Ask {
        ticket,
        kind: Kind::SyncTo,
        data_type,
        map,
        // Plain numbers and text into memory: serialising cannot fail.
        data: serde_json::to_string(data).unwrap_or_default().into(),
        critical: false,
        priority: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position() -> Position {
        Position { x: 3, y: 4, m: MapName::new("prontera").unwrap() }
    }

    #[test]
    fn what_a_host_sends_of_a_player_has_the_published_names() {
        let player = Player {
            account_id: AccountId(7),
            char_id: 8,
            name: "Ayu".into(),
            class: 1,
            base_level: 50,
            job_level: 20,
            hp: 900,
            max_hp: 1_000,
            sp: 40,
            max_sp: 60,
            position: position(),
            timestamp: 5,
        };
        let enters = player_enters(1, &player);
        assert_eq!(
            &*enters.data,
            r#"{"account_id":7,"char_id":8,"name":"Ayu","class":1,"base_level":50,"job_level":20,"hp":900,"max_hp":1000,"sp":40,"max_sp":60,"position":{"x":3,"y":4,"m":"prontera"},"timestamp":5}"#
        );
        assert_eq!((enters.data_type, enters.map.as_str()), (SyncDataType::PlayerData, "prontera"));
        assert!(enters.priority && !enters.critical);
        let leaves = player_leaves(2, &player);
        assert!(leaves.data == enters.data && !leaves.priority && !leaves.critical);
        let moves = player_moves(3, AccountId(7), &position(), Timestamp::from_ms(6));
        assert_eq!(&*moves.data, r#"{"account_id":7,"position":{"x":3,"y":4,"m":"prontera"},"timestamp":6}"#);
        assert!(moves.critical && moves.data_type == SyncDataType::PlayerPosition);
    }

    #[test]
    fn a_map_state_has_the_published_names() {
        let state = MapStatus {
            map_name: MapName::new("geffen").unwrap(),
            host_id: AccountId(1),
            is_vps_hosted: false,
            backup_host_ids: vec![AccountId(2)],
            assistance_host_ids: Vec::new(),
            timestamp: 9,
        };
        let ask = map_state(4, &state);
        assert_eq!(
            &*ask.data,
            r#"{"map_name":"geffen","host_id":1,"is_vps_hosted":false,"backup_host_ids":[2],"assistance_host_ids":[],"timestamp":9}"#
        );
        assert!(ask.critical && ask.data_type == SyncDataType::MapState && ask.kind == Kind::SyncTo);
    }
}
