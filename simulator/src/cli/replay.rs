//! `p2psim replay`.

use std::path::PathBuf;

use clap::Args;

use super::run::{Job, Output, carry_out_all};
use super::{Format, INVALID, complain, files, quote};
use crate::plan::Plan;

/// Carry out a plan again.
///
/// A plan is self-contained: it holds the world, the seed and every action. It can be edited: take
/// an action out, and every other draw stays as it was.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The plan.txt of a run's folder.
    pub(super) plan: PathBuf,
    /// Write out every generator line first; with --print, show the plan instead of carrying it out.
    #[arg(long)]
    pub(super) expand: bool,
    /// Print the plan and do nothing else.
    #[arg(long)]
    pub(super) print: bool,
    /// Folder below which the run gets a folder of its own.
    #[arg(long, value_name = "FOLDER", default_value = "reports/runs/replay")]
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
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let name = arguments.plan.display().to_string();
    let plan = std::fs::read(&arguments.plan)
        .map_err(|error| vec![files::unreadable(&name, &error)])
        .and_then(|bytes| Plan::parse(&name, &bytes));
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(found) => {
            found.iter().for_each(|diagnostic| complain(&format!("{diagnostic}\n")));
            return INVALID;
        }
    };
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
    let output = Output {
        out: &arguments.out,
        format: arguments.format,
        junit: None,
        twice: arguments.twice,
        quiet: arguments.quiet,
    };
    carry_out_all(vec![Job { plan, repeat }], &output)
}
