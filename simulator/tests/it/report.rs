//! The reports of one passing and one failing run are those in `fixtures/reports/`.
//!
//! `UPDATE_EXPECTED=1 cargo test -p simulator --test it report` writes them anew, after a change of the
//! reports or of the core.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use simulator::plan::Plan;
use simulator::report::{self, RunFolder, html, junit, text};
use simulator::run::{RunResult, run};
use simulator::scenario::Scenario;
use simulator::scenario::model::HistoryMode;
use simulator::verdict::Verdict;

#[test]
fn reports_are_as_expected() {
    let mut stale = Vec::new();
    for name in ["passing", "failing"] {
        let (_, result) = ran(name);
        let summary = &result.summary;
        let repeat = repeat(name);
        let options = text::Options { colour: false, real_seconds: Some(0.125) };
        let forms = [
            ("text", text::render(summary, &options)),
            ("junit.xml", junit::render(std::slice::from_ref(summary), std::slice::from_ref(&repeat))),
            ("html", html::render(summary, &result.latencies, &[], &repeat)),
        ];
        for (form, found) in forms {
            let path = fixtures().join(format!("{name}.{form}.expected"));
            if std::env::var_os("UPDATE_EXPECTED").is_some() {
                fs::write(&path, &found).unwrap();
            }
            if fs::read_to_string(&path).unwrap_or_default() != found {
                stale.push(format!("{name}.{form}:\n{found}"));
            }
        }
    }
    assert!(stale.is_empty(), "differs from the .expected file:\n\n{}", stale.join("\n"));
}

#[test]
fn the_terminal_has_a_hundred_columns() {
    for name in ["passing", "failing"] {
        let text = text::render(&ran(name).1.summary, &text::Options::default());
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

#[test]
fn what_was_sent_is_accounted_for() {
    for name in ["passing", "failing"] {
        let counts = ran(name).1.summary.counts;
        for lane in [counts.critical, counts.normal] {
            let ended = lane.completed + lane.rejected + lane.deadline_exceeded + lane.failed;
            let ended = ended + lane.superseded + lane.displaced + lane.shut_down + lane.refused;
            assert_eq!(lane.planned, lane.sent + lane.unsent, "{name}");
            assert_eq!(lane.sent, ended, "{name}");
        }
    }
}

#[test]
fn a_folder_is_whole_and_written_again_alike() {
    let root = Folder::new("whole");
    let (mut plan, mut result) = ran("failing");
    let folder = RunFolder::write(&root.0, &result, &plan, "again").unwrap();
    assert_eq!(folder, root.0.join("slow-database-seed7"));
    let first = files(&folder);
    assert_eq!(first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), NAMES);
    assert_eq!(Plan::parse("plan.txt", &first[3].1).unwrap(), plan);
    let summary: simulator::run::Summary = serde_json::from_slice(&first[5].1).unwrap();
    assert_eq!(summary, result.summary);

    fs::write(folder.join("notes"), "kept").unwrap();
    assert_eq!(RunFolder::write(&root.0, &result, &plan, "again").unwrap(), folder);
    assert_eq!(fs::read(folder.join("notes")).unwrap(), b"kept");
    fs::remove_file(folder.join("notes")).unwrap();
    assert_eq!(files(&folder), first);

    plan.world.history = HistoryMode::None;
    RunFolder::write(&root.0, &result, &plan, "again").unwrap();
    assert!(!folder.join(report::HISTORY).exists(), "stale history");

    result.summary.defect = Some(30);
    let folder = RunFolder::write(&root.0, &result, &plan, "again").unwrap();
    assert_eq!(folder, root.0.join("slow-database-seed7-defect30"));
}

#[test]
fn a_folder_that_could_not_be_written_has_no_summary() {
    let root = Folder::new("unfinished");
    let (plan, result) = ran("passing");
    let folder = RunFolder::write(&root.0, &result, &plan, "again").unwrap();
    fs::remove_file(folder.join(report::LATENCY)).unwrap();
    fs::create_dir_all(folder.join(report::LATENCY).join("in-the-way")).unwrap();
    RunFolder::write(&root.0, &result, &plan, "again").unwrap_err();
    assert!(!folder.join(report::SUMMARY).exists());
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let root = Folder::new("refused");
    let (plan, mut result) = ran("passing");
    for name in ["", "..", "a/b", "a\\b", "/etc", "A", "a b"] {
        result.summary.scenario = name.to_owned();
        let error = RunFolder::write(&root.0, &result, &plan, "again").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name}");
    }
    assert!(files(&root.0).is_empty());
}

/// Every element is closed, every attribute quoted and nothing unescaped.
#[test]
fn the_page_and_the_junit_file_are_well_formed() {
    let hostile = "<script>alert('&')</script> \"\u{1b}[31m\u{0}]]>";
    for name in ["passing", "failing"] {
        let (_, mut result) = ran(name);
        for about in [result.summary.about.clone(), hostile.to_owned()] {
            result.summary.about = about.clone();
            result.summary.rig = about.clone();
            result.summary.properties[0].basis = about.clone();
            for judgement in &mut result.summary.properties {
                judgement.findings.iter_mut().for_each(|finding| finding.message = about.clone());
            }
            result.summary.thresholds[0].figure = about;
            let page = html::render(&result.summary, &result.latencies, &[], hostile);
            assert!(!page.contains("<script"), "{page}");
            well_formed(&page);
            well_formed(&junit::render(&[result.summary.clone()], &[hostile.to_owned()]));
        }
    }
}

/// Unknown must not look like a pass, and what is not demanded is no case.
#[test]
fn junit_tells_failed_from_unknown_and_seeds_apart() {
    let (_, result) = ran("failing");
    let mut other = result.summary.clone();
    other.seed = 8;
    other.properties[0].verdict = Verdict::Unknown;
    other.properties[0].basis = "this rig cannot observe [Finished]".to_owned();
    let text = text::render(&other, &text::Options::default());
    assert!(text.contains("unknown   P5 no acknowledged write is lost: this rig cannot observe"), "{text}");
    let xml = junit::render(&[result.summary, other], &[]);
    let count = |what: &str| xml.matches(what).count();
    assert_eq!((count("<testsuite "), count("<testcase ")), (1, 14));
    assert_eq!((count("seed-7\""), count("seed-8\"")), (7, 7));
    assert_eq!((count("<failure "), count("<error ")), (6, 1));
    assert!(xml.contains("<error message=\"this rig cannot observe [Finished]\" type=\"unknown\">"), "{xml}");
    assert!(!xml.contains("P14") && !xml.contains("repeat:"), "{xml}");
}

#[test]
fn the_committed_schema_is_fresh_and_summaries_keep_to_it() {
    let path = fixtures().join("../../reports/schema.json");
    let fresh = report::schema::schema_json();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "reports/schema.json is stale: run this test with UPDATE_SCHEMA=1");
    let schema = jsonschema::validator_for(&serde_json::from_str(&committed).unwrap()).unwrap();
    for name in ["passing", "failing"] {
        let json = report::to_json(&ran(name).1.summary).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        schema.validate(&value).unwrap_or_else(|error| panic!("{name}: {error}"));
        value.as_object_mut().unwrap().remove("verdict");
        assert!(!schema.is_valid(&value), "a summary without verdict");
    }
}

/// A field that the legend does not explain is one that readers guess at.
#[test]
fn the_legend_names_every_field() {
    let legend = fs::read_to_string(fixtures().join("../../reports/README.md")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&report::schema::schema_json()).unwrap();
    let definitions = schema["$defs"].as_object().unwrap().values();
    let fields =
        std::iter::once(&schema).chain(definitions).filter_map(|part| part["properties"].as_object());
    let kinds = include_str!("../../src/history/what.rs");
    let events = kinds.split("pub enum What {").nth(1).unwrap().split("\n}").next().unwrap();
    let events = events.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split([' ', ',', '(']).next()?;
        name.starts_with(char::is_uppercase).then(|| snake(name))
    });
    for name in fields.flat_map(|part| part.keys().cloned()).chain(events).chain(NAMES.map(str::to_owned)) {
        assert!(legend.contains(&format!("`{name}`")), "reports/README.md does not explain `{name}`");
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn well_formed(xml: &str) {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut open = 0;
    loop {
        use quick_xml::events::Event;
        match reader.read_event().unwrap_or_else(|error| panic!("{error} in {xml}")) {
            Event::Start(element) => {
                open += 1;
                element.attributes().for_each(|attribute| assert!(attribute.is_ok(), "{attribute:?}"));
            }
            Event::Empty(element) => {
                element.attributes().for_each(|attribute| assert!(attribute.is_ok(), "{attribute:?}"));
            }
            Event::End(_) => open -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(open, 0, "{xml}");
}

const NAMES: [&str; 6] =
    ["history.jsonl", "junit.xml", "latency.hgrm", "plan.txt", "report.html", "summary.json"];

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/reports"))
}

fn ran(name: &str) -> (Plan, RunResult) {
    let file = format!("{name}.yaml");
    let bytes = fs::read(fixtures().join(&file)).unwrap();
    let scenario = Scenario::parse(&file, &bytes).unwrap_or_else(|found| panic!("{found:?}"));
    let plan = Plan::new(&scenario, 7);
    let result = run(&plan);
    (plan, result)
}

fn repeat(name: &str) -> String {
    format!("p2psim run fixtures/reports/{name}.yaml --seed 7")
}

/// The files of a folder by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// A folder of its own for one test, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
