//! Laws of the scenario reader: it never panics, its errors lie within the file, and its canonical text
//! reads back as the same scenario.

use proptest::prelude::*;
use simulator::scenario::{Scenario, TEMPLATES, template};
use sync_core::diagnostic::Severity;

/// Reads the bytes; what is refused has an error, and each place lies within the file.
fn read(bytes: &[u8], sets: &[String]) -> Result<(), TestCaseError> {
    let Err(diagnostics) = Scenario::parse_with("x.yaml", bytes, sets) else { return Ok(()) };
    prop_assert!(diagnostics.iter().any(|d| d.severity == Severity::Error));
    let text = String::from_utf8_lossy(bytes);
    for diagnostic in &diagnostics {
        prop_assert!(!diagnostic.message.is_empty());
        prop_assert!(diagnostic.help.as_ref().is_some_and(|h| !h.is_empty()), "no remedy: {diagnostic}");
        if diagnostic.file == "x.yaml" {
            prop_assert!(diagnostic.line <= text.lines().count().max(1), "{diagnostic}");
            let line = text.lines().nth(diagnostic.line.saturating_sub(1)).unwrap_or("");
            prop_assert!(diagnostic.column <= line.chars().count().max(1), "{diagnostic}");
        }
        prop_assert!(diagnostic.to_string().starts_with("error: "));
    }
    Ok(())
}

fn templates() -> impl Strategy<Value = &'static str> {
    prop::sample::select(TEMPLATES.iter().filter_map(|(kind, _)| template(kind)).collect::<Vec<_>>())
}

#[derive(Clone, Debug)]
enum Mutation {
    Delete(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Replace(prop::sample::Index, u8),
    Swap(prop::sample::Index, prop::sample::Index),
    Indent(prop::sample::Index, usize),
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    let pieces = prop::sample::select(vec![
        ":", ": ", "- ", "[", "]", "{", "}", "\"", "'", "&a ", "*a", "!", "\t", "\n", "---\n", "|", ">", "#",
        "%", "20", "-1", "é", "\r", "\u{2028}", "\u{feff}", "<<: ", "? ", "null", "~", ",", "\\",
    ]);
    prop_oneof![
        (index(), 1..20_usize).prop_map(|(at, count)| Mutation::Delete(at, count)),
        (index(), pieces).prop_map(|(at, piece)| Mutation::Insert(at, piece.to_owned())),
        (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (index(), index()).prop_map(|(a, b)| Mutation::Swap(a, b)),
        (index(), 0..6_usize).prop_map(|(at, spaces)| Mutation::Indent(at, spaces)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    match mutation {
        Mutation::Delete(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..(at + count).min(bytes.len()));
        }
        Mutation::Insert(at, piece) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece.bytes());
        }
        Mutation::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Mutation::Swap(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
            *bytes = lines.join(&b'\n');
        }
        Mutation::Indent(at, spaces) => {
            let at = at.index(lines.len());
            lines[at].splice(0..0, std::iter::repeat_n(b' ', *spaces));
            *bytes = lines.join(&b'\n');
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes, &[])?;
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[\\-a-z0-9:\\[\\]{},&*!|>'\"%@`#?~ \t\r\n\u{85}é]{0,200}") {
        read(text.as_bytes(), &[])?;
    }

    #[test]
    fn a_mutated_scenario_is_taken_or_explained(
        text in templates(),
        mutations in prop::collection::vec(mutations(), 1..8),
    ) {
        let mut bytes = text.as_bytes().to_vec();
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        read(&bytes, &[])?;
    }

    #[test]
    fn any_setting_is_taken_or_explained(
        text in templates(),
        path in "(network|faults|workload|duration|x)?([.\\[]{0,2}(to_host|at|0|1|mix|latency)\\]?){0,3}",
        value in "=?[a-z0-9:\\[\\]{},&*!'\"%/ \n-]{0,12}",
    ) {
        read(text.as_bytes(), &[format!("{path}{value}")])?;
    }

    #[test]
    fn any_sentence_survives_the_canonical_text(about in any::<String>()) {
        let mut scenario = Scenario::parse("x", template("host").unwrap().as_bytes()).unwrap();
        scenario.about = format!("{about}.");
        prop_assert_eq!(Scenario::parse("canonical", scenario.to_yaml().as_bytes()), Ok(scenario));
    }

    #[test]
    fn the_canonical_text_reads_back(
        (text, sets) in templates().prop_flat_map(|text| {
            let of_peers = text.contains("\npeers:");
            let setting = if of_peers { settings_of_peers().boxed() } else { settings().boxed() };
            (Just(text), prop::collection::vec(setting, 0..12))
        }),
    ) {
        let scenario = Scenario::parse_with("x", text.as_bytes(), &sets).map_err(|diagnostics| {
            TestCaseError::fail(diagnostics.iter().map(|d| format!("{d}\n")).collect::<String>())
        })?;
        let yaml = scenario.to_yaml();
        let again = Scenario::parse("canonical", yaml.as_bytes());
        prop_assert_eq!(again.as_ref(), Ok(&scenario), "{}", yaml);
        prop_assert_eq!(again.unwrap().to_yaml(), yaml);
    }
}

/// Settings that are valid for the starter scenario among peers.
fn settings_of_peers() -> impl Strategy<Value = String> {
    let us = 1..3_000_000_u64;
    prop_oneof![
        us.clone().prop_map(|us| format!("peers.network.latency.constant={us}us")),
        us.clone().prop_map(|us| format!("transactions[0].from={us}us")),
        us.prop_map(|us| format!("expect.converge_within={us}us")),
        (0..=1_000_000_u32).prop_map(|ppm| format!(
            "peers.network.loss={}.{:04}%",
            ppm / 10_000,
            ppm % 10_000
        )),
        prop::sample::select(vec!["full", "failing_keys", "none"]).prop_map(|mode| format!("history={mode}")),
        prop::sample::select(vec!["all", "{first: 2}", "{only: [2, 0]}"])
            .prop_map(|peers| format!("transactions[0].peers={peers}")),
    ]
}

/// Settings that are valid for every starter scenario of hosts, one for each shape of value.
fn settings() -> impl Strategy<Value = String> {
    let us = 1..3_000_000_u64;
    prop_oneof![
        us.clone().prop_map(|us| format!("network.to_host.latency.constant={us}us")),
        us.clone().prop_map(|us| format!("database.latency.uniform={{min: {us}us, max: 1h}}")),
        us.clone().prop_map(|us| format!("cache.latency.exponential.mean={us}us")),
        us.clone().prop_map(|us| format!("workload[0].from={us}us")),
        us.clone().prop_map(|us| format!("hosts.critical_timeout={}us", us + 1_000)),
        us.clone().prop_map(|us| format!("expect.at_most.normal_p999={us}us")),
        us.prop_map(|us| format!(
            "faults=[{{at: {us}us, for: 1.5s, inject: {{clock_step: {{by: -{us}us, hosts: {{only: [1, 0]}}}}}}}}]"
        )),
        (0..=1_000_000_u32)
            .prop_map(|ppm| format!("network.to_server.tamper={}.{:04}%", ppm / 10_000, ppm % 10_000)),
        (1..=9_999_u32, prop::sample::select(vec!["s", "m", "h"]))
            .prop_map(|(n, unit)| format!("workload[0].arrivals.constant={n}.25/{unit}")),
        prop::sample::select(vec!["full", "failing_keys", "none"]).prop_map(|mode| format!("history={mode}")),
        prop::sample::select(vec!["{first: 3}", "all", "{only: [4, 2]}"])
            .prop_map(|hosts| format!("workload[0].hosts={hosts}")),
        prop::sample::select(vec![
            "{crash: main_server}",
            "{crash: {hosts: {first: 2}}}",
            "{crash: {hosts: all}}",
            "{partition: {direction: to_server}}",
            "{degrade: {latency: {constant: 1h}, loss: 0.0001%}}",
            "{cache: {failures: 100%}}",
        ])
        .prop_map(|inject| format!("faults=[{{at: 1s, inject: {inject}}}]")),
        "[ -~é\n]{1,60}".prop_map(|text| format!("about=\"{} x\"", text.escape_default())
            .replace("\\'", "'")
            .replace("\\u{e9}", "é")),
        "[a-z0-9-]{1,12}".prop_map(|name| format!("name=\"{name}\"")),
    ]
}

#[test]
fn text_that_looks_like_something_else_survives() {
    for about in [
        "null",
        "~",
        "true",
        "12",
        "1.5",
        "- x",
        "a: b",
        "#",
        "*a",
        "&a",
        "!x",
        "|",
        ">",
        "%",
        "@",
        " x ",
        "x\n",
        "\n\n x\ty\n",
        "\u{feff}x",
        "'",
        "\"",
        "---",
        "...",
        "[",
        "{",
    ] {
        let mut scenario = Scenario::parse("x", template("host").unwrap().as_bytes()).unwrap();
        scenario.about = about.to_owned();
        assert_eq!(Scenario::parse("canonical", scenario.to_yaml().as_bytes()), Ok(scenario));
    }
}

#[test]
fn bombs_are_refused_quickly() {
    let check = |bytes: &[u8]| assert!(Scenario::parse("bomb", bytes).is_err());
    check("[".repeat(1_000_000).as_bytes());
    check("- ".repeat(500_000).as_bytes());
    check("a: ".repeat(300_000).as_bytes());
    check(&vec![b'x'; 1024 * 1024]);
    check(&vec![b' '; 1024 * 1024 + 1]);
    check(format!("a: [{}]", "1,".repeat(500_000)).as_bytes());
    check(format!("a: {{{}}}", (0..100_000).map(|n| format!("k{n},")).collect::<String>()).as_bytes());
    check((0..60_000).map(|n| format!("k{n}: &a{n} [*a{}]\n", n.max(1) - 1)).collect::<String>().as_bytes());
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(500_000), "*a,".repeat(100_000));
    check(long.as_bytes());
    check(format!("history: {}", "x".repeat(1_000_000)).as_bytes());
}
