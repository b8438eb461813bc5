//! Why the database did not do as asked.

use std::io;

use thiserror::Error;

/// Why the database did not do as asked. Holds neither the connection string nor any value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PostgresError {
    /// `pg_connection_string` cannot be read.
    #[error(
        "`pg_connection_string` is neither a `postgresql://user:password@host:port/database` address \
         nor `host=... dbname=...` pairs: {0}"
    )]
    ConnectionString(&'static str),
    /// No connection, or it broke: whether the request took effect is not known.
    #[error(
        "PostgreSQL cannot be reached ({0}): see that it runs and that `pg_connection_string` leads to it"
    )]
    Unreachable(io::ErrorKind),
    /// No encrypted connection could be agreed on.
    #[error("PostgreSQL and this server agree on no encryption: see `sslmode` in `pg_connection_string`")]
    Tls,
    /// No answer in time: whether the request took effect is not known.
    #[error("PostgreSQL did not answer in time")]
    TimedOut,
    /// The server refused, with this SQLSTATE.
    #[error("PostgreSQL refused with SQLSTATE {code}{}", hint(code))]
    Refused {
        /// Five characters; see the appendix "PostgreSQL Error Codes" of its manual.
        code: String,
    },
    /// A migration that was applied earlier had another text.
    #[error("migration {0} was applied with another text: never edit a released migration, add a new one")]
    MigrationChanged(&'static str),
    /// A number that the database cannot hold exactly.
    #[error("{0} is beyond what the database holds")]
    OutOfRange(&'static str),
    /// The answer is not of the form that was asked for.
    #[error("PostgreSQL answered in another form than asked for: run the migrations of this version")]
    Unexpected,
}

/// What may help against an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing; the connection is in order.
    None,
    /// Sending the same once more on the same connection.
    Again,
    /// Another connection.
    Reconnect,
}

impl PostgresError {
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Refused { code } => match code.as_str() {
                // unique_violation, serialization_failure, deadlock_detected
                "23505" | "40001" | "40P01" => Remedy::Again,
                // Class 57: shut down, crash, starting up; class 08: connection.
                code if code.starts_with("57P") || code.starts_with("08") => Remedy::Reconnect,
                _ => Remedy::None,
            },
            Self::OutOfRange(_) => Remedy::None,
            _ => Remedy::Reconnect,
        }
    }
}

impl From<sqlx::Error> for PostgresError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().filter(|code| code.bytes().all(|b| b.is_ascii_alphanumeric()));
                Self::Refused { code: code.map_or_else(|| "XX000".to_owned(), |code| code.into_owned()) }
            }
            sqlx::Error::Io(error) => Self::Unreachable(error.kind()),
            sqlx::Error::Tls(_) => Self::Tls,
            _ => Self::Unexpected,
        }
    }
}

fn hint(code: &str) -> &'static str {
    match code {
        "28P01" | "28000" => ": user or password is wrong",
        "3D000" => ": there is no such database",
        "42P01" => {
            ": a table is missing: run the migrations first, or give it its name back if it was renamed"
        }
        "42703" => {
            ": a column is missing: give it its name back if it was renamed, or declare the table without it"
        }
        "42883" | "3F000" => ": run the migrations first",
        "42501" => ": the user lacks a right on the schema `p2p_sync`",
        "0A000" | "58P01" => ": is the extension pgvector installed?",
        "53300" => ": too many connections",
        "57P03" => ": the server is starting up",
        "25006" => ": the server is read-only",
        _ => "",
    }
}
