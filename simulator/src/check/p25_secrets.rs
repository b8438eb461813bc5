//! P25: no secret is seen where somebody might read it.
//!
//! The rig knows its secrets and looks for them in what it sees: messages (as they are, and what base64 hides),
//! errors that applications are given, rows and the history. A sighting names the secret and never shows it.

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, What};

#[derive(Default)]
pub(super) struct Secrets {
    texts: u64,
}

impl Check for Secrets {
    fn property(&self) -> Property {
        Property {
            id: "P25",
            name: "secrets stay",
            statement: "No key and no password is seen in a message, an error, a row or the history.",
            needs: &[Kind::Canary],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::CanarySeen { place, secret, op } => {
                findings.add(event.at_us, *op, || format!("the {secret} was seen: {place}"));
            }
            What::CanariesSought { texts, .. } => self.texts += texts,
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.texts, "texts were searched for secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_search_without_a_sighting_passes() {
        passes(Secrets::default(), vec![What::CanariesSought { place: "row".to_owned(), texts: 7 }]);
    }

    #[test]
    fn a_sighting_fails() {
        let (place, secret) = ("row".to_owned(), "master key".to_owned());
        let history = vec![What::CanarySeen { place, secret, op: Some(op(1)) }];
        fails(Secrets::default(), history, "the master key was seen: row");
    }
}
