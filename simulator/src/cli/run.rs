//! `p2psim run`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sync_core::recording::EffectForm;
use sync_core::secret::Secret;

use super::files::{self, Found};
use super::only::{self, Skipped};
use super::runner::{Given, NOT_TWICE, NoResult, POSTGRES_URL, REDIS_URL, Rig, Runner};
use super::stopwatch::Stopwatch;
use super::{Format, INVALID, complain, program, quote, say, seeds};
use crate::live_rig::EXIT_UNKNOWN;
use crate::own_resolvers::OwnResolvers;
use crate::plan::Plan;
use crate::report::{self, RunFolder};
use crate::run::{Summary, Undecided, run_with as run_virtually};
use crate::verdict::Verdict;

/// Run scenarios and judge them.
///
/// Each scenario runs once, in the virtual rig or with --rig live against real servers. What happened is kept in a folder of its own below
/// `--out`; reports/README.md explains its files.
#[derive(Debug, Args)]
#[command(after_help = "Example: p2psim run scenarios/smoke --seed 7 --set network.to_server.loss=5%")]
pub(super) struct Arguments {
    /// Scenario files, or folders of them.
    #[arg(required = true, value_name = "FILE_OR_FOLDER")]
    pub(super) paths: Vec<PathBuf>,
    /// Seed of every random draw.
    #[arg(long, allow_negative_numbers = true, default_value_t = 1)]
    pub(super) seed: u64,
    /// Run each scenario under so many seeds, from --seed on, and show a line for each scenario. Of the runs only the
    /// first failing one of each scenario is kept.
    #[arg(long, value_name = "COUNT", conflicts_with = "record", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) seeds: Option<u64>,
    /// Threads for --seeds; as many as there are cores when absent. They do not show in the results.
    #[arg(long, value_name = "COUNT", requires = "seeds")]
    pub(super) threads: Option<std::num::NonZeroU8>,
    /// Change a value of the scenarios; may be given more than once.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,
    /// Plant a defect of the zoo, by its number.
    #[arg(long, value_name = "NUMBER")]
    pub(super) defect: Option<u32>,
    /// Folder below which each run gets a folder of its own.
    #[arg(long, value_name = "FOLDER", default_value = "reports/runs")]
    pub(super) out: PathBuf,
    /// How results are shown.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
    /// Also write all results to this file as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Run everything twice and compare every byte.
    #[arg(long)]
    pub(super) twice: bool,
    /// Also write down what every engine is told, draws and does; `p2psim replay --recording` repeats it. With
    /// `--record=full`, effects are kept in full instead of as digests.
    #[arg(long, value_enum, value_name = "EFFECTS", num_args = 0..=1, require_equals = true, default_missing_value = "digest")]
    pub(super) record: Option<Effects>,
    /// Show failures only.
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Where to run: in the virtual world, or against real PostgreSQL and Redis.
    #[arg(long, value_enum, default_value_t)]
    pub(super) rig: Rig,
    /// Live rig: a running PostgreSQL instead of a container, as postgresql://user:password@host:port/database. The
    /// run makes a database of its own beside the one named. P2PSIM_POSTGRES_URL in the environment does the same
    /// and shows the password to nobody.
    #[arg(long, value_name = "URL")]
    pub(super) postgres_url: Option<String>,
    /// Live rig: a running Redis instead of a container, as redis://:password@host:port/number; the numbered database
    /// must be empty. P2PSIM_REDIS_URL in the environment does the same.
    #[arg(long, value_name = "URL")]
    pub(super) redis_url: Option<String>,
    /// Live rig: a PostgreSQL server for each peer, in a container of its own, so that a crash kills it, too. Without this
    /// peers have a database each on one server, but for scenarios that set a peer's disk back.
    #[arg(long)]
    pub(super) isolated: bool,
    /// Live rig: judge no duration, for a machine that is busy with other things or that nobody knows: no latencies, no
    /// share of missed deadlines (what P19 says of honest results still holds), no staleness (P17), no recovery (P22).
    #[arg(long)]
    pub(super) untimed: bool,
}

/// How results are shown and where they go.
pub(super) struct Output<'a> {
    pub(super) own: &'a OwnResolvers,
    pub(super) out: &'a std::path::Path,
    pub(super) format: Format,
    pub(super) junit: Option<&'a std::path::Path>,
    pub(super) twice: bool,
    pub(super) record: Option<Effects>,
    pub(super) quiet: bool,
    pub(super) rig: Rig,
    pub(super) given: Given,
    /// What was left out, to be shown with the rest.
    pub(super) skipped: &'a [Skipped],
}

/// How much of an effect a recording keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Effects {
    /// Enough to tell that a replay differs.
    Digest,
    /// A difference can be shown from both sides.
    Full,
}

impl From<Effects> for EffectForm {
    fn from(effects: Effects) -> Self {
        match effects {
            Effects::Digest => Self::Digest,
            Effects::Full => Self::Full,
        }
    }
}

/// A plan and the command that carries it out again, without the program's own name.
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) repeat: String,
}

pub(super) fn run(arguments: &Arguments, own: &OwnResolvers) -> u8 {
    let scenarios = match files::read(own, &arguments.paths, &arguments.set) {
        Ok(scenarios) => scenarios,
        Err(found) => {
            found.iter().for_each(|diagnostic| complain(&format!("{diagnostic}\n")));
            return INVALID;
        }
    };
    let (scenarios, skipped) = match only::leave_out(scenarios, arguments.rig) {
        Ok(sorted) => sorted,
        Err(code) => return code,
    };
    if let Some(name) = twice_named(&scenarios) {
        complain(&format!(
            "error: two scenarios are named `{name}`: their runs would overwrite each other\n  = help: give one another name, or run them with different --out"
        ));
        return INVALID;
    }
    let misfit = |defect| scenarios.iter().find_map(|found| crate::zoo::misfit(defect, &found.scenario));
    if let Some(why) = arguments.defect.and_then(misfit) {
        complain(&format!("error: {why}\n  = help: `p2psim list --zoo` shows them"));
        return INVALID;
    }
    // A run may take long: what cannot be written is said before it.
    if let Some(file) = &arguments.junit
        && let Err(error) = std::fs::OpenOptions::new().append(true).create(true).open(file)
    {
        complain(&junit_unwritable(file, &error));
        return INVALID;
    }
    let given = match given(arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    if let Some(count) = arguments.seeds {
        if arguments.rig != Rig::Virtual {
            complain(
                "error: many seeds run in the virtual rig\n  = help: leave --seeds out, or run without --rig live",
            );
            return INVALID;
        }
        return seeds::run(arguments, own, scenarios, &skipped, count);
    }
    let jobs = scenarios
        .into_iter()
        .map(|Found { path, scenario, .. }| Job {
            plan: Plan { defect: arguments.defect, ..Plan::new(&scenario, arguments.seed) },
            repeat: repeat_command(arguments, &path, arguments.seed),
        })
        .collect();
    let output = Output {
        own,
        out: &arguments.out,
        format: arguments.format,
        junit: arguments.junit.as_deref(),
        twice: arguments.twice,
        record: arguments.record,
        quiet: arguments.quiet,
        rig: arguments.rig,
        given,
        skipped: &skipped,
    };
    carry_out_all(jobs, &output)
}

/// The servers that were given, by argument or in the environment.
fn given(arguments: &Arguments) -> Result<Given, u8> {
    let by_argument = arguments.postgres_url.is_some() || arguments.redis_url.is_some();
    if arguments.rig == Rig::Virtual {
        if arguments.isolated {
            complain(
                "error: the virtual rig has no servers to isolate\n  = help: add --rig live, or leave --isolated out",
            );
            return Err(INVALID);
        }
        if arguments.untimed {
            complain(
                "error: how long things take in the virtual rig does not depend on the machine\n  = help: add --rig live, or leave --untimed out",
            );
            return Err(INVALID);
        }
        if by_argument {
            complain(
                "error: the virtual rig uses no servers\n  = help: add --rig live, or leave --postgres-url and --redis-url out",
            );
            return Err(INVALID);
        }
        return Ok(Given::default());
    }
    if arguments.twice {
        complain(NOT_TWICE);
        return Err(INVALID);
    }
    let environment = Given::from_environment();
    let or = |argument: &Option<String>, other| argument.clone().map(Secret::new).or(other);
    Ok(Given {
        postgres_url: or(&arguments.postgres_url, environment.postgres_url),
        redis_url: or(&arguments.redis_url, environment.redis_url),
        isolated: arguments.isolated,
        untimed: arguments.untimed,
    })
}

fn junit_unwritable(file: &Path, error: &std::io::Error) -> String {
    format!("error: cannot write {}: {error}\n  = help: choose another file with --junit", file.display())
}

/// What became of the jobs.
#[derive(Default)]
struct Carried {
    summaries: Vec<Summary>,
    /// The command of each summary.
    repeats: Vec<String>,
    undecided: Vec<Undecided>,
    undecided_repeats: Vec<String>,
    /// The command of the first run that was not the same twice.
    differed: Option<String>,
}

/// Carries out every job, shows and keeps what came of it, and says how the process ends.
pub(super) fn carry_out_all(jobs: Vec<Job>, output: &Output<'_>) -> u8 {
    if output.format == Format::Text && !output.quiet {
        output.skipped.iter().for_each(|skipped| say(&skipped.line()));
    }
    let mut carried = Carried::default();
    let mut verdict = Verdict::Pass;
    let total = Stopwatch::start();
    let (mut runner, mut stopped) = match output.rig.start(&output.given) {
        Ok(runner) => (Some(runner), None),
        Err(why_not) => (None, Some(why_not)),
    };
    for Job { plan, repeat } in jobs {
        let (Some(runner), None) = (&mut runner, &stopped) else {
            let why = stopped.as_ref().map_or("", |stopped| stopped.why.as_str());
            verdict = verdict.and(Verdict::Unknown);
            carried.undecided.push(Undecided::new(&plan, output.rig.name(), format!("not run: {why}")));
            carried.undecided_repeats.push(repeat);
            continue;
        };
        let stopwatch = Stopwatch::start();
        let result = match runner.run(&plan, output.own, output.out, output.record.map(Into::into)) {
            Ok(result) => result,
            Err(no_result) => {
                verdict = verdict.and(Verdict::Unknown);
                carried.undecided.push(Undecided::new(&plan, output.rig.name(), no_result.why.clone()));
                carried.undecided_repeats.push(repeat);
                stopped = (!no_result.others_can).then_some(no_result);
                continue;
            }
        };
        let seconds = stopwatch.seconds();
        verdict = verdict.and(result.summary.verdict);
        if output.twice && !result.is_same_as(&run_virtually(&plan, output.own)) {
            verdict = Verdict::Fail;
            carried.differed = carried.differed.or(Some(repeat.clone()));
            complain(&format!(
                "error: {} with seed {} did not give the same bytes twice: the simulator itself is at fault",
                result.summary.scenario, plan.seed
            ));
        }
        // The same on every machine, wherever the program lies there.
        let folder = match RunFolder::write(output.out, &result, &plan, &format!("p2psim {repeat}")) {
            Ok(folder) => folder,
            Err(error) => {
                let why = format!("cannot keep the run below {}: {error}", output.out.display());
                complain(&format!("error: {why}\n  = help: choose another folder with --out"));
                stopped = Some(NoResult { code: INVALID, why, others_can: false });
                continue;
            }
        };
        if output.format == Format::Text && (!output.quiet || result.summary.verdict != Verdict::Pass) {
            let options = report::text::Options { colour: colour(), real_seconds: Some(seconds) };
            say(&report::text::render(&result.summary, &options));
            say(&format!("  kept in {}\n", folder.display()));
        }
        carried.summaries.push(result.summary);
        carried.repeats.push(repeat);
    }
    // Whatever happened, nothing is left behind.
    let ended = runner.map_or(Ok(()), Runner::end);
    let code = carried.finish(verdict, total.seconds(), output);
    match (stopped.map(|stopped| stopped.code), code, ended) {
        // What was decided before stays decided: a failure outweighs a run that could not decide.
        (Some(EXIT_UNKNOWN) | None, 1.., _) => code,
        (Some(stopped), ..) => stopped,
        (None, _, Err(left)) => left,
        (None, code, Ok(())) => code,
    }
}

impl Carried {
    /// Shows the sums, and writes what is asked for. What was carried out counts, whatever ended the rest.
    fn finish(&self, verdict: Verdict, seconds: f64, output: &Output<'_>) -> u8 {
        if let Some(file) = output.junit {
            let command = |repeat: &String| format!("p2psim {repeat}");
            let repeats: Vec<_> = self.repeats.iter().chain(&self.undecided_repeats).map(command).collect();
            let skipped =
                output.skipped.iter().map(|skipped| (skipped.scenario.as_str(), skipped.why.as_str()));
            let xml = report::junit::render_with(&self.summaries, &self.undecided, skipped, &repeats);
            if let Err(error) = std::fs::write(file, xml) {
                complain(&junit_unwritable(file, &error));
                return INVALID;
            }
        }
        match output.format {
            Format::Json => self.say_json(output.skipped),
            Format::Text => {
                let count =
                    |verdict| self.summaries.iter().filter(|summary| summary.verdict == verdict).count();
                let mut line = format!(
                    "{} passed, {} failed, {} unknown in {seconds:.1} s",
                    count(Verdict::Pass),
                    count(Verdict::Fail),
                    count(Verdict::Unknown) + self.undecided.len()
                );
                if !output.skipped.is_empty() {
                    line += &format!("; {} skipped", output.skipped.len());
                }
                if output.twice && verdict == Verdict::Pass {
                    line += "; every byte the same twice";
                }
                say(&line);
                // The last line is a command to paste.
                let worst = self.summaries.iter().position(|summary| summary.verdict == verdict);
                let worst = worst.map(|worst| &self.repeats[worst]);
                let worst = worst.or(self.differed.as_ref()).or(self.undecided_repeats.first());
                if let (true, Some(worst)) = (verdict != Verdict::Pass, worst) {
                    say("repeat with:");
                    say(&format!("{} {worst}", program()));
                }
            }
        }
        verdict.exit_code()
    }

    fn say_json(&self, skipped: &[Skipped]) {
        #[derive(serde::Serialize)]
        #[serde(untagged)]
        enum Run<'a> {
            Decided(&'a Summary),
            Undecided(&'a Undecided),
            Skipped(&'a Skipped),
        }
        let decided = self.summaries.iter().map(Run::Decided);
        let all: Vec<_> = decided
            .chain(self.undecided.iter().map(Run::Undecided))
            .chain(skipped.iter().map(Run::Skipped))
            .collect();
        say(&serde_json::to_string_pretty(&all).unwrap_or_default());
    }
}

fn twice_named(scenarios: &[Found]) -> Option<&str> {
    let mut names: Vec<_> = scenarios.iter().map(|found| found.scenario.name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// The command that runs one scenario of these arguments again, without the program's own name.
pub(super) fn repeat_command(arguments: &Arguments, path: &std::path::Path, seed: u64) -> String {
    let mut words = vec!["run".to_owned(), quote(&path.display().to_string())];
    words.extend(["--seed".to_owned(), seed.to_string()]);
    for set in &arguments.set {
        words.extend(["--set".to_owned(), quote(set)]);
    }
    if let Some(defect) = arguments.defect {
        words.extend(["--defect".to_owned(), defect.to_string()]);
    }
    if arguments.rig != Rig::Virtual {
        words.extend(["--rig".to_owned(), arguments.rig.name().to_owned()]);
    }
    if arguments.isolated {
        words.push("--isolated".to_owned());
    }
    if arguments.untimed {
        words.push("--untimed".to_owned());
    }
    // An address may hold a password: the environment has it.
    if arguments.postgres_url.is_some() {
        words.extend(["--postgres-url".to_owned(), format!("\"${POSTGRES_URL}\"")]);
    }
    if arguments.redis_url.is_some() {
        words.extend(["--redis-url".to_owned(), format!("\"${REDIS_URL}\"")]);
    }
    if arguments.out != std::path::Path::new("reports/runs") {
        words.extend(["--out".to_owned(), quote(&arguments.out.display().to_string())]);
    }
    words.join(" ")
}

/// Colour on a terminal, unless NO_COLOR asks for none.
fn colour() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
