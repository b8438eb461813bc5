//! Carries plans out in the rig that was asked for.

use clap::ValueEnum;
use sync_core::recording::EffectForm;
use sync_core::secret::Secret;

use super::{INVALID, complain, only};
use crate::live_rig::{EXIT_UNKNOWN, LiveOptions, LiveRig, LiveRunError};
use crate::own_resolvers::OwnResolvers;
use crate::plan::Plan;
use crate::report;
use crate::run::{RunResult, run_with};
use crate::virtual_rig;

/// Where scenarios run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Rig {
    /// Deterministic, faster than real time, needs nothing.
    #[default]
    Virtual,
    /// Real PostgreSQL and Redis, real HTTP, real time.
    Live,
}

/// A rig, ready.
pub(super) enum Runner {
    Virtual,
    Live(Box<LiveRig>),
}

/// What a rig that stands by itself needs to know of real servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) postgres_url: Option<Secret<String>>,
    pub(super) redis_url: Option<Secret<String>>,
    /// Whether each peer is to have a server of its own.
    pub(super) isolated: bool,
    /// Whether durations are left unjudged.
    pub(super) untimed: bool,
}

impl Given {
    /// The servers that the environment names.
    #[allow(
        clippy::disallowed_methods,
        reason = "an address may hold a password, which arguments show to everybody"
    )]
    pub(super) fn from_environment() -> Self {
        let url = |variable| std::env::var(variable).ok().filter(|text| !text.is_empty()).map(Secret::new);
        Self { postgres_url: url(POSTGRES_URL), redis_url: url(REDIS_URL), isolated: false, untimed: false }
    }
}

/// Why a plan came to no result; it has been said on the standard error.
pub(super) struct NoResult {
    /// How the process is to end.
    pub(super) code: u8,
    /// In words, without a remedy.
    pub(super) why: String,
    /// Whether other plans can still be carried out.
    pub(super) others_can: bool,
}

/// Said of a live run that is to be compared with itself.
pub(super) const NOT_TWICE: &str =
    "error: no two live runs have the same bytes\n  = help: leave --twice out, or run in the virtual rig";
/// Names a running PostgreSQL.
pub(super) const POSTGRES_URL: &str = "P2PSIM_POSTGRES_URL";
/// Names a running Redis.
pub(super) const REDIS_URL: &str = "P2PSIM_REDIS_URL";

impl Rig {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Virtual => "virtual",
            Self::Live => "live",
        }
    }

    /// Makes the rig ready. What is missing has been said when it cannot be had; the code is for the end of the
    /// process.
    pub(super) fn start(self, given: &Given) -> Result<Runner, NoResult> {
        match self {
            Self::Virtual => Ok(Runner::Virtual),
            Self::Live => {
                let Given { postgres_url, redis_url, isolated, untimed } = given.clone();
                match LiveRig::start(LiveOptions { postgres_url, redis_url, isolated, untimed }) {
                    Ok(rig) => Ok(Runner::Live(Box::new(rig))),
                    Err(error) => {
                        Err(NoResult { code: fail(&error), why: error.to_string(), others_can: false })
                    }
                }
            }
        }
    }
}

impl Runner {
    const fn rig(&self) -> Rig {
        match self {
            Self::Virtual => Rig::Virtual,
            Self::Live(_) => Rig::Live,
        }
    }

    /// Carries a plan out, and records it below `out` if it is to be.
    pub(super) fn run(
        &mut self,
        plan: &Plan,
        own: &OwnResolvers,
        out: &std::path::Path,
        record: Option<EffectForm>,
    ) -> Result<RunResult, NoResult> {
        let place = |rig: Rig| {
            let folder = record.map(|_| report::recording::begin(out, plan, rig.name())).transpose();
            folder.map_err(|error| cannot_record(out, &error))
        };
        let name = plan.world.name.as_str();
        if let Some(why) = only::refused(plan, self.rig()) {
            complain(&why);
            return Err(NoResult { code: INVALID, why, others_can: false });
        }
        match self {
            Self::Virtual => {
                if let Some(why) = virtual_rig::cannot(plan) {
                    let why = format!("{name} cannot run in the virtual rig: {why}");
                    complain(&format!("unknown: {why}\n  = help: run it with --rig live"));
                    return Err(NoResult { code: EXIT_UNKNOWN, why, others_can: true });
                }
                match (place(Rig::Virtual)?, record) {
                    (Some(folder), Some(effects)) => crate::recording::record(plan, own, effects, &folder)
                        .map_err(|error| cannot_record(out, &error)),
                    _ => Ok(run_with(plan, own)),
                }
            }
            Self::Live(rig) => {
                let folder = place(Rig::Live)?;
                rig.run(plan, folder.as_deref().zip(record)).map_err(|error| {
                    if matches!(error, LiveRunError::Cannot(_) | LiveRunError::Interrupted { .. }) {
                        let _ = folder.as_ref().map(std::fs::remove_dir_all);
                    } else if let Some(folder) = &folder {
                        complain(&format!("what was recorded until then is in {}", folder.display()));
                    }
                    match &error {
                        LiveRunError::Cannot(why) => {
                            let why = format!("{name} cannot run in the live rig: {why}");
                            complain(&format!("unknown: {why}\n  = help: {}", error.remedy()));
                            NoResult { code: EXIT_UNKNOWN, why, others_can: true }
                        }
                        _ => NoResult { code: fail(&error), why: error.to_string(), others_can: false },
                    }
                })
            }
        }
    }

    /// Ends what was started for the rig; the code when something is left.
    pub(super) fn end(self) -> Result<(), u8> {
        match self {
            Self::Virtual => Ok(()),
            Self::Live(rig) => rig.remove().map_err(|error| fail(&error)),
        }
    }
}

fn fail(error: &LiveRunError) -> u8 {
    if let LiveRunError::Interrupted { exit_code } = error {
        complain("interrupted: everything that was started is being removed");
        return *exit_code;
    }
    complain(&format!("unknown: {error}\n  = help: {}", error.remedy()));
    EXIT_UNKNOWN
}

fn cannot_record(out: &std::path::Path, error: &std::io::Error) -> NoResult {
    let why = format!("cannot record the run below {}: {error}", out.display());
    complain(&format!("error: {why}\n  = help: choose another folder with --out"));
    NoResult { code: INVALID, why, others_can: false }
}
