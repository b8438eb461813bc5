//! The command line of `peer-node`, for the program and for others that run it as a child process.
//!
//! Standard output holds what was asked for and nothing else: a key, a token, or the one line that says where the node
//! listens. Everything for people goes to standard error, and no line there holds a secret.

mod log;
mod rename;
mod serve;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::peer::{PeerConfig, Variables};
use crate::diagnostic::Diagnostic;
use crate::peer_sync::authentication::{KEY_BYTES, SharedKey};

pub use serve::{ServeArguments, serve};

/// Anything that the other codes do not stand for.
pub const FAILED: u8 = 1;
/// Usage, or an environment that is not valid.
pub const INVALID: u8 = 2;
/// The database cannot be reached, or refuses.
pub const UNREACHABLE: u8 = 3;

/// The file of variables that is read when there is one and none is named.
const ENV_FILE: &str = ".env";

/// A peer with its own database that synchronises with other peers.
///
/// It is configured by its environment, and by a file of `NAME=value` lines before which the environment goes.
/// docs/peer-node.md has all variables. Exit codes: 0 after an orderly end; 1 a failure, such as a port in use; 2 usage or
/// an environment that is not valid; 3 the database cannot be reached.
#[derive(Debug, Parser)]
#[command(
    name = "peer-node",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        cp .env.example .env && peer-node serve\n  \
        API_PORT=8010 P2P_PORT=8003 DISCOVERY_PORT=8004 NODE_NAME=node2 peer-node serve --memory\n  \
        peer-node new-shared-key"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node until SIGTERM or Ctrl-C.
    Serve(ServeArguments),
    /// Give a database another name, with no node running on it: that of a machine that was copied, or that came up under a
    /// name in use. What was written there goes on under the new one.
    Rename(rename::RenameArguments),
    /// Print a new key for `P2P_SHARED_KEY`, which all peers of a mesh are given.
    NewSharedKey,
    /// Print the token that the documented endpoints want where a shared key is set.
    Token(EnvironmentArguments),
}

/// Where the variables are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct EnvironmentArguments {
    /// A file of `NAME=value` lines. Without it `.env` is read, if there is one.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

/// Runs a command line, the program's name first, and gives the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { INVALID } else { 0 };
            let _ = error.print();
            return code;
        }
    };
    match arguments.command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Rename(arguments) => rename::rename(&arguments),
        Command::NewSharedKey => new_shared_key(),
        Command::Token(arguments) => token(&arguments),
    }
}

fn new_shared_key() -> u8 {
    let mut bytes = [0; KEY_BYTES];
    if let Err(error) = getrandom::fill(&mut bytes) {
        complain(&format_args!("error: the system gives no random bytes: {error}"));
        return FAILED;
    }
    say(SharedKey::new(bytes).to_text().expose());
    0
}

fn token(arguments: &EnvironmentArguments) -> u8 {
    let Some(config) = arguments.resolve() else { return INVALID };
    match &config.shared_key {
        Some(key) => {
            say(key.token().expose());
            0
        }
        None => {
            let help = "make one with `peer-node new-shared-key`; without one nobody needs a token";
            complain(&Diagnostic::file_error("environment", "P2P_SHARED_KEY is not given", help));
            INVALID
        }
    }
}

impl EnvironmentArguments {
    /// Reads and resolves. What is wrong has been said when this gives nothing.
    fn resolve(&self) -> Option<PeerConfig> {
        let found = self.variables().and_then(|variables| PeerConfig::resolve(&variables));
        match found {
            Ok((config, warnings)) => {
                warnings.iter().for_each(|warning| complain(warning));
                Some(config)
            }
            Err(findings) => {
                findings.iter().for_each(|found| complain(found));
                None
            }
        }
    }

    fn variables(&self) -> Result<Variables, Vec<Diagnostic>> {
        let file = self.env_file.clone().unwrap_or_else(|| ENV_FILE.into());
        let name = file.to_string_lossy();
        let variables = match std::fs::read(&file) {
            Ok(bytes) => Variables::default().with_file(&name, &bytes)?,
            Err(error) if self.env_file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Variables::default()
            }
            Err(error) => {
                let help = "`.env.example` is one to start from";
                return Err(vec![Diagnostic::file_error(&name, format!("cannot be read: {error}"), help)]);
            }
        };
        // What is no text names none of our variables, and as a value it is one that is not taken.
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        Ok(variables.with_environment(environment))
    }
}

/// Prints a line to the standard output; a closed pipe is no error.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints a line to the standard error.
fn complain(line: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
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
