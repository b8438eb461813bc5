//! One scenario under many seeds, on several threads.
//!
//! A run follows from its plan alone, so neither the number of threads nor which of them took which seed shows in
//! what comes of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::own_resolvers::OwnResolvers;
use crate::plan::Plan;
use crate::run::{RunResult, Summary, run_with};
use crate::scenario::Scenario;
use crate::verdict::Verdict;

/// Which seeds, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The first seed.
    pub first: u64,
    /// How many; the last one must be a number of 64 bits.
    pub count: u64,
    /// The planted defect, if any.
    pub defect: Option<u32>,
    /// Threads, at least 1.
    pub threads: usize,
    /// Whether every seed runs twice, and every byte is compared.
    pub twice: bool,
}

/// What came of one seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// The worst of what is demanded.
    pub verdict: Verdict,
    /// Why it did not pass, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// [`PeerFigures::interleaving`](crate::peer_figures::PeerFigures::interleaving); none for a run of hosts.
    #[serde(skip)]
    pub interleaving: Option<String>,
    /// Whether a second run gave other bytes: then the simulator itself is at fault.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub differed: bool,
}

/// What came of a scenario under many seeds.
pub struct Seeds {
    /// The scenario's name.
    pub scenario: String,
    /// By seed, ascending.
    pub runs: Vec<SeedRun>,
    /// The first run with the worst verdict, unless all passed.
    pub worst: Option<Box<(Plan, RunResult)>>,
}

impl Seeds {
    /// Runs a scenario with these resolvers under every seed of the sweep, in the virtual rig.
    ///
    /// # Panics
    /// When a run does, as any other defect of the simulator.
    pub fn run(scenario: &Scenario, own: &OwnResolvers, sweep: Sweep) -> Self {
        let next = AtomicU64::new(0);
        let work = || {
            let mut done = Done::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sweep.count {
                    return done;
                }
                let seed = sweep.first.saturating_add(number);
                let plan = Plan { defect: sweep.defect, ..Plan::new(scenario, seed) };
                let result = run_with(&plan, own);
                let differed = sweep.twice && !result.is_same_as(&run_with(&plan, own));
                done.take(plan, result, differed);
            }
        };
        let mut all = Done::default();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..sweep.threads.max(1)).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                match thread.join() {
                    Ok(done) => all.join(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        all.runs.sort_unstable_by_key(|run| run.seed);
        Self { scenario: scenario.name.clone(), runs: all.runs, worst: all.worst }
    }

    /// The worst verdict; a run that differed from itself failed.
    pub fn verdict(&self) -> Verdict {
        self.runs.iter().map(|run| run.verdict).fold(Verdict::Pass, Verdict::and)
    }

    /// Runs with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.runs.iter().filter(|run| run.verdict == verdict).count()
    }

    /// Courses that the runs took, see [`SeedRun::interleaving`]; none for a scenario of hosts.
    pub fn interleavings(&self) -> Option<usize> {
        let distinct: BTreeSet<_> = self.runs.iter().filter_map(|run| run.interleaving.as_ref()).collect();
        Some(distinct.len()).filter(|count| *count > 0)
    }

    /// Those that did not pass.
    pub fn failures(&self) -> impl Iterator<Item = &SeedRun> {
        self.runs.iter().filter(|run| run.verdict != Verdict::Pass)
    }
}

/// What one thread has done.
#[derive(Default)]
struct Done {
    runs: Vec<SeedRun>,
    worst: Option<Box<(Plan, RunResult)>>,
}

impl Done {
    fn take(&mut self, plan: Plan, mut result: RunResult, differed: bool) {
        if differed {
            result.summary.verdict = Verdict::Fail;
        }
        let Summary { seed, verdict, peers, .. } = &result.summary;
        self.runs.push(SeedRun {
            seed: *seed,
            verdict: *verdict,
            why: (*verdict != Verdict::Pass).then(|| why(&result.summary, differed)),
            interleaving: peers.as_ref().map(|peers| peers.interleaving.clone()),
            differed,
        });
        if *verdict != Verdict::Pass {
            self.join(Self { runs: Vec::new(), worst: Some(Box::new((plan, result))) });
        }
    }

    fn join(&mut self, other: Self) {
        self.runs.extend(other.runs);
        let rank = |worst: &(Plan, RunResult)| (worst.1.summary.verdict, std::cmp::Reverse(worst.0.seed));
        if let Some(worst) = other.worst
            && self.worst.as_ref().is_none_or(|known| rank(known) < rank(&worst))
        {
            self.worst = Some(worst);
        }
    }
}

/// The first of what is worst in a run.
fn why(summary: &Summary, differed: bool) -> String {
    if differed {
        return "a second run did not give the same bytes: the simulator itself is at fault".to_owned();
    }
    let property = summary
        .properties
        .iter()
        .find(|judgement| judgement.demanded && judgement.verdict == summary.verdict)
        .map(|judgement| {
            let finding = judgement.findings.first().map(|finding| finding.message.as_str());
            format!("{}: {}", judgement.property, finding.unwrap_or(&judgement.basis))
        });
    let threshold = || {
        let threshold = summary.thresholds.iter().find(|threshold| threshold.verdict == summary.verdict)?;
        Some(format!("{}: {}, {}", threshold.figure, threshold.actual, threshold.bound))
    };
    property.or_else(threshold).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = "
name: small
about: Two peers write.
duration: 5s
peers: { count: 2, sync_interval: 1s, rows: { users: 4 } }
transactions:
  - { name: writers, arrivals: { poisson: 3/s }, mix: [{ do: put, table: users, rows: 4 }] }
expect: { properties: [P1] }
history: none
";

    fn sweep(text: &str, threads: usize) -> Seeds {
        let scenario = Scenario::parse("small.yaml", text.as_bytes()).unwrap();
        let own = OwnResolvers::default();
        Seeds::run(&scenario, &own, Sweep { first: 3, count: 6, defect: None, threads, twice: true })
    }

    #[test]
    fn threads_do_not_show() {
        let (one, three) = (sweep(SCENARIO, 1), sweep(SCENARIO, 3));
        assert_eq!(one.runs, three.runs);
        assert_eq!(one.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
        assert_eq!(
            (one.verdict(), one.count(Verdict::Pass), one.interleavings()),
            (Verdict::Pass, 6, Some(6))
        );
        assert!(one.worst.is_none() && one.failures().next().is_none());
    }

    #[test]
    fn the_first_of_the_worst_is_kept() {
        // Nobody reaches anybody.
        let cut =
            "faults: [{ at: 0s, inject: { peers: { degrade: { peers: all, loss: 100% } } } }]\nsettle: 1s\n";
        let seeds = sweep(&format!("{SCENARIO}{cut}").replace("[P1]", "[P1, P18], copies_max: 1x"), 2);
        assert_ne!(seeds.verdict(), Verdict::Pass);
        let first = seeds.failures().find(|run| run.verdict == seeds.verdict()).unwrap();
        assert_eq!(seeds.worst.as_ref().unwrap().0.seed, first.seed);
        assert!(first.why.as_ref().is_some_and(|why| why.contains(": ")), "{first:?}");
    }
}
