//! P26: whatever was tampered with on its way is refused, and the refusal tells nothing.
//!
//! Every altered message must be refused by whom it reaches, no unaltered one may be, and all
//! refusals in one direction must look alike: a difference is an oracle (Vaudenay 2002).
//!
//! A replayed request is an unaltered one. Once its time has left the freshness window it must not be acted
//! on. Before that it is a duplicate: that it takes effect no second time is P14's to judge, and the answer is
//! sealed for the host alone. A replayed reply is the answer to the very operation that it reaches.

use std::collections::BTreeMap;

use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{Event, Judgement, Kind, Tampering, Way, What};

pub(super) struct EnvelopeIntegrity {
    /// From here on a replayed request is too old, whatever its host's clock said.
    stale_after_us: u64,
    tampered: u64,
    answers: BTreeMap<Way, String>,
}

impl EnvelopeIntegrity {
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            // Whole milliseconds travel.
            stale_after_us: terms.freshness_window_us + terms.clock_off_us_max + 1_000,
            tampered: 0,
            answers: BTreeMap::new(),
        }
    }
}

impl Check for EnvelopeIntegrity {
    fn property(&self) -> Property {
        Property {
            id: "P26",
            name: "envelope integrity",
            statement: "Every altered message is refused, with one indistinguishable error, and so is a request \
                        replayed after the freshness window; no unaltered one is.",
            needs: &[Kind::Judged],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Judged { way, op, tampering, replayed_after_us, judgement } = &event.what else { return };
        let after_us = replayed_after_us.unwrap_or(0);
        let is_stale = *way == Way::ToServer && after_us > self.stale_after_us;
        // Nobody made anything of what was ignored, and a timely replay is a duplicate: neither can go wrong here.
        let is_judged = match tampering {
            None => false,
            Some(Tampering::Replayed) => is_stale,
            Some(_) => *judgement != Judgement::Ignored,
        };
        self.tampered += u64::from(is_judged);
        match (tampering, judgement) {
            (Some(Tampering::Replayed), Judgement::Accepted) if is_stale => {
                findings.add(event.at_us, Some(*op), || {
                    format!(
                        "a request replayed {after_us} us after it was sent (operation {op}) was acted on"
                    )
                });
            }
            // An answer to an authentic message: there is nothing to find out from it.
            (Some(Tampering::Replayed), _) => {}
            (Some(tampering), Judgement::Accepted) => findings.add(event.at_us, Some(*op), || {
                format!("a message altered on its way ({way:?}, {tampering:?}, operation {op}) was accepted")
            }),
            (None, Judgement::Refused(answer)) => findings.add(event.at_us, Some(*op), || {
                format!("an unaltered message ({way:?}, operation {op}) was refused: {answer}")
            }),
            (Some(tampering), Judgement::Refused(answer)) => {
                let first = self.answers.entry(*way).or_insert_with(|| answer.clone());
                if first != answer {
                    findings.add(event.at_us, Some(*op), || {
                        format!("refusals differ ({way:?}, {tampering:?}): `{first}` and `{answer}`")
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.tampered, "messages that were tampered with reached somebody")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> EnvelopeIntegrity {
        EnvelopeIntegrity::new(&Terms { freshness_window_us: 1_000_000, ..Terms::default() })
    }

    fn judged(tampering: Option<Tampering>, judgement: Judgement) -> What {
        What::Judged { way: Way::ToServer, op: op(1), tampering, replayed_after_us: None, judgement }
    }

    fn replayed(way: Way, after_us: u64, judgement: Judgement) -> What {
        let tampering = Some(Tampering::Replayed);
        What::Judged { way, op: op(1), tampering, replayed_after_us: Some(after_us), judgement }
    }

    fn refused(answer: &str) -> Judgement {
        Judgement::Refused(answer.to_owned())
    }

    #[test]
    fn refusals_alike_pass() {
        let history = vec![
            judged(Some(Tampering::FlippedBit), refused("HTTP 400")),
            judged(Some(Tampering::Truncated), refused("HTTP 400")),
            judged(Some(Tampering::Downgraded), Judgement::Ignored),
        ];
        passes(check(), history);
    }

    #[test]
    fn an_altered_message_that_is_believed_fails() {
        let history = vec![judged(Some(Tampering::ChangedOuter), Judgement::Accepted)];
        fails(check(), history, "was accepted");
    }

    #[test]
    fn refusals_that_differ_fail() {
        let history = vec![
            judged(Some(Tampering::FlippedBit), refused("HTTP 400")),
            judged(Some(Tampering::SwappedBlocks), refused("HTTP 413")),
        ];
        fails(check(), history, "refusals differ");
    }

    #[test]
    fn an_unaltered_message_that_is_refused_fails() {
        fails(check(), vec![judged(None, refused("HTTP 400"))], "was refused");
    }

    #[test]
    fn a_replay_is_a_duplicate_within_the_window_and_refused_after_it() {
        let history = vec![
            judged(Some(Tampering::FlippedBit), refused("HTTP 400")),
            replayed(Way::ToServer, 900_000, Judgement::Accepted),
            replayed(Way::ToServer, 1_001_001, refused("a sealed rejection")),
            replayed(Way::ToHost, 5_000_000, Judgement::Accepted),
        ];
        passes(check(), history);
    }

    #[test]
    fn what_cannot_be_wrong_decides_nothing() {
        let history = vec![
            replayed(Way::ToServer, 900_000, Judgement::Accepted),
            replayed(Way::ToHost, 5_000_000, Judgement::Accepted),
            judged(Some(Tampering::FlippedBit), Judgement::Ignored),
        ];
        decides_nothing(check(), history);
    }

    #[test]
    fn a_stale_replay_that_is_acted_on_fails() {
        fails(check(), vec![replayed(Way::ToServer, 1_001_001, Judgement::Accepted)], "was acted on");
    }
}
