//! No secret of a live run stands in what the run writes or shows, in what its processes print or answer, or in what
//! its servers hold; and one that is put there is found.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real servers live in real time")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::{P2PSIM, Ran, Sandbox};
use simulator::canaries::Canaries;
use simulator::draw::Draws;
use simulator::history::{Event, What};
use simulator::live_rig::{LiveOptions, LiveRig, RunId, Servers, ServersOptions, child};
use simulator::plan::Plan;
use simulator::run::{RunResult, Summary};
use simulator::scenario::Scenario;
use simulator::verdict::Verdict;
use simulator::virtual_rig::variant::WorldKeys;
use sqlx::Connection as _;
use sync_core::id::AccountId;
use sync_core::secret::Secret;
use tokio::runtime::Runtime;

const SEED: u64 = 3;

const WATCHED: &str = "
name: watched
about: ABOUT
duration: 3s
settle: 20s
topology: { hosts: 6, maps: 2 }
network: { to_server: { tamper: 2%, replay: 2% }, to_host: { tamper: 2% } }
workload:
  - name: players
    arrivals: { constant: 8/s }
    mix:
      - { type: PLAYER_POSITION, critical: true }
      - { type: PLAYER_DATA, kind: sync_from }
      - { type: CHAT_MESSAGE }
      - { type: CHAT_MESSAGE, hostile: malformed }
faults: [{ at: 1s, for: 300ms, inject: { crash: main_server } }]
expect: { properties: [P5, P14, P25, P30], critical_miss_ratio_max: 100% }
";

/// The folder of the program that this process starts as its children: it is `p2psim`, and a main server first says
/// the words in the file beside it, if there are any.
fn program() -> &'static Sandbox {
    static PROGRAM: OnceLock<Sandbox> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let sandbox = Sandbox::new();
        let talk = "if [ \"$2\" = main-server ]; then cat \"$(dirname \"$0\")/words\" >&2; fi";
        sandbox.write("talkative", format!("#!/bin/sh\n{talk}\nexec {P2PSIM} \"$@\"\n"));
        let program = sandbox.path().join("talkative");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        child::use_program(program);
        sandbox
    })
}

/// Servers that are given to runs, and their secrets.
struct Given {
    servers: Servers,
    postgres_url: String,
    redis_url: String,
    passwords: [String; 2],
}

impl Given {
    fn start(runtime: &Runtime) -> Self {
        program();
        let options = ServersOptions { postgres_url: None, redis_url: None, run: RunId::random().unwrap() };
        let servers = runtime.block_on(Servers::start(options)).unwrap();
        let (postgres_url, redis) = (servers.postgres_dsn().expose().clone(), servers.redis_settings());
        let redis_password = redis.password.as_ref().unwrap().expose().clone();
        let redis_url = format!("redis://:{redis_password}@{}:{}/5", redis.host, redis.port);
        let login = postgres_url.split_once('@').unwrap().0;
        let passwords = [login.rsplit_once(':').unwrap().1.to_owned(), redis_password];
        Self { servers, postgres_url, redis_url, passwords }
    }

    /// The passwords, and the keys of a run under [`SEED`].
    fn canaries(&self) -> Canaries {
        let keys = WorldKeys::new(Draws::new(SEED));
        let master = ("master key", keys.server().sealing_key().to_text());
        let hosts =
            (1..=6).map(|account| ("key of a host", keys.host(AccountId(account)).sealing_key().to_text()));
        let passwords = self.passwords.iter().map(|text| ("password", Secret::new(text.clone())));
        Canaries::new(std::iter::once(master).chain(hosts).chain(passwords)).unwrap()
    }

    fn p2psim(&self, sandbox: &Sandbox, arguments: &[&str]) -> Ran {
        let mut command = Command::new(P2PSIM);
        command.args(arguments).env("P2PSIM_POSTGRES_URL", &self.postgres_url);
        sandbox.ran(command.env("P2PSIM_REDIS_URL", &self.redis_url))
    }

    fn rig(&self) -> LiveRig {
        let secret = |text: &String| Some(Secret::new(text.clone()));
        let options = LiveOptions {
            postgres_url: secret(&self.postgres_url),
            redis_url: secret(&self.redis_url),
            ..LiveOptions::default()
        };
        LiveRig::start(options).unwrap_or_else(|error| panic!("{error}: {}", error.remedy()))
    }
}

/// Where a run's files and streams show a secret.
fn seen(canaries: &Canaries, sandbox: &Sandbox, ran: &Ran) -> Vec<String> {
    let mut texts = vec![("stdout".to_owned(), ran.stdout.clone().into_bytes())];
    texts.push(("stderr".to_owned(), ran.stderr.clone().into_bytes()));
    let files =
        sandbox.files(".").into_iter().filter(|(path, _)| path.extension().is_none_or(|end| end != "yaml"));
    texts.extend(files.map(|(path, bytes)| (path.display().to_string(), bytes)));
    let found = texts.iter().filter_map(|(name, text)| Some(format!("{name}: {}", canaries.seen_in(text)?)));
    found.collect()
}

/// A live run of the watched scenario, recorded in full, with everything that it writes.
fn run(given: &Given, about: &str) -> (Sandbox, Ran) {
    let sandbox = Sandbox::new();
    sandbox.write("watched.yaml", WATCHED.replace("ABOUT", about));
    let seed = SEED.to_string();
    let rest = ["--seed", &seed, "--out", "runs", "--record=full", "--junit", "junit.xml"];
    let ran = given.p2psim(&sandbox, &[&["run", "watched.yaml", "--rig", "live"], &rest[..]].concat());
    (sandbox, ran)
}

#[test]
fn no_secret_of_a_live_run_is_seen_anywhere() {
    let runtime = Runtime::new().unwrap();
    let given = Given::start(&runtime);
    let canaries = given.canaries();

    let (sandbox, ran) = run(&given, "Everything is looked through.");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let files = sandbox.files("runs/watched-seed3-live");
    let names: Vec<_> = files.keys().map(|path| path.display().to_string()).collect();
    let expected = ["summary.json", "plan.txt", "history.jsonl", "latency.hgrm", "report.html", "junit.xml"];
    // Two lives of the main server, and the hosts.
    let recorded = ["hosts", "main-server-0", "main-server-1"].map(|name| format!("recording/{name}.jsonl"));
    for name in expected.into_iter().chain(recorded.iter().map(String::as_str)) {
        assert!(names.iter().any(|file| file == name), "no {name} in {names:?}");
    }
    assert_eq!(seen(&canaries, &sandbox, &ran), Vec::<String>::new());
    // What is gone by now, the run itself has looked through.
    let history = String::from_utf8(sandbox.read("runs/watched-seed3-live/history.jsonl")).unwrap();
    let searched: Vec<_> = history
        .lines()
        .filter_map(|line| match serde_json::from_str::<Event>(line).unwrap().what {
            What::CanariesSought { place, texts } if texts > 0 => Some(place),
            _ => None,
        })
        .collect();
    for place in [
        "request",
        "reply",
        "error message",
        "row of the database",
        "entry of the cache",
        "answer to anybody",
    ] {
        assert!(searched.iter().any(|other| other == place), "{place} was not searched: {searched:?}");
    }
    let summary: Summary =
        serde_json::from_slice(&sandbox.read("runs/watched-seed3-live/summary.json")).unwrap();
    let p25 = summary.properties.iter().find(|judgement| judgement.property == "P25").unwrap();
    assert_eq!(p25.verdict, Verdict::Pass, "{p25:?}");

    // What is said of servers that cannot be reached.
    let sandbox = Sandbox::new();
    sandbox.write("watched.yaml", WATCHED);
    for (postgres, redis) in [("x", ""), ("", "x")] {
        let mut command = Command::new(P2PSIM);
        command.args(["run", "watched.yaml", "--rig", "live"]);
        // The password is not the right one, but all of it is in the wrong one.
        let wrong = |url: &str, more: &str| url.replacen('@', &format!("{more}@"), 1);
        command.env("P2PSIM_POSTGRES_URL", wrong(&given.postgres_url, postgres));
        let ran = sandbox.ran(command.env("P2PSIM_REDIS_URL", wrong(&given.redis_url, redis)));
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(!ran.stderr.is_empty());
        assert_eq!(seen(&canaries, &sandbox, &ran), Vec::<String>::new());
    }

    // The alarm works: a scenario that tells a password has it in every file that repeats its words.
    let (sandbox, ran) = run(&given, &given.passwords[0]);
    let leaks = seen(&canaries, &sandbox, &ran);
    for place in ["stdout", "summary.json", "plan.txt", "report.html"] {
        assert!(leaks.iter().any(|leak| leak.contains(place)), "not found in {place}: {leaks:?}");
    }
    runtime.block_on(given.servers.remove()).unwrap();
}

/// Where a run found a secret, and which, each pair once.
fn sightings(result: &RunResult) -> Vec<(String, String)> {
    let history = std::str::from_utf8(&result.history).unwrap();
    let mut found: Vec<_> = history
        .lines()
        .filter_map(|line| match serde_json::from_str::<Event>(line).unwrap().what {
            What::CanarySeen { place, secret, .. } => Some((place, secret)),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// A main server that prints what it was told, and somebody who copies passwords into the database and the cache.
#[test]
fn secrets_that_slip_out_are_found_where_they_are() {
    let runtime = Runtime::new().unwrap();
    let given = Given::start(&runtime);
    let [postgres_password, redis_password] = given.passwords.clone();
    program().write("words", format!("connecting with {postgres_password}\n"));

    let plan = Plan::new(&Scenario::parse("watched", WATCHED.as_bytes()).unwrap(), SEED);
    let mut rig = given.rig();
    let (dsn, redis_url) = (given.postgres_url.clone(), given.redis_url.clone());
    let copied = redis_password.clone();
    let meddler = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(2_500));
        let mut redis = redis::Client::open(redis_url).unwrap().get_connection().unwrap();
        redis::cmd("RPUSH").arg("p2p_sync:notes").arg(format!("login {copied}")).exec(&mut redis).unwrap();
        Runtime::new().unwrap().block_on(async {
            let mut connection = sqlx::PgConnection::connect(&dsn).await.unwrap();
            let name = "SELECT datname FROM pg_database WHERE datname LIKE 'p2psim\\_%'";
            let name: String = sqlx::query_scalar(name).fetch_one(&mut connection).await.unwrap();
            let (server, _) = dsn.rsplit_once('/').unwrap();
            let mut connection = sqlx::PgConnection::connect(&format!("{server}/{name}")).await.unwrap();
            let insert = "INSERT INTO p2p_sync.cache (cache_key, cache_value) VALUES ('login', $1)";
            sqlx::query(insert).bind(copied).execute(&mut connection).await.unwrap();
        });
    });
    let result = rig.run(&plan, None).unwrap();
    meddler.join().unwrap();
    rig.remove().unwrap();
    runtime.block_on(given.servers.remove()).unwrap();

    let (database, cache) = ("database's password".to_owned(), "cache's password".to_owned());
    let expected = [
        ("entry of the cache".to_owned(), cache.clone()),
        ("output of a main server".to_owned(), database),
        ("row of the database".to_owned(), cache),
    ];
    assert_eq!(sightings(&result), expected);
    let p25 = result.summary.properties.iter().find(|judgement| judgement.property == "P25").unwrap();
    assert_eq!(p25.verdict, Verdict::Fail);
    let shown = format!("{:?}", result.summary);
    assert!(
        !shown.contains(&redis_password) && !shown.contains(&postgres_password),
        "a finding shows a secret"
    );
}
