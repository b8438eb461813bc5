//! Why Redis did not do as asked.

use ::redis::{ErrorKind, RedisError};
use thiserror::Error;

/// Why Redis did not do as asked. Holds neither the password nor any value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedisFault {
    /// `redis_host` or `redis_port` cannot be used.
    #[error("`redis_host` and `redis_port` are no address to connect to")]
    Settings,
    /// No connection, or it broke.
    #[error("Redis cannot be reached: see that it runs and that `redis_host` and `redis_port` lead to it")]
    Unreachable,
    /// No answer in time.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// The password was refused, or one is needed.
    #[error("Redis refused the password: see `redis_password`")]
    Password,
    /// The server refused, with this code.
    #[error("Redis refused with {code}{}", hint(code))]
    Refused {
        /// The first word of its answer.
        code: String,
    },
}

impl From<&RedisError> for RedisFault {
    fn from(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => Self::Password,
            (_, Some(code)) => {
                // The answer is the server's; only a plain word of it is passed on.
                let word = code.bytes().all(|b| b.is_ascii_uppercase()) && code.len() <= 32;
                Self::Refused { code: if word { code.to_owned() } else { "an error".to_owned() } }
            }
            (_, None) => Self::Unreachable,
        }
    }
}

fn hint(code: &str) -> &'static str {
    match code {
        "LOADING" => ": it is loading its data",
        "OOM" => ": its memory is full, see `maxmemory` and `maxmemory-policy`",
        "READONLY" => ": it is a read-only replica",
        "NOPERM" => ": the user may not run a command that the cache needs",
        _ => "",
    }
}
