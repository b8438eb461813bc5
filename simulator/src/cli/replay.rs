//! `p2psim replay`.

use std::path::{Path, PathBuf};

use clap::Args;
use sync_core::diagnostic::Diagnostic;

use super::run::{Job, Output, carry_out_all};
use super::runner::{Given, NOT_TWICE, Rig};
use super::{Format, INVALID, complain, files, quote, recording};
use crate::own_resolvers::OwnResolvers;
use crate::plan::{self, Plan};
use crate::scenario::read_bounded;
use crate::{report, zoo};

/// Carry out a plan again, or repeat a recording.
///
/// A plan is self-contained: it holds the world, the seed and every action. It can be edited: take
/// an action out, and every other draw stays as it was.
///
/// A recording holds what each engine was told, when, and what it drew. With --recording, fresh engines are told
/// the same, without any server, and every effect is compared. Exit codes: 0 equal; 1 different; 2 the recording
/// is damaged or a key is missing.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The plan.txt of a run's folder.
    #[arg(required_unless_present = "recording")]
    pub(super) plan: Option<PathBuf>,
    /// A recording, or a folder of them, to be repeated instead.
    #[arg(long, value_name = "FILE_OR_FOLDER", conflicts_with_all = ["plan", "expand", "print", "out", "format", "twice", "rig"])]
    pub(super) recording: Option<PathBuf>,
    /// A file with keys of the recording; needed unless they derive from a rig's seed. May be given more than once.
    #[arg(long, value_name = "KEYFILE", requires = "recording")]
    pub(super) key: Vec<PathBuf>,
    /// Write out every generator line first; with --print, show the plan instead of carrying it out.
    #[arg(long)]
    pub(super) expand: bool,
    /// Print the plan and do nothing else.
    #[arg(long)]
    pub(super) print: bool,
    /// Folder below which the run gets a folder of its own; where that holds the run of another plan, one more folder is
    /// put between them, with the name of the plan's file.
    #[arg(long, value_name = "FOLDER", default_value = OUT)]
    pub(super) out: PathBuf,
    /// How results are shown.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
    /// Run twice and compare every byte.
    #[arg(long)]
    pub(super) twice: bool,
    /// Show failures only.
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Where to carry the plan out; the live rig finds servers given in P2PSIM_POSTGRES_URL and P2PSIM_REDIS_URL.
    #[arg(long, value_enum, default_value_t)]
    pub(super) rig: Rig,
}

pub(super) fn run(arguments: &Arguments, own: &OwnResolvers) -> u8 {
    if let Some(path) = &arguments.recording {
        return recording::replay(path, &arguments.key, arguments.quiet);
    }
    // Without a recording there is a plan: clap sees to it.
    let file = arguments.plan.clone().unwrap_or_default();
    let name = file.display().to_string();
    let plan = read_bounded(&file, plan::FILE_BYTES_MAX)
        .map_err(|error| vec![files::unreadable(&name, &error)])
        .and_then(|bytes| Plan::parse_for(own, &name, &bytes));
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(found) => {
            found.iter().for_each(|diagnostic| complain(&format!("{diagnostic}\n")));
            return INVALID;
        }
    };
    if let Some(message) = plan.defect.and_then(|defect| zoo::misfit(defect, &plan.world)) {
        complain(&format!("{}\n", Diagnostic::file_error(&name, message, "`p2psim list --zoo` shows them")));
        return INVALID;
    }
    if arguments.twice && arguments.rig != Rig::Virtual {
        complain(NOT_TWICE);
        return INVALID;
    }
    if arguments.expand {
        plan = plan.expand();
    }
    if arguments.print {
        super::say(plan.to_text().trim_end());
        return 0;
    }
    let mut repeat = format!("replay {}", quote(&name));
    if arguments.expand {
        repeat += " --expand";
    }
    if arguments.rig != Rig::Virtual {
        repeat += &format!(" --rig {}", arguments.rig.name());
    }
    if arguments.out != Path::new(OUT) {
        repeat += &format!(" --out {}", quote(&arguments.out.display().to_string()));
    }
    // A shrunk or edited plan has the name and the seed of the one it was made of, whose run must not be lost.
    let mut out = arguments.out.clone();
    if report::holds_another(&out, &plan, arguments.rig.name()).unwrap_or(false) {
        out.push(file.file_stem().unwrap_or("other".as_ref()));
    }
    let output = Output {
        own,
        out: &out,
        format: arguments.format,
        junit: None,
        twice: arguments.twice,
        record: None,
        quiet: arguments.quiet,
        rig: arguments.rig,
        given: Given::from_environment(),
        skipped: &[],
    };
    carry_out_all(vec![Job { plan, repeat }], &output)
}

/// Replays lie apart from the runs that they repeat.
const OUT: &str = "reports/runs/replay";
