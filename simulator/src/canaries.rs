//! Secrets of a run, looked for in whatever somebody might read.
//!
//! A secret is known by every form in which it is likely to slip out: its text form, the base64 in it, its hex
//! digits, and its bytes. Nothing here prints one.

use std::fmt;

use aho_corasick::AhoCorasick;
use sync_core::envelope;
use sync_core::secret::Secret;

/// What is looked for.
pub struct Canaries {
    automaton: AhoCorasick,
    /// The name of each pattern's secret.
    names: Vec<String>,
}

impl Canaries {
    /// These secrets, each by a name that may be shown.
    ///
    /// # Errors
    /// When there are too many for one automaton.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, Secret<String>)>) -> Result<Self, TooMany> {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        for (name, secret) in secrets {
            for form in forms(secret.expose()) {
                patterns.push(form);
                names.push(name.to_owned());
            }
        }
        let automaton = AhoCorasick::new(&patterns).map_err(|_| TooMany)?;
        Ok(Self { automaton, names })
    }

    /// The name of a secret that stands in this text, if one does.
    pub fn seen_in(&self, text: &[u8]) -> Option<&str> {
        self.automaton.find(text).map(|found| self.names[found.pattern().as_usize()].as_str())
    }
}

/// The secrets are too many to look for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many secrets to look for at once")]
pub struct TooMany;

impl fmt::Debug for Canaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canaries").field("patterns", &self.names.len()).finish_non_exhaustive()
    }
}

/// The text; for a key also the base64 at its end, with and without padding, its bytes, and those in hex.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let base64 = secret.rsplit(':').next().unwrap_or(secret);
    let mut bytes = Vec::new();
    if envelope::decode_base64(base64.as_bytes(), &mut bytes).is_err() || bytes.len() < KEY_BYTES_MIN {
        return vec![secret.as_bytes().to_vec()];
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let bare = base64.trim_end_matches('=');
    vec![bare.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), bytes]
}

/// What is shorter is no key, and would be found everywhere.
const KEY_BYTES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "p2p-master:k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_secret_is_found_in_each_of_its_forms_and_never_shown() {
        let secrets = [("master key", KEY), ("password", "hunter2-hunter2")];
        let secrets = secrets.map(|(name, text)| (name, Secret::new(text.to_owned())));
        let canaries = Canaries::new(secrets).unwrap();
        let check = |text: &[u8], expected: Option<&str>| assert_eq!(canaries.seen_in(text), expected);
        check(b"a log line", None);
        check(format!("key={KEY}").as_bytes(), Some("master key"));
        check(b"..AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8..", Some("master key"));
        check(b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", Some("master key"));
        check(&(0..40).collect::<Vec<u8>>(), Some("master key"));
        check(b"postgresql://u:hunter2-hunter2@h/x", Some("password"));
        assert_eq!(format!("{canaries:?}"), "Canaries { patterns: 5, .. }");
    }
}
