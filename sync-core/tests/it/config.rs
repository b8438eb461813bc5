//! `p2p_data_sync.conf`: every key, the fixtures, the documents, and laws over arbitrary files.
//!
//! `UPDATE_DOCS=1 cargo test -p sync-core --test it config` writes the table of docs/configuration.md,
//! `UPDATE_FIXTURES=1` the expected findings in fixtures/conf/broken; read the difference before committing.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sync_core::config::keys::{self, Form};
use sync_core::config::{Config, EmbeddingProvider, Role, Scheme};
use sync_core::data_type::SyncDataType;
use sync_core::diagnostic::{Diagnostic, Severity};
use sync_core::host_sync::settings::{ServerSettings, SessionSettings};
use sync_core::limits;
use sync_core::time::Span;

const MATERIAL: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_MATERIAL: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

#[test]
fn every_key_takes_what_it_should_and_refuses_what_it_should_not() {
    let m = MATERIAL;
    let cases: &[(&str, Role, &[&str], &[&str])] = &[
        ("role", Role::Host, &["host"], &["", "Host", "main_server", "client"]),
        (
            "main_server_endpoint",
            Role::Host,
            &["https://a.example.com/p2p", "http://localhost:8080/p", "http://[::1]/", "http://127.3.2.1/"],
            &["", "a.example.com", "http://a.example.com/", "https://u:p@a/", "https://a/?x", "https://a:0/"],
        ),
        ("tls_certificate_file", Role::MainServer, &[""], &["/etc/p2p/chain.pem"]),
        ("tls_certificate_file", Role::Host, &[""], &["/etc/p2p/chain.pem"]),
        ("tls_private_key_file", Role::MainServer, &[""], &["key.pem", "-----BEGIN PRIVATE KEY-----"]),
        ("tls_private_key_file", Role::Host, &[""], &["key.pem"]),
        (
            "tls_ca_file",
            Role::Host,
            &["", "ca.pem", "/run/secrets/our ca.pem"],
            &["-----BEGIN CERTIFICATE-----", "user:x@y", "a=b", "x?y", &"x".repeat(4097)],
        ),
        (
            "redis_host",
            Role::Host,
            &["localhost", "127.0.0.1", "::1"],
            &["", "10.0.0.1", "cache.example.com"],
        ),
        ("redis_host", Role::MainServer, &["redis", "10.0.0.1", "2001:db8::1"], &["", "redis:6379", "a b"]),
        ("redis_port", Role::Host, &["1", "6379", "65535"], &["", "0", "65536", "+1", "x"]),
        ("redis_password", Role::Host, &["", "p#a ss//=wörd"], &["a\u{7}b", "a\tb"]),
        ("redis_db", Role::Host, &["0", "15"], &["", "-1", "65536"]),
        ("critical_timeout_ms", Role::Host, &["1", "60000"], &["", "0", "60001", "500ms", "0.5"]),
        (
            "critical_data_types",
            Role::Host,
            &["", "MAP_STATE", "PLAYER_POSITION , MONSTER_DATA"],
            &["map_state", "MAP_STATE,", "6"],
        ),
        ("critical_slots", Role::Host, &["1", "256"], &["", "0", "257"]),
        ("host_batch_max", Role::Host, &["1", "256"], &["", "0", "257"]),
        (
            "pg_connection_string",
            Role::MainServer,
            &["", "postgresql://u:p#1@h:5432/d?sslmode=require", "postgres://h/d", "host=h dbname=d"],
            &["localhost", "mysql://h/d"],
        ),
        ("pg_connection_string", Role::Host, &[""], &["postgresql://h/d"]),
        ("openai_api_key", Role::MainServer, &["", "sk-abc"], &["sk abc", "sk-ä"]),
        ("openai_api_key", Role::Host, &[""], &["sk-abc"]),
        (
            "openai_endpoint",
            Role::MainServer,
            &["https://api.example.com/v1", "http://127.0.0.1:9/v1"],
            &["", "http://api.example.com/v1"],
        ),
        ("openai_endpoint", Role::Host, &["https://api.openai.com/v1"], &["https://api.example.com/v1"]),
        ("openai_embedding_model", Role::MainServer, &["org/m:1"], &["", "a b", "ä"]),
        ("openai_embedding_model", Role::Host, &["text-embedding-ada-002"], &["other"]),
        (
            "azure_openai_endpoint",
            Role::MainServer,
            &["", "https://x.openai.azure.com"],
            &["x.openai.azure.com"],
        ),
        ("azure_openai_endpoint", Role::Host, &[""], &["https://x.openai.azure.com"]),
        ("azure_openai_key", Role::MainServer, &["", "abc"], &["a b"]),
        ("azure_openai_key", Role::Host, &[""], &["abc"]),
        ("azure_openai_deployment", Role::MainServer, &["ada-2"], &["", "a/b", "a?b"]),
        ("azure_openai_deployment", Role::Host, &["text-embedding-ada-002"], &["ada-2"]),
        (
            "azure_openai_api_version",
            Role::MainServer,
            &["2023-05-15", "2024-02-15-preview"],
            &["", "v1", "2023-5-15", "2023-05-15&x=y"],
        ),
        ("azure_openai_api_version", Role::Host, &["2023-05-15"], &["2024-02-15"]),
        ("use_azure_openai", Role::MainServer, &["0"], &["", "1", "true"]),
        ("use_azure_openai", Role::Host, &["0"], &["1"]),
        (
            "vector_eligible_maps",
            Role::MainServer,
            &["", "prontera", "a,1@tower , b.gat"],
            &["a,,b", "a b", "ä"],
        ),
        (
            "encryption_key",
            Role::Host,
            &[&format!("p2p-host:k:7:{m}")],
            &["", m, &format!("p2p-master:k:{m}"), "p2p-host:k:7:AAAA", &format!("p2p-host:K:7:{m}")],
        ),
        (
            "encryption_key",
            Role::MainServer,
            &[&format!("p2p-master:k-1:{m}")],
            &["", m, &format!("p2p-host:k:7:{m}"), "p2p-master:k:AAAA", &format!("p2p-master::{m}")],
        ),
        (
            "encryption_keys_accepted",
            Role::Host,
            &["", &format!("p2p-host:a:7:{m}"), &format!("p2p-host:a:7:{m} , p2p-host:b:7:{m}")],
            &[
                &format!("p2p-host:a:8:{m}"),
                &format!("p2p-host:example:7:{m}"),
                &format!("p2p-host:a:7:{m},"),
                &format!("p2p-master:a:{m}"),
                &(0..9).map(|i| format!("p2p-host:a{i}:7:{m}")).collect::<Vec<_>>().join(","),
            ],
        ),
        ("allow_legacy_envelope", Role::Host, &["0"], &["", "1", "no"]),
        ("legacy_encryption_key", Role::Host, &[""], &[m]),
        ("freshness_window_ms", Role::MainServer, &["1000", "3600000"], &["", "999", "3600001"]),
        (
            "validation_rules",
            Role::MainServer,
            &["off", "default", "rules/mine.json"],
            &["", "host=db", &"r".repeat(4_097)],
        ),
        ("sync_interval_ms", Role::Host, &["1", "3600000"], &["", "0", "3600001"]),
        ("cache_expiry_seconds", Role::Host, &["0", "31536000"], &["", "31536001", "never"]),
        ("max_queue_size", Role::Host, &["1", "1000000"], &["", "0", "1000001"]),
        ("worker_threads", Role::Host, &["1", "256"], &["", "0", "257"]),
        ("debug_mode", Role::Host, &["0", "1"], &["", "2", "on"]),
    ];
    for (key, role, accepted, refused) in cases {
        for value in *accepted {
            let text = with(*role, key, value);
            assert!(parse(&text).is_ok(), "{key} = {value}\n{}", shown(&findings(text.as_bytes())));
        }
        for value in *refused {
            let errors = parse(&with(*role, key, value)).expect_err(&format!("{key} = {value}"));
            assert!(
                errors.iter().any(|e| e.severity == Severity::Error && e.help.is_some()),
                "{key} = {value}"
            );
        }
    }
    for spec in keys::ALL {
        assert!(cases.iter().any(|(key, ..)| *key == spec.name), "no case for `{}`", spec.name);
    }
}

#[test]
fn the_main_servers_example_is_understood() {
    let bytes = fixture("main_server.conf");
    let (config, warnings) = Config::parse("main_server.conf", &bytes).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.role, Role::MainServer);
    let endpoint = config.main_server_endpoint.as_ref().unwrap();
    assert_eq!(
        (endpoint.scheme(), endpoint.host(), endpoint.port(), endpoint.path()),
        (Scheme::Https, "sync-proxy.example.com", 443, "/p2p-sync")
    );
    assert_eq!(
        config.pg_connection_string.as_ref().unwrap().expose(),
        "postgresql://postgres:postgres@localhost:5432/rathena_p2p"
    );
    assert_eq!(config.embedding.provider(), None);
    assert_eq!(config.redis.password, None);
    assert_eq!(config.vector_eligible_maps.len(), 3);
    let types = [SyncDataType::MapState, SyncDataType::MonsterData, SyncDataType::PlayerPosition];
    assert_eq!(config.critical_types.iter().collect::<Vec<_>>(), types);
    let expected = ServerSettings {
        critical_types: config.critical_types,
        vector_maps: config.vector_eligible_maps.clone(),
        ..ServerSettings::default()
    };
    assert_eq!(config.server_settings(), expected);
    assert_eq!(Config::parse("crlf", &fixture("main_server_crlf.conf")).unwrap().0, config);
}

#[test]
fn the_hosts_example_is_understood() {
    let (config, warnings) = Config::parse("host.conf", &fixture("host.conf")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.role, Role::Host);
    assert_eq!(config.encryption_key.expose(), &format!("p2p-host:example:2000001:{MATERIAL}"));
    assert_eq!(config.encryption_keys_accepted.len(), 1);
    let settings = config.session_settings();
    assert_eq!(settings.critical_timeout, Span::from_ms(250));
    assert_eq!(
        (settings.workers, settings.critical_slots, settings.queue_max, settings.critical_types),
        (16, 8, 50_000, config.critical_types)
    );
}

#[test]
fn what_is_left_out_has_the_defaults_of_the_engines() {
    let (host, _) = parse(&minimal(Role::Host)).unwrap();
    assert_eq!(host.session_settings(), SessionSettings::default());
    let (server, _) = parse(&minimal(Role::MainServer)).unwrap();
    assert_eq!(server.server_settings(), ServerSettings::default());
    let text = server.to_masked_text();
    for spec in keys::ALL {
        let line = format!("{} = {}", spec.name, spec.default);
        let given = minimal(Role::MainServer).contains(spec.name);
        assert!(given || text.lines().any(|l| l == line.trim_end()), "{line}\n{text}");
    }
}

#[test]
fn zero_seconds_never_expire() {
    let (config, _) = parse(&with(Role::MainServer, "cache_expiry_seconds", "0")).unwrap();
    assert_eq!(config.server_settings().cache_expiry, None);
    assert!(config.to_masked_text().contains("\ncache_expiry_seconds = 0\n"));
}

#[test]
fn a_file_without_role_is_the_main_servers_with_a_warning() {
    let text = minimal(Role::MainServer).replace("role = main_server\n", "");
    let (config, warnings) = parse(&text).unwrap();
    assert_eq!(config.role, Role::MainServer);
    assert_eq!(warnings.len(), 1);
    assert_eq!((warnings[0].severity, warnings[0].line), (Severity::Warning, 0));
}

#[test]
fn the_legacy_key_comes_with_its_switch_and_a_warning() {
    let text =
        minimal(Role::Host) + &format!("allow_legacy_envelope = 1\nlegacy_encryption_key = {MATERIAL}\n");
    let (config, warnings) = parse(&text).unwrap();
    assert_eq!(config.legacy_encryption_key.unwrap().expose(), MATERIAL);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn the_switch_chooses_the_embedding_provider() {
    let both = minimal(Role::MainServer)
        + "openai_api_key = a\nazure_openai_key = b\nazure_openai_endpoint = https://x.openai.azure.com\n";
    let (open_ai, _) = parse(&both).unwrap();
    let provider = open_ai.embedding.provider();
    assert!(matches!(provider, Some(EmbeddingProvider::OpenAi { key, .. }) if key.expose() == "a"));
    let (azure, _) = parse(&(both + "use_azure_openai = 1\n")).unwrap();
    let provider = azure.embedding.provider();
    assert!(matches!(provider, Some(EmbeddingProvider::Azure { key, .. }) if key.expose() == "b"));
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let files = "tls_certificate_file = /run/secrets/chain.pem\ntls_private_key_file = key.pem\n";
    let (config, _) = parse(&(minimal(Role::MainServer) + files)).unwrap();
    let files = config.tls.unwrap();
    assert_eq!(files.certificate, Path::new("/run/secrets/chain.pem"));
    assert_eq!(files.private_key, Path::new("key.pem"));
    assert_eq!(parse(&minimal(Role::MainServer)).unwrap().0.tls, None);
}

#[test]
fn a_file_is_bounded_and_so_is_what_is_said_about_it() {
    let file = |bytes: usize| minimal(Role::Host) + &" ".repeat(bytes - minimal(Role::Host).len());
    assert!(parse(&file(limits::CONFIG_BYTES_MAX)).is_ok());
    assert!(parse(&file(limits::CONFIG_BYTES_MAX + 1)).is_err());
    let errors = parse(&"redis_prt=1\n".repeat(20_000)).unwrap_err();
    assert_eq!(errors.len(), limits::CONFIG_DIAGNOSTICS_MAX + 1);
    assert!(errors.last().unwrap().message.contains("further findings"));
    assert_eq!(Config::parse("x", b"\xff\xfer\0o\0l\0e\0").unwrap_err().len(), 1);
}

#[test]
fn errors_come_in_the_order_of_the_lines() {
    let text = "worker_threads = 0\nnonsense\nredis_port = x\nrole = host\nencryption_key =\nunknown = 1\n";
    let lines: Vec<_> = parse(text).unwrap_err().iter().map(|e| e.line).collect();
    assert_eq!(lines, [0, 1, 2, 3, 5, 6]);
}

#[test]
fn broken_files_are_reported_as_expected() {
    let mut names: Vec<PathBuf> =
        fs::read_dir(root().join("fixtures/conf/broken")).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "conf"));
    names.sort();
    assert!(names.len() >= 20);
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let errors = Config::parse(name, &fs::read(&path).unwrap()).expect_err(name);
        let report = shown(&errors);
        assert!(!report.contains("hunter2") && !report.contains(&MATERIAL[..16]), "{report}");
        compare(&path.with_extension("expected"), &report, "UPDATE_FIXTURES");
    }
}

#[test]
fn the_test_of_every_key_is_there() {
    for spec in keys::ALL {
        for (file, name) in
            spec.test.split("; ").map(|test| test.split_once(": ").expect("a file and a name"))
        {
            let folder = if file.contains('/') { "sync-core/tests" } else { "sync-core/tests/it" };
            let text = fs::read_to_string(root().join(folder).join(file)).expect(file);
            // Property tests have no `()` behind their names.
            assert!(
                text.contains(&format!("fn {name}(")),
                "{}: there is no test {name} in {file}",
                spec.name
            );
        }
    }
}

#[test]
fn the_document_has_the_table_of_keys() {
    let path = root().join("docs/configuration.md");
    let document = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- keys: begin -->\n", "<!-- keys: end -->");
    let (before, rest) = document.split_once(begin).expect("the begin mark");
    let (_, after) = rest.split_once(end).expect("the end mark");
    compare(&path, &format!("{before}{begin}{}{end}{after}", keys::markdown_table()), "UPDATE_DOCS");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        shown(&findings(&bytes));
    }

    #[test]
    fn pieces_of_a_configuration_never_panic(pieces in prop::collection::vec(piece(), 0..30)) {
        shown(&findings(pieces.concat().as_bytes()));
    }

    #[test]
    fn a_secret_is_never_shown(
        role in prop::sample::select(&Role::ALL[..]),
        key in prop::sample::select(key_names(|_| true)),
        noise in "[ -~ä\t\u{1}]{0,12}",
        shape in 0..SECRET_SHAPES.len(),
        spoil in 0..3_usize,
    ) {
        let secret = keys::find(key).unwrap().secret;
        // A key that is no secret hides what looks like one; a secret key hides everything.
        let value = if secret { format!("{noise}CANARY{noise}") } else { SECRET_SHAPES[shape].to_owned() };
        let key = match spoil {
            0 => key.to_owned(),
            1 => format!("{}x", &key[..key.len() - 1]),
            _ => key.to_uppercase(),
        };
        leaks_nothing(&with(role, &key, &value))?;
        leaks_nothing(&format!("{key} {value}\n{value}\n# {key} = {value}\u{1}\n"))?;
    }

    #[test]
    fn line_ends_make_no_difference(text in valid_text(), bom in any::<bool>()) {
        let crlf = format!("{}{}", if bom { "\u{feff}" } else { "" }, text.replace('\n', "\r\n"));
        prop_assert_eq!(parse(&text), parse(&crlf));
    }

    #[test]
    fn the_text_of_a_configuration_leads_back_to_it(text in valid_text()) {
        let (config, warnings) = parse(&text).map_err(|e| TestCaseError::fail(shown(&e)))?;
        let masked = config.to_masked_text();
        // The text hides secrets, so they are put back from where they came.
        let lines = masked.lines().map(|line| match line.strip_suffix(" = ***") {
            Some(key) => text.lines().find(|l| l.starts_with(&format!("{key} ="))).unwrap().to_owned(),
            None => line.to_owned(),
        });
        let again = lines.collect::<Vec<_>>().join("\n");
        prop_assert_eq!(Config::parse("test.conf", again.as_bytes()).map(|(config, _)| config), Ok(config));
        prop_assert!(warnings.iter().all(|w| w.severity == Severity::Warning));
    }
}

/// Secrets as they are pasted into the wrong line.
const SECRET_SHAPES: [&str; 9] = [
    "https://user:CANARY@example.com/p",
    "https://CANARY@example.com/p",
    "https://example.com/p?key=CANARY",
    "user:CANARY@example.com",
    "p2p-host:k:7:CANARY",
    "p2p-master:k:CANARY",
    "sk-CANARY0123456789abcdef",
    "host=h password=CANARY",
    "CANARYAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw=",
];

fn leaks_nothing(text: &str) -> Result<(), TestCaseError> {
    let outcome = parse(text);
    let masked = outcome.as_ref().map(|(config, _)| config.to_masked_text()).unwrap_or_default();
    let report = format!("{}{outcome:?}{masked}", shown(&findings(text.as_bytes())));
    prop_assert!(!report.contains("CANARY"), "{}\nof\n{}", report, text);
    Ok(())
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(key_names(|_| true)).prop_map(str::to_owned),
        prop::sample::select(vec![
            "=", " = ", "\n", "\r\n", "\t", "#", "//", ",", ":", "\u{feff}", "host", "0", "1"
        ])
        .prop_map(str::to_owned),
        prop::sample::select(&SECRET_SHAPES[..]).prop_map(str::to_owned),
        any::<String>(),
    ]
}

/// Files that are accepted: a random subset of keys with values out of their ranges.
fn valid_text() -> impl Strategy<Value = String> {
    let numbers = keys::ALL.into_iter().filter(|spec| matches!(spec.form, Form::Number { .. }));
    let numbers: Vec<_> = numbers
        .map(|spec| {
            let (min, max) = spec.form.bounds();
            prop::option::of((min..=max).prop_map(move |n| format!("{} = {n}\n", spec.name)))
        })
        .collect();
    let types = prop::collection::vec(prop::sample::select(&SyncDataType::ALL[..]), 0..4)
        .prop_map(|types| types.iter().map(|t| t.name()).collect::<Vec<_>>().join(" ,"));
    let maps = prop::collection::vec("[a-z0-9@_]{1,12}", 0..5).prop_map(|maps| maps.join(", "));
    let line = |key: &'static str, value: &'static str| {
        prop::option::of(value.prop_map(move |value: String| format!("{key} = {value}\n")))
    };
    let main_server = (
        line("pg_connection_string", "postgresql://[a-z]{1,8}:[!-~]{1,8}@db/[a-z]{1,5}"),
        prop::option::of("[a-z/. ]{1,20}[a-z]".prop_map(|path| {
            format!("tls_certificate_file = c{path}\ntls_private_key_file = k{path}\ntls_ca_file = a{path}\n")
        })),
        line("openai_api_key", "sk-[!-~]{1,20}"),
        line("openai_embedding_model", "[a-z0-9./:-]{1,20}"),
        line(
            "openai_endpoint",
            "(https://[a-z]{1,9}|http://127\\.0\\.0\\.1)(:[1-9][0-9]{0,3})?(/[a-z]{1,5})?",
        ),
        prop::option::of(Just(String::from(
            "azure_openai_endpoint = https://x.example\nazure_openai_key = k\nuse_azure_openai = 1\n",
        ))),
    );
    let both =
        (line("redis_password", "[!-~]([ -~]{0,12}[!-~])?"), any::<bool>(), any::<bool>(), any::<bool>());
    (any::<bool>(), numbers, types, maps, main_server, both).prop_map(
        |(is_host, numbers, types, maps, provider, (password, accepted, legacy, debug))| {
            let mut text = minimal(if is_host { Role::Host } else { Role::MainServer });
            numbers.into_iter().flatten().chain(password).for_each(|line| text += &line);
            text += &format!("# list\ncritical_data_types = {types}\n\n  vector_eligible_maps={maps}\n");
            if !is_host {
                let (a, b, c, d, e, f) = provider;
                [a, b, c, d, e, f].into_iter().flatten().for_each(|line| text += &line);
            }
            if accepted {
                let kind = if is_host { "p2p-host:old:7" } else { "p2p-master:old" };
                text += &format!("encryption_keys_accepted = {kind}:{OTHER_MATERIAL}\n");
            }
            if legacy {
                text += &format!("legacy_encryption_key = {MATERIAL}\nallow_legacy_envelope = 1\n");
            }
            text + &format!("debug_mode = {}", u8::from(debug))
        },
    )
}

fn key_names(which: impl Fn(&keys::KeySpec) -> bool) -> Vec<&'static str> {
    keys::ALL.into_iter().filter(|spec| which(spec)).map(|spec| spec.name).collect()
}

fn minimal(role: Role) -> String {
    match role {
        Role::Host => format!(
            "role = host\nmain_server_endpoint = https://sync.example.com/p2p-sync\n\
             encryption_key = p2p-host:example:7:{MATERIAL}\n"
        ),
        Role::MainServer => format!("role = main_server\nencryption_key = p2p-master:example:{MATERIAL}\n"),
    }
}

/// The smallest file of a role in which one key has another value.
fn with(role: Role, key: &str, value: &str) -> String {
    let other: String = minimal(role)
        .lines()
        .filter(|line| !line.starts_with(&format!("{key} =")))
        .map(|line| format!("{line}\n"))
        .collect();
    format!("{other}{key} = {value}\n")
}

fn parse(text: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    Config::parse("test.conf", text.as_bytes())
}

fn findings(bytes: &[u8]) -> Vec<Diagnostic> {
    Config::parse("test.conf", bytes).map_or_else(|errors| errors, |(_, warnings)| warnings)
}

fn shown(findings: &[Diagnostic]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect::<Vec<_>>().join("\n")
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(root().join("fixtures/conf").join(name)).expect(name)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Compares with the committed file, or writes it when the variable is set.
#[allow(clippy::disallowed_methods, reason = "a test may ask whether it is to write what it compares with")]
fn compare(path: &Path, text: &str, variable: &str) {
    if std::env::var(variable).is_ok_and(|value| value == "1") {
        fs::write(path, text).expect("the file can be written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let name = path.display();
    assert!(
        committed == text,
        "{name} is out of date; run `{variable}=1 cargo test -p sync-core --test it config`\n\
         --- committed\n{committed}\n--- now\n{text}"
    );
}
