use super::*;
use crate::id::{AccountId, Incarnation, MapName, OperationId};
use crate::time::Timestamp;
use crate::wire::Kind;
use ValidationType::{
    AccountRights, DataForm, DropRate, MonsterStats, PlayerMovement, SkillUsage, SpawnRate,
};

/// What rules say of data that account 7 writes for prontera, which has 312 by 392 cells in those built in.
fn judged_by(
    rules: &Rules,
    data_type: SyncDataType,
    data: &str,
) -> Result<Option<Condition>, (ValidationType, String)> {
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
    judge(rules, &request).map_err(|violation| (violation.validation, violation.details))
}

fn judged(data_type: SyncDataType, data: &str) -> Result<Option<Condition>, (ValidationType, String)> {
    judged_by(&Rules::built_in(), data_type, data)
}

/// Those of the rules built in whose section is wanted.
fn some(wanted: impl Fn(&str) -> bool) -> Rules {
    let mut sections = serde_json::to_value(Rules::built_in()).unwrap();
    sections.as_object_mut().unwrap().retain(|name, _| wanted(name));
    Rules::parse("some", &sections.to_string()).unwrap()
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
        r#"{"account_id":7,"skill_id":46,"skill_id":47}"#,
        r#"{"account_id":7,"skill\u005fid":null}"#,
    ] {
        fails(SyncDataType::CriticalGameState, half, SkillUsage, "published form of CRITICAL_GAME_STATE");
    }
    for other in [r#"{"account_id":"8"}"#, r#"{"account_id":"7","skill_id":46}"#] {
        fails(SyncDataType::CriticalGameState, other, AccountRights, "published form");
    }
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

const SECTIONS: [&str; 8] =
    ["form", "account_rights", "maps", "movement", "spawn", "drop", "monsters", "skills"];

/// Under every choice of sections: what breaks one rule only is refused exactly when that rule's section is there.
#[test]
fn each_section_judges_whichever_others_there_are() {
    use SyncDataType::*;
    let player = |account: u32, x: u32, map: &str| {
        format!(r#"{{"account_id":{account},"position":{{"x":{x},"y":1,"m":"{map}"}}}}"#)
    };
    let monsters = |map: &str, at: &str, x: u32, level: u32, count: usize| {
        let one = format!(r#"{{"level":{level},"hp":1,"max_hp":1,"position":{{"x":{x},"y":1,"m":"{at}"}}}}"#);
        let all = vec![one; count].join(",");
        format!(r#"{{"map_name":"{map}","spawned":{count},"monsters":[{all}]}}"#)
    };
    let item = |map: &str, at: &str, y: u32, amount: u32| {
        format!(r#"{{"map_name":"{map}","amount":{amount},"position":{{"x":1,"y":{y},"m":"{at}"}}}}"#)
    };
    let state = |host: u32, map: &str| format!(r#"{{"map_name":"{map}","host_id":{host}}}"#);
    let found = |host: u32, map: &str| {
        format!(r#"{{"host_id":{host},"map_name":"{map}","validation_type":"SKILL_USAGE","result":true}}"#)
    };
    let (here, there) = ("prontera", "geffen");
    let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
    let mut cases = vec![
        ("", PlayerPosition, player(7, 311, here)),
        ("", MonsterData, monsters(here, here, 1, 10, 2)),
        ("", ItemDrop, item(here, here, 1, 1)),
        ("", MapState, state(7, here)),
        ("", SecurityValidation, found(7, here)),
        ("", CriticalGameState, r#"{"account_id":7,"skill_id":46}"#.to_owned()),
        ("form", QuestProgress, deep),
        ("maps", PlayerPosition, player(7, 312, here)),
        ("maps", PlayerData, player(7, 312, here)),
        ("maps", MonsterData, monsters(here, here, 312, 10, 2)),
        ("maps", ItemDrop, item(here, here, 392, 1)),
        ("spawn", MonsterData, monsters(here, here, 1, 10, 201)),
        ("drop", ItemDrop, item(here, here, 1, 201)),
        ("monsters", MonsterData, monsters(here, here, 1, 256, 2)),
        ("skills", CriticalGameState, r#"{"account_id":7,"skill_id":"46"}"#.to_owned()),
        ("account_rights", MonsterData, monsters(there, here, 1, 10, 2)),
        ("account_rights", MonsterData, monsters(here, there, 1, 10, 2)),
        ("account_rights", ItemDrop, item(there, here, 1, 1)),
        ("account_rights", ItemDrop, item(here, there, 1, 1)),
        ("account_rights", MapState, state(8, here)),
        ("account_rights", MapState, state(7, there)),
        ("account_rights", SecurityValidation, found(8, here)),
        ("account_rights", SecurityValidation, found(7, there)),
        ("account_rights", CriticalGameState, r#"{"account_id":8,"skill_id":46}"#.to_owned()),
        ("account_rights", CriticalGameState, r#"{"account_id":8}"#.to_owned()),
    ];
    for data_type in [PlayerPosition, PlayerData] {
        cases.push(("account_rights", data_type, player(8, 1, here)));
        cases.push(("account_rights", data_type, player(7, 1, there)));
    }
    for data_type in [NpcState, QuestProgress, ChatMessage, HostMetrics] {
        cases.push(("", data_type, r#"{"any":["form"],"map_name":"prontera","account_id":7}"#.to_owned()));
        cases.push(("account_rights", data_type, r#"{"map_name":"geffen"}"#.to_owned()));
        cases.push(("account_rights", data_type, r#"{"map_name":null}"#.to_owned()));
        cases.push(("account_rights", data_type, r#"{"account_id":8}"#.to_owned()));
        cases.push(("account_rights", data_type, r#"{"account_id":7,"account_id":8}"#.to_owned()));
        cases.push(("account_rights", data_type, r#"{"host_id":8}"#.to_owned()));
    }
    for chosen in 0..1u32 << SECTIONS.len() {
        let is_there =
            |name: &str| SECTIONS.iter().position(|s| *s == name).is_some_and(|n| chosen >> n & 1 == 1);
        let rules = some(is_there);
        for (breaks, data_type, data) in &cases {
            let found = judged_by(&rules, *data_type, data);
            let shown = data.get(..80).unwrap_or(data);
            assert_eq!(found.is_err(), is_there(breaks), "{found:?} for {data_type} {shown} under {rules:?}");
        }
    }
}

/// What each section alone leaves to the database, and what it does not look at.
#[test]
fn a_section_alone_asks_for_what_it_looks_at() {
    use SyncDataType::*;
    let check = |section: &str, data_type, data: &str, expected: Result<bool, &str>| {
        let found = judged_by(&some(|name| name == section), data_type, data);
        let found = found.map(|condition| condition.is_some()).map_err(|(_, details)| details);
        match (&found, expected) {
            (Err(details), Err(wanted)) => assert!(details.contains(wanted), "{details}"),
            _ => assert_eq!(found, expected.map_err(str::to_owned), "{section} of {data_type} {data}"),
        }
    };
    check("movement", PlayerPosition, r#"{"position":{"x":65535,"y":0}}"#, Ok(true));
    check("movement", PlayerPosition, r#"{"position":{"x":65536,"y":0}}"#, Err("position.x: 65536"));
    check("movement", PlayerData, "{}", Err("missing field `position`"));
    check("maps", PlayerPosition, r#"{"position":{"x":1,"y":0}}"#, Ok(false));
    check("maps", PlayerPosition, "{}", Err("missing field `position`"));
    check("maps", MonsterData, "{}", Err("missing field `monsters`"));
    check("maps", MonsterData, r#"{"monsters":[{}]}"#, Err("missing field `position`"));
    check("maps", ItemDrop, "{}", Err("missing field `position`"));
    check("maps", NpcState, "1", Ok(false));
    check("account_rights", PlayerPosition, r#"{"account_id":7}"#, Ok(false));
    check("account_rights", PlayerPosition, "{}", Err("missing field `account_id`"));
    check("account_rights", PlayerPosition, r#"["7"]"#, Err("no JSON object"));
    check("account_rights", MonsterData, "{}", Err("missing field `map_name`"));
    check("account_rights", ItemDrop, "{}", Err("missing field `map_name`"));
    check("account_rights", NpcState, r#"["geffen"]"#, Ok(false));
    check("spawn", MonsterData, r#"{"monsters":[{}],"spawned":1}"#, Ok(true));
    check("spawn", MonsterData, r#"{"monsters":[{}]}"#, Err("missing field `spawned`"));
    check("monsters", MonsterData, r#"{"monsters":[{"hp":1,"max_hp":1}]}"#, Err("missing field `level`"));
    check("monsters", MonsterData, r#"{"monsters":[{"level":1,"hp":1,"max_hp":1}]}"#, Ok(false));
    check("drop", ItemDrop, r#"{"amount":1}"#, Ok(true));
    check("drop", ItemDrop, "{}", Err("missing field `amount`"));
    check("skills", CriticalGameState, r#"{"account_id":9,"skill_id":1}"#, Ok(true));
    check("skills", CriticalGameState, r#"{"account_id":9}"#, Ok(false));
    check("form", PlayerPosition, "[[]]", Ok(false));
}
