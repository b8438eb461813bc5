//! The simulator as a library: a scenario, a team's own resolver or engine, and a verdict, in a `cargo test`.
//!
//! ```
//! # use simulator::own_resolvers::best_score::BestScore as Mine;
//! use simulator::sim::Sim;
//!
//! # const SCENARIO: &str = "name: a\nabout: b\nduration: 5s\npeers: {count: 2, sync_interval: 1s, tables: {declared: [{name: scores, columns: [id, amount]}]}}\nsteps: [{at: 1s, peer: 0, do: [{put: {table: scores, row: 1, set: {amount: '7'}}}]}]\nexpect: {properties: [P1, P2]}\n";
//! // A test would say `Sim::scenario("tests/scores.yaml")`.
//! let outcome = Sim::text(SCENARIO).resolver(Mine).seeds(1..=3).run()?;
//! outcome.assert_passes();
//! # Ok::<(), simulator::sim::SimError>(())
//! ```
//!
//! Nothing is printed and, unless [`Sim::out`] names a folder, nothing written. The same scenario, settings and seed give
//! the same run, wherever it runs.

mod error;
mod outcome;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sync_core::diagnostic::Diagnostic;
use sync_core::peer_sync::resolver::Resolver;

pub use error::SimError;
pub use outcome::{Outcome, SimRun};

use crate::own_engine::PeerEngines;
use crate::own_resolvers::OwnResolvers;
use crate::peer_schema::tables;
use crate::plan::Plan;
use crate::report::RunFolder;
use crate::run::{RunResult, run_own, run_with};
use crate::scenario::model::{TablePolicy, Tables};
use crate::scenario::{FILE_BYTES_MAX, Scenario, read_bounded, read_named};
use crate::shell::quote;
use crate::virtual_rig;
use crate::virtual_rig::peers::own;

/// A scenario to be run, and with what. Each method gives it back, changed; mistakes show in [`run`](Self::run).
#[derive(Clone, Debug)]
pub struct Sim {
    source: Source,
    seeds: Vec<u64>,
    sets: Vec<String>,
    own: OwnResolvers,
    /// By table, or for all that have none.
    resolvers: Vec<(Option<String>, String)>,
    out: Option<PathBuf>,
    engines: Option<Engines>,
    /// Whether there is nothing in it that the shipped `p2psim` has not.
    plain: bool,
}

#[derive(Clone)]
struct Engines(Arc<dyn PeerEngines>);

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("own engines")
    }
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Text(String),
}

impl Sim {
    /// The scenario of a file. A path counts from the folder in which the process runs: in a `cargo test` that of the
    /// package.
    pub fn scenario(path: impl Into<PathBuf>) -> Self {
        Self::of(Source::File(path.into()))
    }

    /// A scenario given as text.
    pub fn text(yaml: impl Into<String>) -> Self {
        Self::of(Source::Text(yaml.into()))
    }

    fn of(source: Source) -> Self {
        let own = OwnResolvers::default();
        Self {
            source,
            seeds: vec![1],
            sets: Vec::new(),
            own,
            resolvers: Vec::new(),
            out: None,
            engines: None,
            plain: true,
        }
    }

    /// Runs it under this seed; 1 if nothing is said. `P2PSIM_SEED` in the environment counts instead, so that a message
    /// can name the command that repeats a run.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.seeds([seed])
    }

    /// Runs it once under each of these seeds.
    #[must_use]
    pub fn seeds(self, seeds: impl IntoIterator<Item = u64>) -> Self {
        Self { seeds: seeds.into_iter().collect(), ..self }
    }

    /// Changes a value of the scenario, as `--set path=value` does: `.set("peers.network.loss", "5%")`.
    #[must_use]
    pub fn set(mut self, path: &str, value: &str) -> Self {
        self.sets.push(format!("{path}={value}"));
        self
    }

    /// Lets a resolver decide the rows of every table for which no other one is given. It is not held to the laws first
    /// ([`laws`](sync_core::peer_sync::laws) does that): here it shows what it comes to.
    #[must_use]
    pub fn resolver(self, resolver: impl Resolver + 'static) -> Self {
        self.with_resolver(None, "own", resolver)
    }

    /// Lets a resolver decide the rows of one table.
    #[must_use]
    pub fn resolver_of(self, table: &str, resolver: impl Resolver + 'static) -> Self {
        let name = format!("own-{table}");
        self.with_resolver(Some(table.to_owned()), &name, resolver)
    }

    /// Gives the resolver that tables of the scenario name themselves: `policy: { custom: NAME }`.
    #[must_use]
    pub fn named_resolver(mut self, name: &str, resolver: impl Resolver + 'static) -> Self {
        self.own = self.own.with(name, resolver);
        self.plain = false;
        self
    }

    fn with_resolver(self, table: Option<String>, name: &str, resolver: impl Resolver + 'static) -> Self {
        let mut sim = self.named_resolver(name, resolver);
        sim.resolvers.retain(|(other, _)| *other != table);
        sim.resolvers.push((table, name.to_owned()));
        sim
    }

    /// Lets every peer be an engine of one's own instead of the core's replica and its database. It is judged from the
    /// outside; properties that need stamps or positions (P3, P4, P12, P13, P15, P17) are `unknown`.
    #[must_use]
    pub fn engine(self, engines: impl PeerEngines + 'static) -> Self {
        Self { engines: Some(Engines(Arc::new(engines))), plain: false, ..self }
    }

    /// Keeps each run in a folder of its own below this one, as `p2psim run --out` does.
    #[must_use]
    pub fn out(self, folder: impl Into<PathBuf>) -> Self {
        Self { out: Some(folder.into()), ..self }
    }

    /// Runs it, under one seed after the other.
    ///
    /// # Errors
    /// Nothing was run: the scenario cannot be read, or what was given does not fit it. A property that fails is no error.
    pub fn run(self) -> Result<Outcome, SimError> {
        if self.engines.is_some() && !self.resolvers.is_empty() {
            return Err(SimError::ResolverAndEngine);
        }
        let scenario = self.read()?;
        let seeds = match seed_of_environment()? {
            Some(seed) => vec![seed],
            None => self.seeds.clone(),
        };
        if seeds.is_empty() {
            return Err(SimError::NoSeeds);
        }
        let mut runs = Vec::with_capacity(seeds.len());
        for seed in seeds {
            let plan = Plan::new(&scenario, seed);
            if let Some(why) = virtual_rig::cannot(&plan) {
                return Err(SimError::NotVirtual { scenario: scenario.name, why });
            }
            let result = match &self.engines {
                None => Some(run_with(&plan, &self.own)),
                Some(Engines(engines)) => {
                    if let Some(why) = own::cannot(&plan) {
                        return Err(SimError::EngineCannot { scenario: scenario.name, why });
                    }
                    run_own(&plan, &**engines)
                }
            };
            let Some(result) = result else {
                return Err(SimError::NoPeers { scenario: scenario.name, what: "an engine" });
            };
            runs.push(self.keep(plan, result)?);
        }
        Ok(Outcome { runs })
    }

    fn keep(&self, plan: Plan, result: RunResult) -> Result<SimRun, SimError> {
        let repeat = self.repeat(plan.seed);
        let folder = self.out.as_ref().map(|out| {
            let written = RunFolder::write(out, &result, &plan, &repeat);
            written.map_err(|error| SimError::Out { folder: out.clone(), error })
        });
        let folder = folder.transpose()?;
        let RunResult { summary, history, .. } = result;
        Ok(SimRun { seed: plan.seed, summary, history, plan, folder, repeat })
    }

    /// The scenario, with the resolvers in their places.
    fn read(&self) -> Result<Scenario, SimError> {
        let parse = |name: &str, bytes: &[u8], folder: &Path| {
            let mut read = |file: &str| read_named(folder, file);
            Scenario::parse_for(&self.own, name, bytes, &self.sets, &mut read)
        };
        let parsed = match &self.source {
            Source::Text(text) => parse("scenario", text.as_bytes(), Path::new("")),
            Source::File(path) => {
                let name = path.display().to_string();
                let bytes = read_bounded(path, FILE_BYTES_MAX).map_err(|error| {
                    let help = "check the path; in a test it counts from the folder of the package";
                    let message = format!("cannot read this: {error}");
                    SimError::Scenario(vec![Diagnostic::file_error(&name, message, help)])
                })?;
                parse(&name, &bytes, path.parent().unwrap_or(Path::new("")))
            }
        };
        let mut scenario = parsed.map_err(SimError::Scenario)?;
        self.place_resolvers(&mut scenario)?;
        Ok(scenario)
    }

    fn place_resolvers(&self, scenario: &mut Scenario) -> Result<(), SimError> {
        if self.resolvers.is_empty() {
            return Ok(());
        }
        let Some(peers) = &mut scenario.peers else {
            return Err(SimError::NoPeers { scenario: scenario.name.clone(), what: "a resolver" });
        };
        let mut declared = tables(peers);
        for (table, _) in &self.resolvers {
            let Some(table) = table else { continue };
            if !declared.iter().any(|declared| declared.name == *table) {
                let names: Vec<&str> = declared.iter().map(|table| table.name.as_str()).collect();
                return Err(SimError::NoTable {
                    scenario: scenario.name.clone(),
                    table: table.clone(),
                    tables: names.join(", "),
                });
            }
        }
        for table in &mut declared {
            let own = |of: Option<&str>| self.resolvers.iter().find(|(table, _)| table.as_deref() == of);
            if let Some((_, name)) = own(Some(&table.name)).or_else(|| own(None)) {
                table.policy = TablePolicy::Custom(name.clone());
            }
        }
        peers.tables = Tables::Declared(declared);
        Ok(())
    }

    /// The command that gives the same run again. With code of one's own that is the test.
    fn repeat(&self, seed: u64) -> String {
        if let (Source::File(path), true) = (&self.source, self.plain) {
            let mut words = vec!["p2psim run".to_owned(), quote(&path.display().to_string())];
            words.push(format!("--seed {seed}"));
            words.extend(self.sets.iter().map(|set| format!("--set {}", quote(set))));
            return words.join(" ");
        }
        let test = std::thread::current().name().filter(|name| *name != "main").map(quote);
        format!("{SEED}={seed} cargo test {}", test.unwrap_or_default()).trim_end().to_owned()
    }
}

/// Replaces the seeds of every simulation of the process.
const SEED: &str = "P2PSIM_SEED";

#[allow(
    clippy::disallowed_methods,
    reason = "a failed test names it, so that one run of many can be repeated"
)]
fn seed_of_environment() -> Result<Option<u64>, SimError> {
    match std::env::var(SEED) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| SimError::Seed(text)),
        Err(_) => Ok(None),
    }
}
