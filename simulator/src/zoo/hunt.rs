//! Hunting for planted defects: seed after seed until a check catches one.

use super::{Entry, misfit};
use crate::plan::Plan;
use crate::run::{Summary, run};
use crate::scenario::Scenario;
use crate::scenario::model::HistoryMode;
use crate::shrink::{RUNS_MAX, Shrunk, shrink};
use crate::verdict::Verdict;

/// What came of the hunt for one entry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hunt {
    /// The entry's number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// The first seed that caught it.
    pub caught_at_seed: Option<u64>,
    /// Seeds tried.
    pub seeds: u64,
    /// Of those, at how many the run came to something else than with the healthy core: the defect was triggered.
    pub triggered: u64,
    /// Properties that failed at that seed.
    pub caught_by: Vec<String>,
    /// The first finding, in words.
    pub finding: Option<String>,
    /// Actions of the shrunk plan that still shows the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrunk_to: Option<usize>,
    /// Properties that the core without the defect failed at the same seeds; there must be none.
    pub healthy_findings: Vec<String>,
}

impl Hunt {
    /// Caught within the budget by one of the properties expected, while the healthy core was silent, and with few
    /// actions where the catch was shrunk.
    pub fn verdict(&self) -> Verdict {
        let small = match (self.shrunk_to, shrinks_to_max(self.number)) {
            (Some(actions), Some(max)) => actions <= max,
            _ => true,
        };
        if self.caught_at_seed.is_some() && self.healthy_findings.is_empty() && small {
            Verdict::Pass
        } else {
            Verdict::Fail
        }
    }
}

/// The entry's scenario.
pub fn scenario(entry: &Entry) -> Result<Scenario, String> {
    let name = format!("zoo entry {}", entry.number);
    Scenario::parse(&name, entry.scenario.as_bytes())
        .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// How many actions may be needed to show an entry, generator lines written out; `None` where it takes overload.
pub const fn shrinks_to_max(number: u32) -> Option<usize> {
    match number {
        36 | 40 | 42 => None,
        _ => Some(10),
    }
}

/// Shrinks what caught an entry, and keeps the number of actions that are left.
pub fn shrink_catch(entry: &Entry, hunt: &mut Hunt) -> Result<Option<Shrunk>, String> {
    let (Some(seed), Some(property)) = (hunt.caught_at_seed, hunt.caught_by.first()) else { return Ok(None) };
    let plan = Plan { defect: Some(entry.number), ..Plan::new(&scenario(entry)?, seed) };
    let shrunk = shrink(&plan, Some(property), RUNS_MAX).map_err(|error| error.to_string())?;
    hunt.shrunk_to = Some(shrunk.plan.actions.len());
    Ok(Some(shrunk))
}

/// Hunts for an entry from `first_seed` on, and runs the healthy core at each seed beside it.
pub fn hunt(entry: &Entry, first_seed: u64, seeds_max: u64) -> Result<Hunt, String> {
    let mut scenario = scenario(entry)?;
    scenario.history = HistoryMode::None;
    let mut hunt = Hunt {
        number: entry.number,
        name: entry.name.to_owned(),
        caught_at_seed: None,
        seeds: 0,
        triggered: 0,
        caught_by: Vec::new(),
        finding: None,
        shrunk_to: None,
        healthy_findings: Vec::new(),
    };
    debug_assert_eq!(misfit(entry.number, &scenario), None);
    for seed in first_seed..first_seed.saturating_add(seeds_max.min(entry.seeds_max)) {
        hunt.seeds += 1;
        let healthy = Plan::new(&scenario, seed);
        let sound = run(&healthy).summary;
        hunt.healthy_findings.extend(failed(&sound).map(|(id, what)| format!("seed {seed}: {id}: {what}")));
        let summary = run(&Plan { defect: Some(entry.number), ..healthy }).summary;
        hunt.triggered += u64::from(Summary { defect: None, ..summary.clone() } != sound);
        let mut caught: Vec<_> =
            failed(&summary).filter(|(id, _)| entry.breaks.contains(&id.as_str())).collect();
        // The one that says most about the defect first.
        caught.sort_by_key(|(id, _)| entry.breaks.iter().position(|property| property == id));
        if let Some((_, finding)) = caught.first() {
            hunt.caught_at_seed = Some(seed);
            hunt.finding = Some(finding.clone());
            hunt.caught_by = caught.into_iter().map(|(id, _)| id).collect();
            break;
        }
    }
    Ok(hunt)
}

/// The properties that failed, demanded or not, each with its first finding.
pub fn failed(summary: &Summary) -> impl Iterator<Item = (String, String)> + '_ {
    summary.properties.iter().filter(|judgement| judgement.verdict == Verdict::Fail).map(|judgement| {
        let finding = judgement.findings.first().map(|finding| finding.message.clone());
        (judgement.property.clone(), finding.unwrap_or_default())
    })
}

/// Runs the healthy core over many seeds of an entry's scenario and gives its findings: none is expected.
pub fn healthy(entry: &Entry, first_seed: u64, seeds: u64) -> Result<Vec<String>, String> {
    let mut scenario = scenario(entry)?;
    scenario.history = HistoryMode::None;
    let mut findings = Vec::new();
    for seed in first_seed..first_seed.saturating_add(seeds) {
        let summary = run(&Plan::new(&scenario, seed)).summary;
        findings.extend(failed(&summary).map(|(id, what)| format!("seed {seed}: {id}: {what}")));
        if summary.counts.open > 0 {
            findings.push(format!("seed {seed}: {} operations did not end", summary.counts.open));
        }
    }
    Ok(findings)
}
