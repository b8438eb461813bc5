//! Why the live rig cannot be had: each cause is one line and has a remedy.

use std::time::Duration;

use sync_core::runtime::postgres::PostgresError;
use thiserror::Error;

use super::Service;

/// The exit code of a program that could not set up the live rig: the run could not decide.
pub const EXIT_UNKNOWN: u8 = 3;

/// What kept the live rig from doing as asked. The text is one line and holds no secret;
/// [`remedy`](Self::remedy) says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LiveError {
    /// Docker does not answer.
    #[error("Docker does not answer: {cause}")]
    DockerUnreachable {
        /// One line.
        cause: String,
    },
    /// An image is not on this machine and could not be pulled.
    #[error("the image {image} is not here and cannot be pulled: {cause}")]
    ImageMissing {
        /// The image's name with its tag.
        image: &'static str,
        /// One line.
        cause: String,
    },
    /// Docker refused something.
    #[error("Docker could not {doing}: {cause}")]
    Docker {
        /// What was asked of it, as it follows "could not".
        doing: String,
        /// One line.
        cause: String,
    },
    /// A server runs and does not answer.
    #[error("{service} did not answer within {} s: {cause}", bound.as_secs())]
    NotReady {
        /// The server.
        service: Service,
        /// How long it was waited for.
        bound: Duration,
        /// What the last attempt came to, in one line.
        cause: String,
    },
    /// An address that was given is of no use.
    #[error("the address given for {service} is of no use: {what}")]
    Address {
        /// The server.
        service: Service,
        /// What is wrong with it; never the address itself.
        what: &'static str,
    },
    /// PostgreSQL refused something.
    #[error("could not {doing}: {error}")]
    Postgres {
        /// What was asked of it, as it follows "could not".
        doing: &'static str,
        /// The runtime's error.
        error: PostgresError,
    },
    /// Redis refused something.
    #[error("could not {doing}: {cause}")]
    Redis {
        /// What was asked of it, as it follows "could not".
        doing: &'static str,
        /// One line.
        cause: String,
    },
    /// The database that this run would make is there already.
    #[error("the database {name} is there already, and this run did not make it")]
    DatabaseThere {
        /// The database's name.
        name: String,
    },
    /// The numbered database of a given Redis is in use.
    #[error("database {db} of the Redis given is not this run's: it holds {keys} keys{}", left_by(owner.as_deref()))]
    RedisNotOurs {
        /// Its number.
        db: u32,
        /// How many keys it holds.
        keys: u64,
        /// The run that marked it as its own, if one did.
        owner: Option<String>,
    },
    /// A fault was asked for at a server that was not started by this run.
    #[error("{0} was given by its address: it cannot be killed, started or paused from here")]
    NotStartedHere(Service),
    /// A child process could not be started, or ended early.
    #[error("{name}: {cause}")]
    Child {
        /// What the child is, such as `fault-proxy`.
        name: String,
        /// One line, with the last of what it wrote to its standard error.
        cause: String,
    },
    /// The fault proxy refused something.
    #[error("the fault proxy refused: {0}")]
    Proxy(String),
    /// Peers, or the links between them, could not be had.
    #[error("{0}")]
    Mesh(String),
    /// The system gave no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

impl LiveError {
    /// What to do about it, in one line.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::DockerUnreachable { .. } => {
                "start Docker (systemctl start docker) and see that this user may use it, or give running servers with \
                 --postgres-url and --redis-url"
            }
            Self::ImageMissing { .. } => {
                "run ci/local-images, which pulls or builds it, or give running servers with --postgres-url and --redis-url"
            }
            Self::Docker { .. } => {
                "see `p2psim doctor`, or give running servers with --postgres-url and --redis-url"
            }
            Self::NotReady { .. } => "see that the machine has memory and disk left, and `p2psim doctor`",
            Self::Address { service: Service::Postgres, .. } => {
                "write postgresql://user:password@host:port/database; a database of the run's own is made beside it"
            }
            Self::Address { service: Service::Redis, .. } => "write redis://:password@host:port/number",
            Self::Postgres { .. } => {
                "see that the user given may create databases and that the extension pgvector is installed"
            }
            Self::Redis { .. } => "see that Redis runs and that the address given leads to it",
            Self::DatabaseThere { .. } => "run again under another name, or drop that database",
            Self::RedisNotOurs { .. } => {
                "name an empty database by its number, as in redis://host:6379/9, or empty this one with FLUSHDB"
            }
            Self::NotStartedHere(_) => {
                "leave --postgres-url and --redis-url out, so that containers are started"
            }
            Self::Child { .. } => {
                "see what it wrote above; too few open files? `p2psim doctor` shows the limit"
            }
            Self::Proxy(_) => "see the names of the links and the values given",
            Self::Mesh(_) => {
                "peers listen on addresses of 127.0.0.0/8, which Linux has without further ado; see that the machine has \
                 memory left"
            }
            Self::Randomness => "see that this process may call getrandom",
        }
    }
}

fn left_by(owner: Option<&str>) -> String {
    owner.map_or_else(String::new, |run| format!(", left by run {run}"))
}

/// The first line of a text from outside, of bounded length and without control characters.
pub(super) fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    line.chars().filter(|c| !c.is_control()).take(CAUSE_CHARS_MAX).collect()
}

const CAUSE_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_line_of_bounded_length() {
        assert_eq!(one_line("\n  first \u{7}line\nsecond"), "first line");
        assert_eq!(one_line(" \n"), "no reason given");
        assert_eq!(one_line(&"x".repeat(5_000)).len(), CAUSE_CHARS_MAX);
    }

    #[test]
    fn an_error_names_the_run_that_left_something() {
        let error = LiveError::RedisNotOurs { db: 3, keys: 7, owner: Some("ab12".to_owned()) };
        assert_eq!(
            error.to_string(),
            "database 3 of the Redis given is not this run's: it holds 7 keys, left by run ab12"
        );
        assert!(error.remedy().contains("FLUSHDB"));
    }
}
