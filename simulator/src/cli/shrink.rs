//! `p2psim shrink`.

use std::path::{Path, PathBuf};

use clap::Args;
use sync_core::diagnostic::Diagnostic;

use super::stopwatch::Stopwatch;
use super::{INVALID, complain, files, program, quote, say};
use crate::own_resolvers::OwnResolvers;
use crate::plan::{self, Action, Plan};
use crate::scenario::read_bounded;
use crate::shrink::{NotShrunk, RUNS_MAX, Shrunk, shrink_with};
use crate::virtual_rig;
use crate::zoo;

/// Make a failing plan small: the fewest actions that still show the same failure.
///
/// Generator lines are written out and actions are left out, in the virtual rig, for as long as the same property or
/// figure fails. The smaller plan is kept as a file for `p2psim replay`. Exit codes: 0 a plan was written; 2 usage, an
/// invalid file, or nothing fails.
#[derive(Debug, Args)]
#[command(after_help = "Example: p2psim shrink reports/runs/slow-database-seed1/plan.txt --property P19")]
pub(super) struct Arguments {
    /// The plan.txt of a run's folder, or a scenario.
    #[arg(value_name = "PLAN_OR_SCENARIO")]
    file: PathBuf,
    /// Seed of a scenario; a plan has its own.
    #[arg(long, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Change a value of the scenario; may be given more than once.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Plant a defect of the zoo in a scenario, by its number; a plan has its own.
    #[arg(long, value_name = "NUMBER")]
    defect: Option<u32>,
    /// The property that is to fail, such as P14, or a figure, such as `critical p99`; the first that fails when absent.
    #[arg(long, value_name = "ID")]
    property: Option<String>,
    /// Runs that the search may take.
    #[arg(long, value_name = "NUMBER", default_value_t = RUNS_MAX, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    runs: u64,
    /// Where the smaller plan goes; beside the plan as `shrunk.txt`, or below reports/runs for a scenario, when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, own: &OwnResolvers) -> u8 {
    let plan = match read(arguments, own) {
        Ok(plan) => plan,
        Err(found) => {
            found.iter().for_each(|diagnostic| complain(&format!("{diagnostic}\n")));
            return INVALID;
        }
    };
    let name = arguments.file.display().to_string();
    if let Some(why) = virtual_rig::cannot(&plan) {
        let message = format!("plans are shrunk in the virtual rig, which cannot carry this one out: {why}");
        complain(&Diagnostic::file_error(&name, message, "leave that out").to_string());
        return INVALID;
    }
    let stopwatch = Stopwatch::start();
    let shrunk = match shrink_with(&plan, own, arguments.property.as_deref(), arguments.runs) {
        Ok(shrunk) => shrunk,
        Err(error) => {
            let help = match error {
                NotShrunk::NotInThis { .. } => {
                    "name one of those, or leave --property out for the first of them"
                }
                NotShrunk::NothingFails => "`p2psim replay` shows what a plan comes to; choose another seed",
                NotShrunk::TooLarge(_) => "shorten `duration`, or lower the rates",
            };
            complain(&Diagnostic::file_error(&name, error.to_string(), help).to_string());
            return INVALID;
        }
    };
    let out = arguments.out.clone().unwrap_or_else(|| place(&arguments.file, &shrunk.plan));
    if let Err(error) = keep(&out, &shrunk.plan) {
        complain(&format!(
            "error: cannot write {}: {error}\n  = help: choose another file with --out",
            out.display()
        ));
        return INVALID;
    }
    show(&shrunk, &out, stopwatch.seconds());
    0
}

/// The plan of the file, or of the scenario in it.
fn read(arguments: &Arguments, own: &OwnResolvers) -> Result<Plan, Vec<Diagnostic>> {
    let name = arguments.file.display().to_string();
    let refuse = |message: String, help: &str| Err(vec![Diagnostic::file_error(&name, message, help)]);
    let bytes = read_bounded(&arguments.file, plan::FILE_BYTES_MAX)
        .map_err(|error| vec![files::unreadable(&name, &error)])?;
    let plan = if bytes.starts_with(b"p2psim plan") {
        if arguments.seed.is_some() || arguments.defect.is_some() || !arguments.set.is_empty() {
            return refuse(
                "a plan has its own seed, defect and world".to_owned(),
                "leave --seed, --defect and --set out, or edit the plan",
            );
        }
        Plan::parse_for(own, &name, &bytes)?
    } else {
        let scenario = files::parse(own, &arguments.file, &bytes, &arguments.set)?;
        Plan { defect: arguments.defect, ..Plan::new(&scenario, arguments.seed.unwrap_or(1)) }
    };
    if let Some(message) = plan.defect.and_then(|defect| zoo::misfit(defect, &plan.world)) {
        return refuse(message, "`p2psim list --zoo` shows them");
    }
    Ok(plan)
}

fn place(file: &Path, plan: &Plan) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "txt") {
        return file.with_file_name("shrunk.txt");
    }
    Path::new("reports/runs/shrunk").join(format!("{}-seed{}.txt", plan.world.name, plan.seed))
}

fn keep(out: &Path, plan: &Plan) -> std::io::Result<()> {
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(out, plan.to_text())
}

fn show(shrunk: &Shrunk, out: &Path, seconds: f64) {
    let Shrunk { plan, what, finding, actions_before, runs, minimal } = shrunk;
    say(&format!(
        "{what} fails with {} of {actions_before} actions ({runs} runs, {seconds:.1} s)",
        plan.actions.len()
    ));
    say(&format!("  {finding}"));
    if !minimal {
        say("  the runs were used up: a smaller plan may exist, see --runs");
    }
    let text = plan.to_text();
    let lines = text.lines().skip_while(|line| *line != "actions").skip(1);
    lines.take(LINES_SHOWN).for_each(say);
    if plan.actions.len() > LINES_SHOWN {
        say(&format!("  ... and {} more", plan.actions.len() - LINES_SHOWN));
    }
    say(&format!("kept in {}", out.display()));
    say("carry it out with:");
    say(&format!("{} replay {}", program(), quote(&out.display().to_string())));
    debug_assert!(!plan.actions.iter().any(|action| matches!(action, Action::Generate(..))));
}

/// Actions that are shown; the file has them all.
const LINES_SHOWN: usize = 20;
