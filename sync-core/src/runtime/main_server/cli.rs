//! The command line of `main-server`, for the program and for others that run it as a child process.
//!
//! Standard output holds what was asked for and nothing else: a key, or the one line that says where the
//! server listens. Everything for people goes to standard error, and no line there holds a secret.

mod keys;
mod proxy;
mod serve;

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Role};
use crate::diagnostic::{Diagnostic, Severity};
use crate::limits;

pub use keys::{IssueHostKeyArguments, NewMasterKeyArguments};
pub use proxy::ProxyArguments;
pub use serve::{ServeArguments, serve};

/// Anything that the other codes do not stand for.
pub const FAILED: u8 = 1;
/// Usage, or a configuration that is not valid.
pub const INVALID: u8 = 2;
/// A server that is needed cannot be reached, or refuses.
pub const UNREACHABLE: u8 = 3;

/// Main server of peer-to-peer data synchronisation.
///
/// Exit codes: 0 after an orderly end; 1 a failure, such as an address in use; 2 usage or an invalid
/// configuration; 3 a server that is needed cannot be reached.
#[derive(Debug, Parser)]
#[command(
    name = "main-server",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        main-server new-master-key --key-id k1\n  \
        main-server serve --config p2p_data_sync.conf --listen 127.0.0.1:8080\n  \
        main-server serve --config - --embedded < p2p_data_sync.conf\n  \
        main-server issue-host-key --config p2p_data_sync.conf --account 2000001\n  \
        main-server proxy --upstream http://127.0.0.1:8080/p2p-sync --listen 127.0.0.1:8081\n\n\
        With `tls_certificate_file` it speaks TLS, else plain HTTP. On SIGHUP it reads the keys of its file again."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve hosts until SIGTERM or Ctrl-C. SIGHUP lets it read its keys again.
    Serve(ServeArguments),
    /// Stand before a main server, so that hosts see nothing of it.
    Proxy(ProxyArguments),
    /// Print the key of one host, for `encryption_key` in its file.
    IssueHostKey(IssueHostKeyArguments),
    /// Print a new master key, for `encryption_key` in the main server's file.
    NewMasterKey(NewMasterKeyArguments),
}

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ConfigArguments {
    /// The configuration; `-` reads it from the standard input, so that secrets need no file.
    #[arg(long, value_name = "FILE", default_value = "p2p_data_sync.conf")]
    pub config: PathBuf,
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
        Command::Proxy(arguments) => proxy::proxy(&arguments),
        Command::IssueHostKey(arguments) => keys::issue_host_key(&arguments),
        Command::NewMasterKey(arguments) => keys::new_master_key(&arguments),
    }
}

impl ConfigArguments {
    /// Reads a main server's configuration. What is wrong with it has been said when this gives nothing.
    fn read(&self) -> Option<Config> {
        let name =
            if self.is_standard_input() { "standard input".into() } else { self.config.to_string_lossy() };
        let bytes = match self.bytes() {
            Ok(bytes) => bytes,
            Err(error) => {
                let help =
                    "give the file with `--config FILE`; fixtures/conf/main_server.conf is one to start from";
                complain(&Diagnostic::file_error(&name, format!("cannot be read: {error}"), help));
                return None;
            }
        };
        match Config::parse(&name, &bytes) {
            Ok((config, warnings)) => {
                warnings.iter().for_each(|warning| complain(warning));
                if config.role == Role::MainServer {
                    return Some(config);
                }
                let message = "a host's configuration: the main server's says `role = main_server`";
                complain(&Diagnostic::file_error(
                    &name,
                    message,
                    "give the main server's file with `--config FILE`",
                ));
                None
            }
            Err(findings) => {
                findings.iter().for_each(|finding| complain(finding));
                None
            }
        }
    }

    /// Reads it once more while the server runs. Says in a line, without any secret, why it cannot be used.
    fn read_again(&self) -> Result<Config, String> {
        if self.is_standard_input() {
            return Err("a configuration that came over the standard input cannot be read again".to_owned());
        }
        let name = self.config.to_string_lossy();
        let bytes = self.bytes().map_err(|error| format!("{name} cannot be read: {error}"))?;
        match Config::parse(&name, &bytes) {
            Ok((config, _)) if config.role == Role::MainServer => Ok(config),
            Ok(_) => Err(format!("{name} is a host's configuration")),
            Err(findings) => Err(match findings.iter().find(|found| found.severity == Severity::Error) {
                Some(Diagnostic { line: 0, message, .. }) => format!("{name}: {message}"),
                Some(Diagnostic { line, message, .. }) => format!("{name}:{line}: {message}"),
                None => format!("{name} is no configuration"),
            }),
        }
    }

    fn is_standard_input(&self) -> bool {
        self.config == Path::new("-")
    }

    /// One byte more than may be there at the most: the reader of the configuration refuses that.
    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let bytes_max = limits::CONFIG_BYTES_MAX as u64 + 1;
        let mut bytes = Vec::new();
        if self.is_standard_input() {
            std::io::stdin().lock().take(bytes_max).read_to_end(&mut bytes)?;
        } else {
            std::fs::File::open(&self.config)?.take(bytes_max).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
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
