//! Hosts of maps and rules on what hosts may say, against real servers: fences hold, what is invalid has no effect, and
//! somebody who makes a second primary is seen.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real servers live in real time")]

use std::time::Duration;

use simulator::history::{Event, What};
use simulator::live_rig::{LiveOptions, LiveRig, RunId, Servers, ServersOptions, child};
use simulator::plan::Plan;
use simulator::run::{RunResult, Summary};
use simulator::scenario::Scenario;
use simulator::verdict::{Judgement, Verdict};
use sqlx::Connection as _;
use sync_core::secret::Secret;
use sync_core::store::hosting::Part;
use tokio::runtime::Runtime;

/// Host 1 is the first to report and becomes the primary; cut off for longer than 45 s it is dropped, and when it is
/// back it writes on as if nothing had been.
const HOSTS: &str = "
name: hosts
about: The primary of a map is cut off, another host takes over, and what the former one writes is refused.
duration: 60s
settle: 20s
topology: { hosts: 3, maps: 1, main_servers: 2 }
main_server: { health_check: 1s }
workload:
  - name: reports
    arrivals: { constant: 0.5/s }
    mix: [{ type: HOST_METRICS, kind: report }]
  - name: maps
    arrivals: { poisson: 4/s }
    from: 3s
    mix: [{ type: MAP_STATE, critical: true }, { type: MONSTER_DATA }, { type: PLAYER_DATA }]
faults:
  - { at: 5s, for: 50s, inject: { partition: { hosts: { only: [PRIMARY] } } } }
  - { at: 20s, for: 1s, inject: { crash: { main_servers: [1] } } }
expect: { properties: [P5, P6, P14, P30, P31], critical_miss_ratio_max: 100% }
";

const SHORT: &str = "
name: short
about: Hosts of two maps at work.
duration: 6s
settle: 20s
topology: { hosts: 4, maps: 2 }
workload:
  - name: reports
    arrivals: { constant: 1/s }
    mix: [{ type: HOST_METRICS, kind: report }]
  - name: maps
    arrivals: { constant: 4/s }
    from: 2s
    mix: [{ type: MAP_STATE }, { type: NPC_STATE }]
expect: { properties: [P31] }
";

/// Values have the forms of their types, and half of the hosts send what must be refused.
const RULES: &str = "
name: rules
about: Invalid operations among honest ones; each is refused without effect.
duration: 8s
settle: 20s
topology: { hosts: 8, maps: 2 }
main_server: { rules: true }
workload:
  - name: players
    arrivals: { constant: 2/s }
    mix: [{ type: PLAYER_POSITION }]
  - name: others
    arrivals: { poisson: 4/s }
    mix:
      - { type: PLAYER_DATA }
      - { type: CHAT_MESSAGE, critical: true }
      - { type: MAP_STATE, critical: true }
      - { type: ITEM_DROP }
      - { type: PLAYER_DATA, kind: sync_from }
  - name: hostile
    hosts: { first: 4 }
    arrivals: { poisson: 4/s }
    from: 3s
    mix:
      - { type: CHAT_MESSAGE, hostile: malformed }
      - { type: CHAT_MESSAGE, hostile: oversized }
      - { type: PLAYER_DATA, hostile: out_of_bounds }
      - { type: PLAYER_POSITION, hostile: teleport }
      - { type: PLAYER_POSITION, hostile: wrong_account }
      - { type: MONSTER_DATA, hostile: impossible_monster }
expect: { properties: [P5, P6, P14, P29, P30], critical_miss_ratio_max: 100% }
";

fn plan(text: &str) -> Plan {
    Plan::new(&Scenario::parse("live-hosts", text.as_bytes()).unwrap(), 1)
}

fn judged<'a>(summary: &'a Summary, id: &str) -> &'a Judgement {
    summary.properties.iter().find(|judgement| judgement.property == id).unwrap()
}

fn events(result: &RunResult) -> impl Iterator<Item = What> {
    let lines = std::str::from_utf8(&result.history).unwrap().lines();
    lines.map(|line| serde_json::from_str::<Event>(line).unwrap().what)
}

#[test]
fn a_former_primary_is_refused_live_and_so_is_what_rules_forbid() {
    child::use_program(env!("CARGO_BIN_EXE_p2psim"));
    let mut rig = LiveRig::start(LiveOptions::default()).unwrap();

    let result = rig.run(&plan(RULES), None).unwrap();
    assert_eq!(result.summary.verdict, Verdict::Pass, "{:#?}", result.summary);
    assert!(result.summary.counts.normal.rejected > 20, "{:?}", result.summary.counts);
    assert!(result.summary.published > 0);

    // The first to report becomes the primary: the same one as in the virtual world.
    let first = plan(&HOSTS.replace("PRIMARY", "0"));
    let primary = events(&simulator::run::run(&first)).find_map(|what| match what {
        What::Assigned { account, part: Part::Primary, .. } => Some(account - 1),
        _ => None,
    });
    let result = rig.run(&plan(&HOSTS.replace("PRIMARY", &primary.unwrap().to_string())), None).unwrap();
    rig.remove().unwrap();
    let summary = &result.summary;
    assert_eq!(summary.verdict, Verdict::Pass, "{summary:#?}");
    let primaries: Vec<_> = events(&result)
        .filter_map(|what| match what {
            What::Assigned { account, part: Part::Primary, epoch, .. } => Some((account, epoch)),
            _ => None,
        })
        .collect();
    assert!(primaries.len() >= 2 && primaries[0].0 == primary.unwrap() + 1, "{primaries:?}");
    let fenced = events(&result).filter(|what| {
        matches!(what, What::Rejected { op, code: sync_core::wire::ErrorCode::Fenced, .. } if Some(op.host) == primary)
    });
    assert!(fenced.count() > 0, "the former primary came back and was not refused");
}

#[test]
fn somebody_who_makes_a_second_primary_is_seen() {
    let runtime = Runtime::new().unwrap();
    child::use_program(env!("CARGO_BIN_EXE_p2psim"));
    let options = ServersOptions { postgres_url: None, redis_url: None, run: RunId::random().unwrap() };
    let given = runtime.block_on(Servers::start(options)).unwrap();
    let dsn = given.postgres_dsn().expose().clone();
    let options = LiveOptions { postgres_url: Some(Secret::new(dsn.clone())), ..LiveOptions::default() };
    let mut rig = LiveRig::start(options).unwrap();

    let summary = rig.run(&plan(SHORT), None).unwrap().summary;
    assert_eq!(judged(&summary, "P31").verdict, Verdict::Pass, "{summary:#?}");

    let meddler = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(4_000));
        Runtime::new().unwrap().block_on(async {
            let mut connection = sqlx::PgConnection::connect(&dsn).await.unwrap();
            let name = "SELECT datname FROM pg_database WHERE datname LIKE 'p2psim\\_%'";
            let name: String = sqlx::query_scalar(name).fetch_one(&mut connection).await.unwrap();
            let (server, _) = dsn.rsplit_once('/').unwrap();
            let mut connection = sqlx::PgConnection::connect(&format!("{server}/{name}")).await.unwrap();
            sqlx::raw_sql(
                "DROP INDEX p2p_sync.host_assignments_one_primary; \
                 INSERT INTO p2p_sync.host_assignments (account_id, map_name, epoch) \
                 SELECT 77, map_name, epoch + 1 FROM p2p_sync.map_epochs",
            )
            .execute(&mut connection)
            .await
            .unwrap();
        });
    });
    let summary = rig.run(&plan(SHORT), None).unwrap().summary;
    meddler.join().unwrap();
    rig.remove().unwrap();
    runtime.block_on(given.remove()).unwrap();
    let p31 = judged(&summary, "P31");
    assert_eq!(p31.verdict, Verdict::Fail, "{p31:?}");
    let found = format!("{p31:?}");
    assert!(
        found.contains("were primaries at once") && found.contains("whose primary is account 77"),
        "{found}"
    );
}
