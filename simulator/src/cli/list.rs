//! `p2psim list`.

use std::path::PathBuf;

use clap::Args;

use super::{INVALID, complain, files, say};
use crate::own_resolvers::OwnResolvers;
use crate::{check, zoo};

/// Show scenarios, properties, planted defects or resolvers.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenario files or folders.
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// The properties that can be demanded.
    #[arg(long, conflicts_with_all = ["zoo", "resolvers"])]
    properties: bool,
    /// The defects that can be planted.
    #[arg(long, conflicts_with = "resolvers")]
    zoo: bool,
    /// The resolvers that tables of scenarios among peers can name (`policy: { custom: NAME }`).
    #[arg(long)]
    resolvers: bool,
}

pub(super) fn run(arguments: &Arguments, own: &OwnResolvers) -> u8 {
    if arguments.resolvers {
        own.names().iter().for_each(|name| say(name));
        return 0;
    }
    if arguments.properties {
        for property in check::properties() {
            say(&format!("{:4} {}\n     {}", property.id, property.name, property.statement));
        }
        say("\nAmong peers with a database each:\n");
        for property in check::peers::properties() {
            say(&format!("{:4} {}\n     {}", property.id, property.name, property.statement));
        }
        return 0;
    }
    if arguments.zoo {
        for entry in zoo::entries() {
            say(&format!(
                "{:4} {} (breaks {})\n     {}",
                entry.number,
                entry.name,
                entry.breaks.join(", "),
                entry.what
            ));
        }
        return 0;
    }
    match files::read(own, &arguments.paths, &[]) {
        Ok(scenarios) => {
            for found in scenarios {
                say(&format!("{}\n     {}", found.path.display(), found.scenario.about));
            }
            0
        }
        Err(found) => {
            found.iter().for_each(|diagnostic| complain(&format!("{diagnostic}\n")));
            INVALID
        }
    }
}
