//! `p2psim run --seeds`: each scenario under many seeds, a line for each.

use serde::Serialize;

use super::files::Found;
use super::only::Skipped;
use super::run::{Arguments, repeat_command};
use super::stopwatch::Stopwatch;
use super::{Format, INVALID, complain, program, say};
use crate::own_resolvers::OwnResolvers;
use crate::plan::Plan;
use crate::report::{self, RunFolder};
use crate::seeds::{SeedRun, Seeds, Sweep};
use crate::verdict::Verdict;
use crate::virtual_rig;

/// One scenario's line, for programs.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    verdict: Verdict,
    first_seed: u64,
    seeds: usize,
    passed: usize,
    failed: usize,
    unknown: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    interleavings: Option<usize>,
    failures: Vec<&'a SeedRun>,
}

/// Runs every scenario under `count` seeds and says how the process ends.
pub(super) fn run(
    arguments: &Arguments,
    own: &OwnResolvers,
    scenarios: Vec<Found>,
    skipped: &[Skipped],
    count: u64,
) -> u8 {
    if arguments.seed.checked_add(count - 1).is_none() {
        complain(&format!(
            "error: there are no {count} seeds from {} on\n  = help: begin with a smaller --seed",
            arguments.seed
        ));
        return INVALID;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let sweep = Sweep {
        first: arguments.seed,
        count,
        defect: arguments.defect,
        threads: arguments.threads.map_or(cores, |threads| usize::from(threads.get())),
        twice: arguments.twice,
    };
    let total = Stopwatch::start();
    let mut all = Vec::new();
    if arguments.format == Format::Text && !arguments.quiet {
        skipped.iter().for_each(|skipped| say(&skipped.line()));
    }
    for Found { path, scenario, .. } in scenarios {
        let stopwatch = Stopwatch::start();
        let seeds = match virtual_rig::cannot(&Plan::new(&scenario, sweep.first)) {
            Some(why) => cannot(scenario.name, sweep.first, why),
            None => Seeds::run(&scenario, own, sweep),
        };
        let repeat = |seed| repeat_command(arguments, &path, seed);
        let kept = match keep(arguments, &seeds, repeat) {
            Ok(kept) => kept,
            Err(code) => return code,
        };
        if arguments.format == Format::Text && !(arguments.quiet && seeds.verdict() == Verdict::Pass) {
            say(&line(&seeds, stopwatch.seconds()));
            for run in seeds.failures().take(FAILURES_SHOWN) {
                say(&format!("      seed {}: {}", run.seed, run.why.as_deref().unwrap_or_default()));
            }
            kept.iter().for_each(|folder| say(&format!("      kept in {folder}")));
        }
        // What is kept of the worst run lies in its folder.
        all.push((Seeds { worst: None, ..seeds }, path));
    }
    let verdict = all.iter().map(|(seeds, _)| seeds.verdict()).fold(Verdict::Pass, Verdict::and);
    if let Some(file) = &arguments.junit {
        let repeats = all.iter().map(|(seeds, path)| {
            let command = |run: &SeedRun| format!("p2psim {}", repeat_command(arguments, path, run.seed));
            (seeds, seeds.runs.iter().map(command).collect())
        });
        let xml = report::junit::render_seeds(&repeats.collect::<Vec<_>>());
        if let Err(error) = std::fs::write(file, xml) {
            let file = file.display();
            complain(&format!(
                "error: cannot write {file}: {error}\n  = help: choose another file with --junit"
            ));
            return INVALID;
        }
    }
    match arguments.format {
        Format::Json => {
            let lines: Vec<_> = all.iter().map(|(seeds, _)| Line::of(seeds)).collect();
            say(&serde_json::to_string_pretty(&lines).unwrap_or_default());
        }
        Format::Text => {
            let count = |verdict| all.iter().map(|(seeds, _)| seeds.count(verdict)).sum::<usize>();
            let mut line = format!(
                "{} scenarios, {} runs: {} passed, {} failed, {} unknown in {:.1} s",
                all.len(),
                all.iter().map(|(seeds, _)| seeds.runs.len()).sum::<usize>(),
                count(Verdict::Pass),
                count(Verdict::Fail),
                count(Verdict::Unknown),
                total.seconds()
            );
            if arguments.twice && verdict == Verdict::Pass {
                line += "; every byte the same twice";
            }
            say(&line);
            let worst = all.iter().find_map(|(seeds, path)| {
                let run = seeds.failures().find(|run| run.verdict == verdict)?;
                Some(repeat_command(arguments, path, run.seed))
            });
            if let Some(worst) = worst {
                say("repeat with:");
                say(&format!("{} {worst}", program()));
            }
        }
    }
    verdict.exit_code()
}

/// Keeps the worst run in a folder of its own.
fn keep(arguments: &Arguments, seeds: &Seeds, repeat: impl Fn(u64) -> String) -> Result<Option<String>, u8> {
    let Some((plan, result)) = seeds.worst.as_deref() else { return Ok(None) };
    let out = &arguments.out;
    let command = format!("p2psim {}", repeat(plan.seed));
    match RunFolder::write(out, result, plan, &command) {
        Ok(folder) => Ok(Some(folder.display().to_string())),
        Err(error) => {
            let out = out.display();
            complain(&format!(
                "error: cannot keep the run below {out}: {error}\n  = help: choose another folder with --out"
            ));
            Err(INVALID)
        }
    }
}

fn cannot(scenario: String, seed: u64, why: &str) -> Seeds {
    complain(&format!(
        "unknown: {scenario} cannot run in the virtual rig: {why}\n  = help: run it with --rig live, one seed at a time"
    ));
    let run = SeedRun {
        seed,
        verdict: Verdict::Unknown,
        why: Some(why.to_owned()),
        interleaving: None,
        differed: false,
    };
    Seeds { scenario, runs: vec![run], worst: None }
}

fn line(seeds: &Seeds, seconds: f64) -> String {
    let mut parts = vec![format!("{} seeds", seeds.runs.len())];
    parts.extend(seeds.interleavings().map(|count| format!("{count} distinct interleavings")));
    for (verdict, name) in [(Verdict::Fail, "failed"), (Verdict::Unknown, "unknown")] {
        let count = seeds.count(verdict);
        parts.extend((count > 0).then(|| format!("{count} {name}")));
    }
    let verdict = seeds.verdict().to_string();
    format!("{verdict:<5} {}: {}, {seconds:.1} s", seeds.scenario, parts.join(", "))
}

impl<'a> Line<'a> {
    fn of(seeds: &'a Seeds) -> Self {
        Self {
            scenario: &seeds.scenario,
            verdict: seeds.verdict(),
            first_seed: seeds.runs.first().map_or(0, |run| run.seed),
            seeds: seeds.runs.len(),
            passed: seeds.count(Verdict::Pass),
            failed: seeds.count(Verdict::Fail),
            unknown: seeds.count(Verdict::Unknown),
            interleavings: seeds.interleavings(),
            failures: seeds.failures().collect(),
        }
    }
}

/// Failures of one scenario that are shown.
const FAILURES_SHOWN: usize = 3;
