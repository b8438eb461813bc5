//! P26: whatever was altered on its way is refused, and the refusal tells nothing.
//!
//! Every altered message must be refused by whom it reaches, no unaltered one may be, and all
//! refusals in one direction must look alike: a difference is an oracle (Vaudenay 2002).

use std::collections::BTreeMap;

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Judgement, Kind, Way, What};

#[derive(Default)]
pub(super) struct EnvelopeIntegrity {
    altered: u64,
    answers: BTreeMap<Way, String>,
}

impl Check for EnvelopeIntegrity {
    fn property(&self) -> Property {
        Property {
            id: "P26",
            name: "envelope integrity",
            statement: "Every altered message is refused, with one indistinguishable error; no unaltered one is.",
            needs: &[Kind::Judged],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Judged { way, op, altered, judgement } = &event.what else { return };
        self.altered += u64::from(*altered);
        match (altered, judgement) {
            (true, Judgement::Accepted) => findings.add(event.at_us, Some(*op), || {
                format!("a message altered on its way ({way:?}, operation {op}) was accepted")
            }),
            (false, Judgement::Refused(answer)) => findings.add(event.at_us, Some(*op), || {
                format!("an unaltered message ({way:?}, operation {op}) was refused: {answer}")
            }),
            (true, Judgement::Refused(answer)) => {
                let first = self.answers.entry(*way).or_insert_with(|| answer.clone());
                if first != answer {
                    findings.add(event.at_us, Some(*op), || {
                        format!("refusals differ ({way:?}): `{first}` and `{answer}`")
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.altered, "altered messages reached somebody")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn judged(altered: bool, judgement: Judgement) -> What {
        What::Judged { way: Way::ToServer, op: op(1), altered, judgement }
    }

    fn refused(answer: &str) -> Judgement {
        Judgement::Refused(answer.to_owned())
    }

    #[test]
    fn refusals_alike_pass() {
        let history = vec![
            judged(true, refused("400")),
            judged(true, refused("400")),
            judged(true, Judgement::Ignored),
        ];
        passes(EnvelopeIntegrity::default(), history);
    }

    #[test]
    fn an_altered_message_that_is_believed_fails() {
        fails(EnvelopeIntegrity::default(), vec![judged(true, Judgement::Accepted)], "was accepted");
    }

    #[test]
    fn refusals_that_differ_fail() {
        let history = vec![judged(true, refused("400")), judged(true, refused("500"))];
        fails(EnvelopeIntegrity::default(), history, "refusals differ");
    }

    #[test]
    fn an_unaltered_message_that_is_refused_fails() {
        fails(EnvelopeIntegrity::default(), vec![judged(false, refused("400"))], "was refused");
    }
}
