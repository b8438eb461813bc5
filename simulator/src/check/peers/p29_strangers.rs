//! P29 among peers: a machine under a name that is in use, and a peer without a common version of the protocol, are
//! refused: no rows go to them or come from them, and somebody says so.
//!
//! It is judged by what arrives: rows that were sent before either of the two became somebody else count for what they
//! were. That nobody says a word is held against a core only where there was time enough and neither of the two was
//! down meanwhile. (Who is cut off from everybody cannot be noticed: do not demand P29 there.)

use std::collections::BTreeMap;

use sync_core::peer_sync::message::{PROTOCOL, ProtocolRange, Refusal};

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use crate::history::peers::PeerWhat;
use crate::history::{Event, Kind, What};

#[derive(Default)]
pub(super) struct Strangers {
    count: u32,
    /// Machines that have another's name: whose, and the span of it.
    doubles: BTreeMap<u32, (u32, Span)>,
    /// What peers speak that changed it.
    speaks: BTreeMap<u32, ProtocolRange>,
    /// Peers that have no version in common with anybody.
    alone: BTreeMap<u32, Span>,
    judged: u64,
    last_us: u64,
}

/// A time in which somebody is to be refused.
#[derive(Clone, Copy)]
struct Span {
    since_us: u64,
    reported: bool,
    /// When one of those concerned went down.
    down_us: Option<u64>,
}

impl Span {
    fn new(since_us: u64) -> Self {
        Self { since_us, reported: false, down_us: None }
    }

    /// Whether somebody should have said something by now.
    fn is_passed_over(&self, now_us: u64) -> bool {
        let long = now_us - self.since_us >= NOTICED_WITHIN_US;
        // Whoever goes down in this very moment comes up as somebody else.
        long && !self.reported && self.down_us.is_none_or(|down_us| down_us == now_us)
    }
}

impl Strangers {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { count: terms.count, ..Self::default() }
    }

    fn speaks(&self, peer: u32) -> ProtocolRange {
        self.speaks.get(&peer).copied().unwrap_or(PROTOCOL)
    }

    fn took(&mut self, node: u32, from: u32, rows: u64, findings: &mut Findings) {
        self.judged += 1;
        for (double, other) in [(from, node), (node, from)] {
            if let Some((name, _)) = self.doubles.get(&double) {
                findings.add(self.last_us, None, || {
                    let way = if double == from { "from" } else { "to" };
                    format!("{rows} rows went {way} machine {double}, which has the name of peer {name}, and peer {other} did not refuse")
                });
                return;
            }
        }
        let (ours, theirs) = (self.speaks(node), self.speaks(from));
        if ours.common(theirs).is_none() {
            findings.add(self.last_us, None, || {
                format!("peer {node}, which speaks version {ours}, took {rows} rows of peer {from}, which speaks {theirs}")
            });
        }
    }

    fn named(&mut self, node: u32, name: u32, findings: &mut Findings) {
        self.end_double(node, findings);
        if name != node {
            self.doubles.insert(node, (name, Span::new(self.last_us)));
        }
    }

    fn end_double(&mut self, node: u32, findings: &mut Findings) {
        let Some((name, span)) = self.doubles.remove(&node) else { return };
        if span.is_passed_over(self.last_us) {
            findings.add(self.last_us, None, || {
                format!("machine {node} had the name of peer {name}, and nobody said so")
            });
        }
    }

    fn released(&mut self, node: u32, speaks: ProtocolRange, findings: &mut Findings) {
        self.speaks.insert(node, speaks);
        for peer in 0..self.count {
            let own = self.speaks(peer);
            let alone =
                (0..self.count).all(|other| other == peer || own.common(self.speaks(other)).is_none());
            if alone {
                self.alone.entry(peer).or_insert_with(|| Span::new(self.last_us));
            } else {
                self.end_alone(peer, findings);
            }
        }
    }

    fn end_alone(&mut self, peer: u32, findings: &mut Findings) {
        let Some(span) = self.alone.remove(&peer) else { return };
        if span.is_passed_over(self.last_us) {
            findings.add(self.last_us, None, || {
                format!(
                    "peer {peer} had no version of the protocol in common with anybody, and nobody said so"
                )
            });
        }
    }

    fn reported(&mut self, between: [u32; 2], why: Refusal) {
        self.judged += 1;
        for peer in between {
            match why {
                Refusal::SameNode => {
                    self.doubles.entry(peer).and_modify(|(_, span)| span.reported = true);
                }
                Refusal::Protocol => {
                    self.alone.entry(peer).and_modify(|span| span.reported = true);
                }
                _ => {}
            }
        }
    }

    fn down(&mut self, node: &str) {
        let Some(node) = node.strip_prefix('n').and_then(|number| number.parse::<u32>().ok()) else { return };
        for (double, (name, span)) in &mut self.doubles {
            if *double == node || *name == node {
                span.down_us.get_or_insert(self.last_us);
            }
        }
        if let Some(span) = self.alone.get_mut(&node) {
            span.down_us.get_or_insert(self.last_us);
        }
    }
}

impl Check for Strangers {
    fn property(&self) -> Property {
        Property {
            id: "P29",
            name: "validation gate",
            statement: "Who has a name that is in use, or speaks no common version, is refused: no rows cross, and somebody says so.",
            needs: &[Kind::PeerIdentity, Kind::Node],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        match &event.what {
            What::Peer(PeerWhat::Named { node, name, .. }) => self.named(*node, *name, findings),
            What::Peer(PeerWhat::Released { node, speaks }) => self.released(*node, *speaks, findings),
            What::Peer(PeerWhat::Refused { node, peer, why }) => self.reported([*node, *peer], *why),
            What::Peer(PeerWhat::Took { node, from, rows }) => self.took(*node, *from, *rows, findings),
            What::Crashed { node } => self.down(node),
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for node in 0..self.count {
            self.end_double(node, findings);
            self.end_alone(node, findings);
        }
        Basis::new(self.judged, "refusals, and takings of rows while names or releases were mixed")
    }
}

/// Longer than a peer takes to find out who is there, on a network that loses some messages.
const NOTICED_WITHIN_US: u64 = 15_000_000;

#[cfg(test)]
mod tests {
    use sync_core::id::Incarnation;

    use super::super::testing::*;
    use super::*;

    fn check() -> Strangers {
        Strangers::new(&terms())
    }

    fn named(node: u32, name: u32) -> PeerWhat {
        PeerWhat::Named { node, name, incarnation: Incarnation(9) }
    }

    fn released(node: u32, oldest: u16, newest: u16) -> PeerWhat {
        PeerWhat::Released { node, speaks: ProtocolRange { oldest, newest } }
    }

    fn refused(node: u32, peer: u32, why: Refusal) -> PeerWhat {
        PeerWhat::Refused { node, peer, why }
    }

    fn took(node: u32, from: u32) -> PeerWhat {
        PeerWhat::Took { node, from, rows: 3 }
    }

    /// So much later each.
    fn slowly(whats: Vec<PeerWhat>) -> Vec<Event> {
        timed((0..).map(|at: u64| at * 10_000_000).zip(whats.into_iter().map(What::Peer)).collect())
    }

    #[test]
    fn rows_that_cross_fail_in_both_directions() {
        let refusal = refused(1, 2, Refusal::SameNode);
        passes(check(), vec![named(2, 0), refusal.clone(), took(1, 0), named(2, 2), took(1, 2)]);
        fails(
            check(),
            vec![named(2, 0), refusal.clone(), took(1, 2)],
            "3 rows went from machine 2, which has the name of peer 0, and peer 1 did not refuse",
        );
        fails(check(), vec![named(2, 0), refusal, took(2, 1)], "3 rows went to machine 2");
    }

    #[test]
    fn rows_cross_where_a_version_is_common() {
        let refusal = refused(2, 0, Refusal::Protocol);
        let upgrade = vec![released(0, 1, 2), took(1, 0), released(2, 2, 3), took(0, 2), took(2, 0), refusal];
        passes(check(), upgrade.clone());
        fails(
            check(),
            [upgrade.clone(), vec![took(1, 2)]].concat(),
            "peer 1, which speaks version 1, took 3 rows of peer 2, which speaks 2 to 3",
        );
        passes(check(), [upgrade, vec![released(1, 1, 2), took(1, 2)]].concat());
    }

    #[test]
    fn somebody_has_to_say_so() {
        let other = took(1, 0);
        let silent = vec![named(2, 0), other.clone(), other.clone(), named(2, 2)];
        fails_at(check(), slowly(silent.clone()), "machine 2 had the name of peer 0, and nobody said so");
        let told = vec![named(2, 0), refused(0, 2, Refusal::SameNode), other.clone(), named(2, 2)];
        passes_at(check(), slowly(told));
        // Too short a time, and one in which the first was down.
        passes_at(check(), slowly(vec![named(2, 0), named(2, 2), other]));
        let mut down = slowly(silent);
        down.insert(1, Event { at_us: 5_000_000, what: What::Crashed { node: "n0".to_owned() } });
        passes_at(check(), down);
        let silent = vec![released(1, 2, 2), took(2, 0), took(0, 2)];
        fails_at(check(), slowly(silent), "peer 1 had no version of the protocol in common with anybody");
        let told = vec![released(1, 2, 2), refused(1, 0, Refusal::Protocol), took(2, 0), took(0, 2)];
        passes_at(check(), slowly(told));
    }
}
