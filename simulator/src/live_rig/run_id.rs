//! The name of one run of the live rig.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::LiveError;

/// Names one run: 1 to 32 lower-case letters and digits. It labels the run's containers and is part of the
/// name of its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

/// Why a text names no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a run is named by 1 to 32 lower-case letters and digits")]
pub struct RunIdError;

impl RunId {
    /// A name that no other run has: 16 hexadecimal digits from the system's randomness.
    pub fn random() -> Result<Self, LiveError> {
        Ok(Self(random_hex::<8>()?))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if plain && (1..=LENGTH_MAX).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RunIdError)
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So many bytes of the system's randomness as hexadecimal digits.
pub(super) fn random_hex<const BYTES: usize>() -> Result<String, LiveError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| LiveError::Randomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

const LENGTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_or_a_label_could_not_be_called_names_no_run() {
        for good in ["a", "0", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(good.parse::<RunId>().map(|run| run.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "A", "a-b", "a\"b", "a b", "ä", "0123456789abcdef0123456789abcdef0"] {
            assert_eq!(bad.parse::<RunId>(), Err(RunIdError), "{bad}");
        }
    }

    #[test]
    fn random_names_differ_and_read_back() {
        let (first, second) = (RunId::random().unwrap(), RunId::random().unwrap());
        assert_ne!(first, second);
        assert_eq!(first.as_str().parse(), Ok(first));
    }
}
