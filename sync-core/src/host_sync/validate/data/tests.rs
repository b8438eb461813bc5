use super::*;
use crate::id::{AccountId, Incarnation, MapName, OperationId};
use crate::time::Timestamp;
use crate::wire::Kind;
use ValidationType::{
    AccountRights, DataForm, DropRate, MonsterStats, PlayerMovement, SkillUsage, SpawnRate,
};

/// What the rules built in say of data that account 7 writes for prontera, which has 312 by 392 cells.
fn judged(data_type: SyncDataType, data: &str) -> Result<Option<Condition>, (ValidationType, String)> {
    let request = Request {
        kind: Kind::SyncTo,
        data_type,
        map: MapName::new("prontera").unwrap(),
        data: data.into(),
        timestamp: Timestamp::from_ms(0),
        operation: OperationId { account: AccountId(7), incarnation: Incarnation(1), counter: 1 },
        critical: false,
        sequence: 1,
    };
    judge(&Rules::built_in(), &request).map_err(|violation| (violation.validation, violation.details))
}

fn passes(data_type: SyncDataType, data: &str, condition: Option<Condition>) {
    assert_eq!(judged(data_type, data), Ok(condition), "{data}");
}

fn fails(data_type: SyncDataType, data: &str, validation: ValidationType, details: &str) {
    let found = judged(data_type, data).unwrap_err();
    assert!(found.0 == validation && found.1.contains(details), "{found:?} for {data}");
}

#[test]
fn movement() {
    let at = |x: u64, y: u64, account: u32, map: &str| {
        format!(r#"{{"account_id":{account},"position":{{"x":{x},"y":{y},"m":"{map}"}},"own":[1]}}"#)
    };
    let reach = |x, y| Some(Condition::Reach { x, y, slack_cells: 4, millicells_per_second: 20_000 });
    for data_type in [SyncDataType::PlayerPosition, SyncDataType::PlayerData] {
        passes(data_type, &at(311, 391, 7, "prontera"), reach(311, 391));
        fails(data_type, &at(312, 0, 7, "prontera"), PlayerMovement, "position.x: 312, at most 311");
        fails(data_type, &at(0, 392, 7, "prontera"), PlayerMovement, "position.y: 392, at most 391");
        fails(data_type, &at(u64::MAX, 0, 7, "prontera"), PlayerMovement, "position.x");
        fails(
            data_type,
            &at(0, 0, 8, "prontera"),
            AccountRights,
            "account_id: account 8 in the data, the host's is 7",
        );
        fails(data_type, &at(0, 0, 7, "geffen"), AccountRights, "position.m: another map");
        fails(data_type, r#"{"account_id":7}"#, PlayerMovement, "missing field `position`");
        fails(data_type, r#"{"account_id":7,"position":{"x":-1,"y":0}}"#, PlayerMovement, "invalid value");
    }
}

#[test]
fn map_state() {
    passes(SyncDataType::MapState, r#"{"map_name":"prontera","host_id":7}"#, None);
    fails(
        SyncDataType::MapState,
        r#"{"map_name":"prontera","host_id":8}"#,
        AccountRights,
        "host_id: account 8",
    );
    fails(SyncDataType::MapState, r#"{"map_name":"geffen","host_id":7}"#, AccountRights, "map_name");
    fails(
        SyncDataType::MapState,
        r#"["prontera",7]"#,
        DataForm,
        "published form of MAP_STATE: they are no JSON object",
    );
    fails(SyncDataType::MapState, "{}", DataForm, "published form of MAP_STATE: missing field");
}

#[test]
fn monsters() {
    let list = |level: u64, hp: u64, max_hp: u64, x: u64, spawned: u64| {
        format!(
            r#"{{"map_name":"prontera","spawned":{spawned},"monsters":[{{"level":{level},"hp":{hp},"max_hp":{max_hp},"position":{{"x":{x},"y":0}}}}]}}"#
        )
    };
    let monsters = SyncDataType::MonsterData;
    passes(monsters, &list(255, 5, 100_000_000, 0, 0), None);
    // 300 a minute take 200 ms each; 200 at once are 40 s.
    let spawned = Condition::Pace {
        rule: PaceRule::SpawnRate,
        subject: 0,
        cost_us: 3 * 200_000,
        ahead_us_max: 40_000_000,
    };
    let one = r#"{"level":1,"hp":1,"max_hp":1,"position":{"x":0,"y":0}}"#;
    let listed = |spawned: usize, listed: usize| {
        let all = vec![one; listed].join(",");
        format!(r#"{{"map_name":"prontera","spawned":{spawned},"monsters":[{all}]}}"#)
    };
    passes(monsters, &listed(3, 3), Some(spawned));
    fails(monsters, &listed(4, 3), SpawnRate, "spawned: 4 of them are new, 3 are on the list");
    fails(monsters, &list(256, 5, 5, 0, 0), MonsterStats, "monsters.level_max: 256, at most 255");
    fails(monsters, &list(1, 5, 100_000_001, 0, 0), MonsterStats, "monsters.hp_max: 100000001");
    fails(monsters, &list(1, 6, 5, 0, 0), MonsterStats, "hp, by max_hp: 6, at most 5");
    fails(monsters, &list(1, 5, 5, 312, 0), MonsterStats, "position.x: 312");
    fails(monsters, &listed(201, 300), SpawnRate, "spawn.burst_max: 201 at once, at most 200");
    fails(monsters, &listed(0, 1_001), MonsterStats, "monsters.per_map_max: 1001, at most 1000");
}

#[test]
fn drops_and_skills() {
    let drop = |amount: u64, y: u64| {
        format!(r#"{{"map_name":"prontera","item_id":501,"amount":{amount},"position":{{"x":0,"y":{y}}}}}"#)
    };
    let paced =
        Condition::Pace { rule: PaceRule::DropRate, subject: 0, cost_us: 200_000, ahead_us_max: 20_000_000 };
    passes(SyncDataType::ItemDrop, &drop(2, 0), Some(paced));
    fails(SyncDataType::ItemDrop, &drop(201, 0), DropRate, "drop.burst_max: 201 at once");
    fails(SyncDataType::ItemDrop, &drop(1, 392), DropRate, "position.y: 392");
    let skill = |cost_us, subject| {
        Some(Condition::Pace { rule: PaceRule::SkillUsage, subject, cost_us, ahead_us_max: cost_us })
    };
    passes(SyncDataType::CriticalGameState, r#"{"account_id":7,"skill_id":46}"#, skill(500_000, 46));
    passes(SyncDataType::CriticalGameState, r#"{"account_id":7,"skill_id":5}"#, skill(100_000, 5));
    passes(SyncDataType::CriticalGameState, r#"{"anything":[]}"#, None);
    fails(SyncDataType::CriticalGameState, r#"{"account_id":8,"skill_id":5}"#, AccountRights, "account 8");
    fails(SyncDataType::CriticalGameState, r#"{"account_id":8,"hp":5}"#, AccountRights, "account 8");
    for half in [
        r#"{"skill_id":46}"#,
        r#"{"account_id":7,"skill_id":"46"}"#,
        r#"{"account_id":"7","skill_id":46}"#,
        r#"{"account_id":7,"skill_id":46,"skill_id":47}"#,
        r#"{"account_id":7,"skill\u005fid":null}"#,
    ] {
        fails(SyncDataType::CriticalGameState, half, SkillUsage, "published form of CRITICAL_GAME_STATE");
    }
    fails(SyncDataType::CriticalGameState, r#"{"account_id":"8"}"#, AccountRights, "published form");
    passes(SyncDataType::CriticalGameState, r#"{"state":{"skill_id":"within"}}"#, None);
    passes(SyncDataType::CriticalGameState, "[7,46]", None);
    assert_eq!(PaceRule::SkillUsage.validation(), SkillUsage);
}

#[test]
fn size_and_depth() {
    let chat = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    passes(SyncDataType::ChatMessage, &chat(1_024), None);
    fails(SyncDataType::ChatMessage, &chat(1_025), DataForm, "form.bytes_max: 1025 bytes, at most 1024");
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    passes(SyncDataType::QuestProgress, &nested(16), None);
    fails(SyncDataType::QuestProgress, &nested(17), DataForm, "form.depth_max: 17 levels, at most 16");
    // Brackets within text are text.
    passes(SyncDataType::QuestProgress, r#"["[[[[[[[[[[[[[[[[[\"[[[[[[[[["]"#, None);
}
