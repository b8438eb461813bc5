//! Hunting for planted defects: seed after seed until a check catches one.

use super::{Entry, misfit};
use crate::plan::Plan;
use crate::run::{Summary, Threshold, run};
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
    /// Properties that the core without the defect failed at the same seeds, and bounds of the scenario that it did not
    /// keep; there must be none.
    pub healthy_findings: Vec<String>,
    /// Properties expected to catch it that came to no verdict with the core without the defect, and why; there must be
    /// none, or its silence would mean nothing.
    pub not_reached: Vec<String>,
}

/// What the core without the defect came to at the seeds of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthy {
    /// See [`Hunt::healthy_findings`].
    pub findings: Vec<String>,
    /// See [`Hunt::not_reached`].
    pub not_reached: Vec<String>,
}

impl Healthy {
    fn look(&mut self, entry: &Entry, seed: u64, summary: &Summary) {
        self.findings.extend(failed(summary).map(|(id, what)| format!("seed {seed}: {id}: {what}")));
        let exceeded = summary.thresholds.iter().filter(|bound| bound.verdict != Verdict::Pass);
        self.findings.extend(exceeded.map(|Threshold { figure, bound, actual, .. }| {
            format!("seed {seed}: bound on {figure}: {actual}, stated is {bound}")
        }));
        for id in entry.breaks {
            let judged = summary.properties.iter().find(|judgement| judgement.property == *id);
            match judged {
                Some(judgement) if judgement.verdict != Verdict::Unknown => {}
                Some(judgement) => self.not_reached.push(format!("seed {seed}: {id}: {}", judgement.basis)),
                None => self.not_reached.push(format!("seed {seed}: {id}: the scenario does not demand it")),
            }
        }
    }
}

impl Hunt {
    /// Takes in what the core without the defect came to.
    pub fn beside(&mut self, healthy: Healthy) {
        self.healthy_findings.extend(healthy.findings);
        self.not_reached.extend(healthy.not_reached);
    }

    /// Caught within the budget by one of the properties expected, while the healthy core was judged and silent, and with few
    /// actions where the catch was shrunk.
    pub fn verdict(&self) -> Verdict {
        let small = match (self.shrunk_to, shrinks_to_max(self.number)) {
            (Some(actions), Some(max)) => actions <= max,
            _ => true,
        };
        let silent = self.healthy_findings.is_empty() && self.not_reached.is_empty();
        if self.caught_at_seed.is_some() && silent && small { Verdict::Pass } else { Verdict::Fail }
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
        not_reached: Vec::new(),
    };
    let mut beside = Healthy::default();
    debug_assert_eq!(misfit(entry.number, &scenario), None);
    for seed in first_seed..first_seed.saturating_add(seeds_max.min(entry.seeds_max)) {
        hunt.seeds += 1;
        let healthy = Plan::new(&scenario, seed);
        let sound = run(&healthy).summary;
        beside.look(entry, seed, &sound);
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
    hunt.beside(beside);
    Ok(hunt)
}

/// The properties that failed, demanded or not, each with its first finding.
pub fn failed(summary: &Summary) -> impl Iterator<Item = (String, String)> + '_ {
    summary.properties.iter().filter(|judgement| judgement.verdict == Verdict::Fail).map(|judgement| {
        let finding = judgement.findings.first().map(|finding| finding.message.clone());
        (judgement.property.clone(), finding.unwrap_or_default())
    })
}

/// Runs the healthy core over many seeds of an entry's scenario: it is expected to be silent where the entry is caught.
pub fn healthy(entry: &Entry, first_seed: u64, seeds: u64) -> Result<Healthy, String> {
    let mut scenario = scenario(entry)?;
    scenario.history = HistoryMode::None;
    let mut healthy = Healthy::default();
    for seed in first_seed..first_seed.saturating_add(seeds) {
        healthy.look(entry, seed, &run(&Plan::new(&scenario, seed)).summary);
    }
    Ok(healthy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo::entry;

    /// What a hunt for this entry comes to with another scenario.
    fn hunted(number: u32, from: &str, to: &str) -> Hunt {
        let entry = entry(number).unwrap();
        assert!(entry.scenario.contains(from), "zoo {number}: {}", entry.scenario);
        let text: &'static str = Box::leak(entry.scenario.replace(from, to).into_boxed_str());
        hunt(&Entry { scenario: text, ..*entry }, 1, 1).unwrap()
    }

    #[test]
    fn a_healthy_core_that_exceeds_a_bound_is_not_silent() {
        assert_eq!(hunted(57, "100% }", "100% }").verdict(), Verdict::Pass);
        let found = hunted(57, "100% }", "100%, at_most: { critical_p50: 1us } }");
        assert_eq!(found.caught_at_seed, Some(1));
        assert_eq!(found.verdict(), Verdict::Fail);
        assert!(found.healthy_findings[0].contains("bound on"), "{found:?}");
    }

    #[test]
    fn a_property_that_comes_to_no_verdict_is_not_reached() {
        // Nobody is left behind, so nothing comes under a retired key.
        let found = hunted(57, "{ left_behind: { only: [3] } }", "{}");
        assert_eq!((found.verdict(), found.not_reached.len()), (Verdict::Fail, 1), "{found:?}");
        assert!(found.not_reached[0].contains("P28: 0 messages under a retired key"), "{found:?}");
        // Each transaction is one operation.
        let found = hunted(34, "batches_in_flight_max: 1", "batches_in_flight_max: 1, batch_max: 1");
        assert!(found.not_reached[0].contains("P16: 0 transactions of two or more"), "{found:?}");
        let found = hunted(34, "[P16]", "[P5]");
        assert!(found.not_reached[0].contains("does not demand it"), "{found:?}");
    }
}
