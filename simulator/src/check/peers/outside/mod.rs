//! Checks of peers whose stamps and positions are hidden: judged by what applications write and read.
//!
//! The properties are those of [`super`]; what differs is how they are told. A write is known by its content, and of two
//! writes of a row the first is *known to precede* the second if the second's peer had shown it, or something later, before
//! (Lamport 1978, over what is seen). Whatever is shown must not be known to precede what it has replaced: of two writes
//! neither of which is known to precede the other either may win. So a system with any rule about winners passes, and
//! one that loses a write, takes one back or shows half of a transaction does not.
//!
//! What needs more than that is `unknown`: the order of winners (P4), positions (P15), the merge laws (P3), stamps (P12, P13)
//! and times of arrival (P17).

mod ends;
mod ledger;
mod reads;
#[cfg(test)]
mod tests;

use sync_core::peer_sync::version::ContentHash;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use crate::history::{Event, Kind};

/// Every check of peers with hidden stamps, in the order of their numbers.
pub(super) fn all(terms: &PeerTerms, joins: bool) -> Vec<Box<dyn Check>> {
    let blind = |check: Box<dyn Check>| -> Box<dyn Check> { Box::new(Blind { check }) };
    vec![
        Box::new(Seen {
            check: Box::new(super::p01_convergence::Convergence::default()),
            needs: &[Kind::FinalRow],
        }),
        traced(joins, ends::Liveness::new(terms)),
        blind(Box::new(super::p03_merge_laws::MergeLaws::new(terms))),
        blind(Box::new(super::p04_winner_order::WinnerOrder::new(terms))),
        traced(joins, ends::NothingLost::new()),
        traced(joins, reads::NoPhantom::default()),
        traced(joins, ends::NoResurrection::new()),
        Box::new(ends::DeleteSymmetry::new()),
        traced(joins, reads::MonotonicReads::default()),
        traced(joins, reads::OwnWrites::default()),
        traced(joins, reads::KeyOrder::default()),
        blind(Box::new(super::p12_causality::Causality::new(terms))),
        blind(Box::new(super::p13_clock_contract::ClockContract::new(terms))),
        traced(joins, reads::ExactlyOnce::default()),
        blind(Box::new(super::p15_cursor::CursorCompleteness::new(terms))),
        traced(joins, reads::AtomicBatches::default()),
        blind(Box::new(super::p17_staleness::Staleness::new(terms))),
        Box::new(Seen {
            check: Box::new(super::p18_convergence_time::ConvergenceTime::new(terms)),
            needs: &[Kind::Fault, Kind::Equal],
        }),
        Box::new(super::p30_honesty::Honesty::default()),
    ]
}

/// A check that traces what is shown to one write, which can be done where versions are not joined.
fn traced(joins: bool, check: impl Check + 'static) -> Box<dyn Check> {
    if joins { Box::new(Blind { check: Box::new(check) }) } else { Box::new(check) }
}

/// A check of [`super`] that says something without all that it needs there.
struct Seen {
    check: Box<dyn Check>,
    needs: &'static [Kind],
}

/// A check that cannot be judged from the outside: nothing tells what peers merge.
struct Blind {
    check: Box<dyn Check>,
}

impl Check for Seen {
    fn property(&self) -> Property {
        Property { needs: self.needs, ..self.check.property() }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.check.observe(event, findings);
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        self.check.finish(findings)
    }
}

impl Check for Blind {
    fn property(&self) -> Property {
        Property { needs: &[Kind::Merged], ..self.check.property() }
    }

    fn observe(&mut self, _: &Event, _: &mut Findings) {}

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(0, "judged from the outside")
    }
}

/// What is shown of a row, in a sentence.
fn say(shown: Option<ContentHash>) -> String {
    shown.map_or_else(|| "no row".to_owned(), |hash| format!("content {hash}"))
}
