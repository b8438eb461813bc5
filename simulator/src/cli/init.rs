//! `p2psim init`.

use clap::Args;

use super::{INVALID, complain, say};
use crate::scenario::{TEMPLATES, template};

/// Print a commented scenario to start from.
#[derive(Debug, Args)]
#[command(after_help = "Example: p2psim init host > my.yaml")]
pub(super) struct Arguments {
    /// Which one; without it the choice is shown.
    kind: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let Some(kind) = &arguments.kind else {
        TEMPLATES.iter().for_each(|(kind, shows)| say(&format!("{kind:10} {shows}")));
        return 0;
    };
    match template(kind) {
        Some(text) => {
            say(text.trim_end());
            0
        }
        None => {
            let kinds: Vec<_> = TEMPLATES.iter().map(|(kind, _)| *kind).collect();
            complain(&format!(
                "error: there is no starter scenario `{kind}`\n  = help: there are {}",
                kinds.join(", ")
            ));
            INVALID
        }
    }
}
