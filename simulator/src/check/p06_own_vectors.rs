//! P6e: P6 for embeddings, every vector is that of its own text.
//!
//! Whatever a provider answers, and in whichever order: what is stored beside a text, or given to a host for it, is
//! the vector that the model gives for this very text, or there is none.

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, VectorAt, What};

#[derive(Default)]
pub(super) struct OwnVectors {
    looked_at: u64,
}

impl Check for OwnVectors {
    fn property(&self) -> Property {
        Property {
            id: "P6e",
            name: "no phantom among embeddings",
            statement: "Every vector that is stored, or given to a host, is that of its own text.",
            needs: &[Kind::Vector],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Vector { op, at, vector, own, .. } = &event.what else { return };
        self.looked_at += 1;
        if vector != own {
            findings.add(event.at_us, Some(*op), || match at {
                VectorAt::Database => {
                    format!("the database holds for operation {op} a vector that is not its text's")
                }
                VectorAt::Host => format!("operation {op} was given a vector that is not its text's"),
            });
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.looked_at, "vectors held against their texts")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn vector(at: VectorAt, vector: u64) -> What {
        What::Vector { op: op(1), at, text: 1, vector, own: 7 }
    }

    #[test]
    fn vectors_of_their_own_texts_pass() {
        passes(OwnVectors::default(), vec![vector(VectorAt::Database, 7), vector(VectorAt::Host, 7)]);
    }

    #[test]
    fn a_vector_of_another_text_fails() {
        fails(OwnVectors::default(), vec![vector(VectorAt::Database, 8)], "the database holds");
        fails(OwnVectors::default(), vec![vector(VectorAt::Host, 8)], "was given");
    }
}
