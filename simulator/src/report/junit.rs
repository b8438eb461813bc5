//! JUnit XML, as the test pages of GitLab, GitHub and Jenkins read it.
//!
//! A scenario is a suite; each property that it demands and each threshold is a case. Cases of
//! different seeds differ in their class, `<scenario>.seed-<seed>`, because the servers know a case
//! by class and name. A violation is a failure. A verdict of unknown is an error: the run could not
//! decide, its exit code is 3, and a page that shows it as skipped would look green. Skipped is what a scenario itself
//! says is not for this rig. What the
//! scenario does not demand is no case. Of many seeds each is a case. There are no times: the same run gives the same bytes.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::facts;
use crate::run::{Summary, Threshold, Undecided};
use crate::seeds::Seeds;
use crate::verdict::{Judgement, Verdict};

/// The XML of some runs, each with the command that repeats it; a missing command is left out.
pub fn render(summaries: &[Summary], repeat: &[String]) -> String {
    render_with(summaries, &[], [], repeat)
}

/// The same with runs that came to no result, whose commands follow those of the others, and with scenarios that are for
/// another rig, with the reason: these are skipped.
pub fn render_with<'a>(
    summaries: &[Summary],
    undecided: &[Undecided],
    skipped: impl IntoIterator<Item = (&'a str, &'a str)>,
    repeat: &[String],
) -> String {
    let repeat = |number: usize| repeat.get(number).map_or("", String::as_str);
    let mut suites: Vec<TestSuite> = Vec::new();
    let mut add = |scenario: &str, cases: Vec<TestCase>| {
        let place = suites.iter().position(|suite| suite.name.as_str() == scenario);
        let place = place.unwrap_or_else(|| {
            suites.push(TestSuite::new(scenario));
            suites.len() - 1
        });
        suites[place].add_test_cases(cases);
    };
    for (number, summary) in summaries.iter().enumerate() {
        add(&summary.scenario, cases(summary, repeat(number)));
    }
    for (number, undecided) in undecided.iter().enumerate() {
        add(&undecided.scenario, vec![came_to_none(undecided, repeat(summaries.len() + number))]);
    }
    for (scenario, why) in skipped {
        let mut status = TestCaseStatus::skipped();
        status.set_message(facts::plain(why));
        let mut case = TestCase::new("is for another rig", status);
        case.set_classname(scenario);
        add(scenario, vec![case]);
    }
    let mut report = Report::new("p2psim");
    report.add_test_suites(suites);
    // Writing to memory does not fail.
    report.to_string().unwrap_or_else(|error| unreachable!("{error}"))
}

/// The XML of scenarios under many seeds: a case for each seed, with the command that repeats it.
pub fn render_seeds(all: &[(&Seeds, Vec<String>)]) -> String {
    let mut report = Report::new("p2psim");
    for (seeds, repeats) in all {
        let mut suite = TestSuite::new(seeds.scenario.as_str());
        for (run, repeat) in seeds.runs.iter().zip(repeats) {
            let (why, details) = (run.why.clone().unwrap_or_default(), format!("repeat: {repeat}\n"));
            let status = match run.verdict {
                Verdict::Pass => TestCaseStatus::success(),
                Verdict::Fail => trouble(NonSuccessKind::Failure, "violated", why, details),
                Verdict::Unknown => trouble(NonSuccessKind::Error, "unknown", why, details),
            };
            let mut case = TestCase::new(format!("seed {}", run.seed), status);
            case.set_classname(seeds.scenario.as_str());
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    // Writing to memory does not fail.
    report.to_string().unwrap_or_else(|error| unreachable!("{error}"))
}

fn came_to_none(undecided: &Undecided, repeat: &str) -> TestCase {
    let Undecided { scenario, seed, rig, defect, why, .. } = undecided;
    let details = if repeat.is_empty() { String::new() } else { format!("repeat: {repeat}\n") };
    let status = trouble(NonSuccessKind::Error, "unknown", why.clone(), details);
    let mut case = TestCase::new(format!("came to a result in the {rig} rig"), status);
    case.set_classname(class(scenario, *seed, *defect));
    case
}

fn class(scenario: &str, seed: u64, defect: Option<u32>) -> String {
    let defect = defect.map(|number| format!("-defect-{number}")).unwrap_or_default();
    format!("{scenario}.seed-{seed}{defect}")
}

fn cases(summary: &Summary, repeat: &str) -> Vec<TestCase> {
    let class = class(&summary.scenario, summary.seed, summary.defect);
    let case = |name: String, verdict: Verdict, message: String, details: String| {
        let details = if repeat.is_empty() { details } else { format!("{details}repeat: {repeat}\n") };
        let status = match verdict {
            Verdict::Pass => TestCaseStatus::success(),
            Verdict::Fail => trouble(NonSuccessKind::Failure, "violated", message, details),
            Verdict::Unknown => trouble(NonSuccessKind::Error, "unknown", message, details),
        };
        let mut case = TestCase::new(name, status);
        case.set_classname(class.as_str());
        case
    };
    let properties = summary.properties.iter().filter(|judgement| judgement.demanded).map(|judgement| {
        case(
            facts::property(summary.peers.is_some(), judgement),
            judgement.verdict,
            message(judgement),
            details(judgement),
        )
    });
    let thresholds = summary.thresholds.iter().map(|threshold| {
        let Threshold { figure, bound, actual, verdict } = threshold;
        case(format!("threshold: {figure}"), *verdict, format!("{actual}, {bound}"), String::new())
    });
    properties.chain(thresholds).collect()
}

fn trouble(kind: NonSuccessKind, what: &str, message: String, details: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(what).set_message(facts::plain(&message)).set_description(details);
    status
}

/// One line: the first finding, or why it is unknown.
fn message(judgement: &Judgement) -> String {
    let first = judgement.findings.first().map(|finding| finding.message.clone());
    first.unwrap_or_else(|| judgement.basis.clone())
}

fn details(judgement: &Judgement) -> String {
    let count = judgement.violations;
    let mut out = format!("{}; {count} violation{}\n", judgement.basis, if count == 1 { "" } else { "s" });
    for finding in &judgement.findings {
        let op = finding.op.map(|op| format!(", operation {op}")).unwrap_or_default();
        out += &format!("at {}{op}: {}\n", facts::moment(finding.at_us), finding.message);
    }
    out
}
