//! P6e: P6 for embeddings, every vector is that of its own text.
//!
//! Whatever a provider answers, and in whichever order: what is stored beside a text, or given to a host for it, is
//! the vector that the model gives for this very text, or there is none. A host is given one vector for each of its texts,
//! and what is stored is of a text that some operation wrote.

use super::{Basis, Check, Findings, Property, said};
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
        match &event.what {
            What::Vector { op, at, vector, own, .. } => {
                self.looked_at += 1;
                let of = said(*op);
                match (op, at) {
                    (None, VectorAt::Database) => findings.add(event.at_us, None, || {
                        "the database holds a vector beside a text that no operation wrote there".to_owned()
                    }),
                    _ if vector == own => {}
                    (_, VectorAt::Database) => findings.add(event.at_us, *op, || {
                        format!("the database holds for operation {of} a vector that is not its text's")
                    }),
                    (_, VectorAt::Host) => findings.add(event.at_us, *op, || {
                        format!("operation {of} was given a vector that is not its text's")
                    }),
                }
            }
            What::VectorsGiven { op, texts, vectors } if texts != vectors => {
                findings.add(event.at_us, Some(*op), || {
                    format!("operation {op} was given {vectors} vectors for {texts} texts")
                });
            }
            _ => {}
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
        What::Vector { op: Some(op(1)), at, text: 1, vector, own: 7 }
    }

    fn given(vectors: u32) -> What {
        What::VectorsGiven { op: op(1), texts: 2, vectors }
    }

    #[test]
    fn vectors_of_their_own_texts_pass() {
        let given = [given(2), vector(VectorAt::Host, 7), vector(VectorAt::Host, 7)];
        passes(OwnVectors::default(), [vec![vector(VectorAt::Database, 7)], given.to_vec()].concat());
    }

    #[test]
    fn a_vector_that_is_missing_or_too_many_fails() {
        fails(
            OwnVectors::default(),
            vec![given(1), vector(VectorAt::Host, 7)],
            "was given 1 vectors for 2 texts",
        );
        fails(OwnVectors::default(), vec![given(3)], "was given 3 vectors for 2 texts");
    }

    #[test]
    fn a_stored_vector_of_nobody_fails() {
        let stored = What::Vector { op: None, at: VectorAt::Database, text: 1, vector: 7, own: 7 };
        fails(OwnVectors::default(), vec![stored], "beside a text that no operation wrote there");
    }

    #[test]
    fn a_vector_of_another_text_fails() {
        fails(OwnVectors::default(), vec![vector(VectorAt::Database, 8)], "the database holds");
        fails(OwnVectors::default(), vec![vector(VectorAt::Host, 8)], "was given");
    }
}
