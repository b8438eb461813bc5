//! docs/facade.md held against the code: every function of the facade has a row, every row a function, and the tests
//! that a row names are there and call it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/facade.md");
/// Every file of the facade.
const SOURCES: [&str; 6] = [
    include_str!("../../src/runtime/facade/mod.rs"),
    include_str!("../../src/runtime/facade/embeddings.rs"),
    include_str!("../../src/runtime/facade/entries.rs"),
    include_str!("../../src/runtime/facade/hosting.rs"),
    include_str!("../../src/runtime/facade/results.rs"),
    include_str!("../../src/runtime/facade/status.rs"),
];
const UPDATES: &str = include_str!("../../src/runtime/facade/updates.rs");
const TESTS: [&str; 3] = [
    include_str!("facade.rs"),
    include_str!("../live_support/facade.rs"),
    include_str!("../containers/facade.rs"),
];

/// The public functions of a type.
fn functions<'a>(source: &'a str, of: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in source.lines() {
        if line.starts_with("impl ") {
            inside = line.strip_suffix(" {").is_some_and(|head| head == format!("impl {of}"));
        }
        let begins =
            ["    pub fn ", "    pub async fn "].into_iter().find_map(|begin| line.strip_prefix(begin));
        if let Some(rest) = begins.filter(|_| inside) {
            found.push(rest.split(['(', '<']).next().unwrap());
        }
    }
    found
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The text of a test, or of what tests call.
fn body<'a>(tests: &[&'a str], name: &str) -> Option<&'a str> {
    tests.iter().find_map(|text| {
        let begin =
            [format!("fn {name}("), format!("fn {name}<")].into_iter().find_map(|head| text.find(&head))?;
        let rest = &text[begin..];
        Some(&rest[..rest.find("\n}\n").unwrap_or(rest.len())])
    })
}

/// What the document and the code say differently.
fn differences(document: &str) -> Vec<String> {
    let mut facade: BTreeSet<&str> =
        SOURCES.iter().flat_map(|source| functions(source, "P2pDataSync")).collect();
    facade.extend(functions(UPDATES, "CriticalUpdates"));
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    let rows = document.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [names, _, tests] = cells[..] else {
            found.push(format!("not three cells: {row}"));
            continue;
        };
        let named: Vec<_> = quoted(tests).filter(|word| !word.contains('.')).collect();
        found.extend(
            named.iter().filter(|name| body(&TESTS, name).is_none()).map(|name| format!("no test {name}")),
        );
        for name in quoted(names).map(|name| name.split('(').next().unwrap()) {
            if !facade.contains(name) {
                found.push(format!("no function {name}"));
            } else if !named
                .iter()
                .any(|test| body(&TESTS, test).is_some_and(|text| text.contains(&format!("{name}("))))
            {
                found.push(format!("no test that is named calls {name}"));
            }
            told.insert(name);
        }
    }
    found.extend(facade.difference(&told).map(|name| format!("no row for {name}")));
    found
}

#[test]
fn the_document_has_every_function_and_tests_that_call_it() {
    assert_eq!(differences(DOCUMENT), Vec::<String>::new());
}

#[test]
fn what_the_document_says_wrongly_is_found() {
    let check = |from: &str, to: &str, expected: &str| {
        let altered = DOCUMENT.replacen(from, to, 1);
        assert_ne!(altered, DOCUMENT, "{from}");
        let found = differences(&altered);
        assert!(found.iter().any(|difference| difference == expected), "{expected}: {found:?}");
    };
    let row = DOCUMENT.lines().find(|line| line.starts_with("| `get_status()`")).unwrap();
    check(&format!("{row}\n"), "", "no row for get_status");
    check("`get_status()`", "`get_state()`", "no function get_state");
    check("`a_cache_that_is_away_is_told`", "`a_cache_is_away`", "no test a_cache_is_away");
    let report = "`facade.rs`: `a_host_reports_at_its_interval_and_learns_its_parts` |\n";
    check(
        report,
        "`facade.rs`: `texts_are_embedded_and_found_again` |\n",
        "no test that is named calls report",
    );
}
