//! The command line. The help texts are the manual; each command is a file.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod doctor;
mod files;
mod init;
mod list;
mod mock;
mod node;
mod only;
mod recording;
mod replay;
mod run;
mod runner;
mod seeds;
mod shrink;
mod stopwatch;
mod zoo;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use sync_core::peer_sync::resolver::Resolver;

use crate::own_resolvers::OwnResolvers;
use crate::scenario;
use crate::shell::quote;

/// Simulator and load generator for peer-to-peer data synchronisation.
///
/// Exit codes: 0 everything demanded holds; 1 a property or threshold failed; 2 usage or an invalid
/// file; 3 the run could not decide.
#[derive(Debug, Parser)]
#[command(
    name = "p2psim",
    version,
    max_term_width = 100,
    after_help = "Start with: p2psim init host > my.yaml && p2psim run my.yaml"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and judge them.
    Run(run::Arguments),
    /// Carry out a plan again, or repeat a recording.
    Replay(replay::Arguments),
    /// Make a failing plan small.
    Shrink(shrink::Arguments),
    /// Show scenarios, properties, planted defects or resolvers.
    List(list::Arguments),
    /// Print the JSON schema of scenario files, for completion in editors.
    Schema,
    /// Print a commented scenario to start from.
    Init(init::Arguments),
    /// Plant defects in the core and show that the checks catch them.
    Zoo(zoo::Arguments),
    /// Stand in for a service of others, such as OpenAI's embeddings.
    Mock(mock::Arguments),
    /// See whether this machine can carry out live runs, and what earlier ones left.
    Doctor(doctor::Arguments),
    #[command(hide = true)]
    Node(node::Arguments),
}

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: the summaries as one JSON array on the standard output.
    Json,
}

/// The exit code of usage errors and invalid files.
const INVALID: u8 = 2;

/// Runs the command line of `p2psim`.
pub fn main() -> ExitCode {
    Program::new().main()
}

/// `p2psim` with resolvers of a team's own, for a binary of that team:
///
/// ```no_run
/// # use simulator::own_resolvers::best_score::BestScore as Mine;
/// fn main() -> std::process::ExitCode {
///     simulator::cli::Program::new().resolver("mine", Mine).main()
/// }
/// ```
///
/// Tables of its scenarios may then say `policy: { custom: mine }`.
#[derive(Clone, Debug, Default)]
pub struct Program {
    own: OwnResolvers,
}

impl Program {
    /// `p2psim` as it is, with the resolvers of the examples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resolver. It is not held to the laws: scenarios may show what a wrong one comes to.
    #[must_use]
    pub fn resolver(self, name: &str, resolver: impl Resolver + 'static) -> Self {
        Self { own: self.own.with(name, resolver) }
    }

    /// Runs the command line, with the exit codes that its help names.
    pub fn main(self) -> ExitCode {
        let arguments = match Arguments::try_parse() {
            Ok(arguments) => arguments,
            Err(error) => {
                let code = if error.use_stderr() { INVALID } else { 0 };
                let _ = error.print();
                return ExitCode::from(code);
            }
        };
        let own = &self.own;
        let code = match arguments.command {
            Command::Run(arguments) => run::run(&arguments, own),
            Command::Replay(arguments) => replay::run(&arguments, own),
            Command::Shrink(arguments) => shrink::run(&arguments, own),
            Command::List(arguments) => list::run(&arguments, own),
            Command::Schema => {
                say(scenario::schema_json().trim_end());
                0
            }
            Command::Init(arguments) => init::run(&arguments),
            Command::Zoo(arguments) => zoo::run(&arguments),
            Command::Mock(arguments) => mock::run(&arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Node(arguments) => node::run(&arguments),
        };
        ExitCode::from(code)
    }
}

/// What runs everything that waits for sockets and processes.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Prints a line; a closed pipe is no error.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a line to the standard error.
fn complain(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// This program as it was called, for commands to be pasted.
fn program() -> String {
    std::env::args().next().map_or_else(|| "p2psim".to_owned(), |program| quote(&program))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
