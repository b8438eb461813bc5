//! The environment of a peer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sync_core::config::peer::variables::{self, ALL};
use sync_core::config::peer::{PeerConfig, Variables, tables};
use sync_core::diagnostic::{Diagnostic, Severity};
use sync_core::time::Span;

const KEY: &str = "p2p-peers:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn resolve(given: &[(&str, &str)]) -> Result<(PeerConfig, Vec<Diagnostic>), Vec<Diagnostic>> {
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    PeerConfig::resolve(&Variables::default().with_environment(given))
}

fn shown(findings: &[Diagnostic]) -> String {
    findings.iter().map(|found| format!("{found}\n")).collect()
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let (config, warnings) = resolve(&[]).unwrap();
    assert!(warnings.is_empty());
    assert_eq!((config.api_port, config.p2p_port, config.discovery_port), (8_000, 8_001, 8_002));
    assert_eq!(config.discovery_peer_ports, [8_002, 8_004, 8_006]);
    assert!(config.sync_enabled && config.auto_discovery && config.shared_key.is_none());
    assert_eq!((config.sync_interval, config.peers_max), (Span::from_secs(30), 10));
    let schema = config.schema(None).unwrap();
    let mut names: Vec<_> = schema.tables().map(|table| table.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["activity_logs", "categories", "product_images", "products", "review_media", "reviews", "users"]
    );
    // What a peer writes must not make anybody an administrator.
    assert!(schema.tables().all(|table| table.place("role").is_none()));
}

/// For each variable: what is taken, and what is refused, by name and with a remedy.
#[test]
fn every_variable_takes_what_it_should_and_refuses_what_it_should_not() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("API_PORT", &["1", "65535", "0", ""], &["65536", "-1", "x", "8000.0", "+1", "١"]),
        ("P2P_PORT", &["9", "0"], &["65536", "tcp://10.0.0.1:8001"]),
        ("DISCOVERY_PORT", &["9", "0"], &["65536"]),
        ("BIND_ADDRESS", &["127.0.0.1", "::1", "0.0.0.0"], &["localhost", "1.2.3"]),
        ("NODE_NAME", &["node1", "a.b_c-D"], &["a b", "ü", "x/y"]),
        ("DATABASE_URL", &["postgresql://u:p@h/d"], &[]),
        ("ENABLE_P2P_SYNC", &["true", "FALSE", "1", "0", "yes", "off"], &["2", "ja"]),
        ("ENABLE_AUTO_DISCOVERY", &["true", "no"], &["maybe"]),
        ("SYNC_INTERVAL", &["1", "86400"], &["0", "86401", "1.5", "30s"]),
        (
            "STATIC_PEERS",
            &["a", "a:1,b:2", "[::1]:8000", "10.0.0.1:8010, c"],
            &["a:0", "a:b", "a/b", "[::1", "a:70000"],
        ),
        ("DISCOVERY_PEER_PORTS", &["1", "1,2, 3"], &["0", "x", "70000"]),
        ("DISCOVERY_ADDRESSES", &["255.255.255.255"], &["::1", "host"]),
        ("MAX_PEERS", &["1", "1000"], &["0", "1001"]),
        ("P2P_SHARED_KEY", &[KEY], &["hunter2", "p2p-peers:hunter2"]),
        ("SYNC_TABLES", &["users", "users, categories"], &[]),
        ("SYNC_SCHEMA_FILE", &["tables.json"], &[]),
    ];
    let names: Vec<_> = cases.iter().map(|(name, ..)| *name).collect();
    let known: Vec<_> = ALL.iter().map(|spec| spec.name).collect();
    assert_eq!(names, known, "each variable has cases");
    for (name, taken, refused) in cases {
        for value in *taken {
            assert!(resolve(&[(name, value)]).is_ok(), "{name}={value}");
        }
        for value in *refused {
            let findings = resolve(&[(name, value)]).expect_err(&format!("{name}={value}"));
            let text = shown(&findings);
            assert!(text.contains(name) && text.contains("help: "), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn ports_of_one_node_differ_and_announcements_go_somewhere() {
    let check = |given: &[(&str, &str)], expected: &str| {
        let text = shown(&resolve(given).unwrap_err());
        assert!(text.contains(expected), "{text}");
    };
    check(&[("API_PORT", "8001")], "P2P_PORT: 8001 is the API_PORT, too");
    check(&[("DISCOVERY_PEER_PORTS", ",")], "announcements would go nowhere");
    assert!(resolve(&[("DISCOVERY_PEER_PORTS", ","), ("ENABLE_AUTO_DISCOVERY", "false")]).is_ok());
}

#[test]
fn names_that_look_like_ours_are_warned_of() {
    let warned = |name: &str| {
        let (_, warnings) = resolve(&[(name, "1"), ("PATH", "/bin"), ("HOME", "/")]).unwrap();
        assert!(warnings.iter().all(|found| found.severity == Severity::Warning));
        shown(&warnings)
    };
    assert!(warned("SYNC_INTERVALL").contains("did you mean `SYNC_INTERVAL`?"));
    assert!(warned("P2P_SHARED_KEYS").contains("did you mean `P2P_SHARED_KEY`?"));
    assert!(warned("P2P_BANANA").contains("no variable of a peer"));
    assert!(warned("enable_p2p_sync").contains("did you mean `ENABLE_P2P_SYNC`?"));
    assert_eq!(warned("P2P_TEST_POSTGRES_URL"), "");
    assert_eq!(warned("LANG"), "");
}

#[test]
fn the_environment_goes_before_a_file_and_findings_name_the_line() {
    let file = b"# mine\nAPI_PORT=9000\nNODE_NAME=from-file\nMAX_PEERS=none\n";
    let variables = Variables::default().with_file(".env", file).unwrap();
    let variables = variables.with_environment([("API_PORT".to_owned(), "9100".to_owned())]);
    let text = shown(&PeerConfig::resolve(&variables).unwrap_err());
    assert!(text.contains(".env:4") && text.contains("MAX_PEERS"), "{text}");
    let variables = variables.with_environment([("MAX_PEERS".to_owned(), "3".to_owned())]);
    let (config, _) = PeerConfig::resolve(&variables).unwrap();
    assert_eq!(
        (config.api_port, config.node_name.unwrap().as_str(), config.peers_max),
        (9_100, "from-file", 3)
    );
}

#[test]
fn tables_are_chosen_by_name_and_never_without_their_parents() {
    let schema = |names: &str| resolve(&[("SYNC_TABLES", names)]).unwrap().0.schema(None);
    let chosen = schema("users,activity_logs").unwrap();
    assert_eq!(chosen.tables().count(), 2);
    let text = schema("user").unwrap_err().to_string();
    assert!(text.contains("did you mean `users`?"), "{text}");
    let text = schema("reviews").unwrap_err().to_string();
    assert!(text.contains("refers to `users`") || text.contains("refers to `products`"), "{text}");
}

#[test]
fn a_file_declares_tables_of_ones_own() {
    let (config, _) = resolve(&[("SYNC_SCHEMA_FILE", "tables.json")]).unwrap();
    let text = r#"[{"name": "notes", "columns": ["id", "text"], "key": ["id"], "unique": [["text"]]}]"#;
    let schema = config.schema(Some(text)).unwrap();
    assert_eq!(schema.find("notes").unwrap().columns, ["id", "text"]);
    let check = |text: &str, expected: &str| {
        let found = config.schema(Some(text)).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    };
    check("[", "tables.json:1");
    check(r#"[{"name": "notes", "columns": ["id"], "key": ["id"], "colour": 1}]"#, "colour");
    check(r#"[{"name": "a;b", "columns": ["id"], "key": ["id"]}]"#, "no name of a table");
    check(r#"[{"name": "a", "columns": ["id"], "key": ["other"]}]"#, "`other`");
    check("[]", "no table travels");
    assert_eq!(tables::of_the_specification().len(), 7);
}

#[test]
fn no_secret_is_shown() {
    let given = [("DATABASE_URL", "postgresql://u:hunter2@h/d"), ("P2P_SHARED_KEY", KEY)];
    let (config, _) = resolve(&given).unwrap();
    let text = format!("{config:?}");
    assert!(!text.contains("hunter2") && !text.contains("AAEC"), "{text}");
}

#[test]
fn the_example_is_valid_and_names_every_variable() {
    let text = fs::read(root().join(".env.example")).unwrap();
    let variables = Variables::default().with_file(".env.example", &text).unwrap();
    let (config, warnings) = PeerConfig::resolve(&variables).map_err(|found| shown(&found)).unwrap();
    assert!(warnings.is_empty(), "{}", shown(&warnings));
    assert_eq!(config.node_name.unwrap().as_str(), "node1");
    let text = String::from_utf8(text).unwrap();
    for spec in ALL {
        assert!(text.contains(&format!("{}=", spec.name)), "{}", spec.name);
    }
}

#[test]
fn the_document_has_the_table_of_variables() {
    let path = root().join("docs/peer-node.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once("<!-- variables: begin -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- variables: end -->").unwrap();
    let table = variables::markdown_table();
    let fresh = format!("{before}<!-- variables: begin -->\n{table}<!-- variables: end -->{after}");
    #[allow(
        clippy::disallowed_methods,
        reason = "a test may ask whether it is to write what it compares with"
    )]
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        fs::write(&path, &fresh).unwrap();
        return;
    }
    assert!(document == fresh, "run `UPDATE_DOCS=1 cargo test -p sync-core --test peer_config`");
}

/// The table names tests that exist.
#[test]
fn every_variable_has_the_test_that_it_names() {
    for spec in ALL {
        let (file, name) = spec.test.split_once(": ").unwrap();
        let folder = if file.contains('/') { "sync-core/tests" } else { "sync-core/tests/it" };
        let text = fs::read_to_string(root().join(folder).join(file)).expect(file);
        assert!(text.contains(&format!("fn {name}(")), "{}: {}", spec.name, spec.test);
    }
}

proptest! {
    /// Whatever the environment holds: a configuration or findings, never a panic; and no secret in them.
    #[test]
    fn no_environment_makes_it_panic(
        values in prop::collection::vec((0..ALL.len(), "[ -~]{0,30}|[0-9]{1,6}|\\PC{0,10}"), 0..8)
    ) {
        let given: Vec<_> = values.iter().map(|(at, value)| (ALL[*at].name, value.as_str())).collect();
        match resolve(&given) {
            Ok((config, _)) => { let _ = config.schema(None); }
            Err(findings) => {
                let text = shown(&findings);
                prop_assert!(text.contains("help: "));
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
