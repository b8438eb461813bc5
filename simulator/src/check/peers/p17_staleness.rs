//! P17: bounded staleness: how long a write takes until each other peer holds it, or what beats it.
//!
//! Measured always; a violation only where the scenario states a bound, which then holds during faults, too. What
//! never arrives counts with the time that it has been missing.

use std::collections::BTreeMap;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::visibility::{Sample, Visibility};
use crate::history::{Event, Kind, What};
use crate::run::ms;

pub(super) struct Staleness {
    us_max: Option<u64>,
    visibility: Visibility,
    /// By peer: how many, and the longest.
    peers: BTreeMap<u32, (u64, u64)>,
    last_us: u64,
}

impl Staleness {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self {
            us_max: terms.staleness_us_max,
            visibility: Visibility::new(terms),
            peers: BTreeMap::new(),
            last_us: 0,
        }
    }
}

impl Check for Staleness {
    fn property(&self) -> Property {
        Property {
            id: "P17",
            name: "bounded staleness",
            statement: "Each write, or one that beats it, is visible at every other peer within the stated time, if one is stated.",
            needs: &[Kind::PeerCommitted, Kind::Merged, Kind::Purged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        let What::Peer(what) = &event.what else { return };
        let (peers, us_max) = (&mut self.peers, self.us_max);
        self.visibility.observe(event.at_us, what, |Sample { op, peer, took_us }| {
            let (count, longest_us) = peers.entry(peer).or_default();
            *count += 1;
            *longest_us = took_us.max(*longest_us);
            if let Some(max_us) = us_max.filter(|max_us| took_us > *max_us) {
                findings.add(event.at_us, Some(op), || {
                    format!(
                        "the write of {op} took {took_us} us to peer {peer}; at most {max_us} us are stated"
                    )
                });
            }
        });
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        if let Some(max_us) = self.us_max {
            let last_us = self.last_us;
            self.visibility.missing(last_us, |Sample { op, peer, took_us }| {
                if took_us > max_us {
                    findings.add(last_us, Some(op), || {
                        format!("the write of {op} is not at peer {peer} after {took_us} us; at most {max_us} us are stated")
                    });
                }
            });
        }
        let count = self.peers.values().map(|(count, _)| count).sum();
        let slowest = self.peers.iter().max_by_key(|(_, (_, longest_us))| *longest_us);
        let slowest = slowest.map_or_else(String::new, |(peer, (_, longest_us))| {
            format!(", the longest {}, at peer {peer}", ms(*longest_us))
        });
        Basis::new(count, &format!("times to visibility at {} peers{slowest}", self.peers.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check(staleness_us_max: Option<u64>) -> Staleness {
        Staleness::new(&PeerTerms { staleness_us_max, ..terms() })
    }

    /// Written at 10; peer 1 has it at 30, and peer 2 what beats it at 60.
    fn story() -> Vec<Event> {
        timed(vec![
            (10, What::Peer(committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]))),
            (30, What::Peer(merged(1, 0, vec![took(1, v(5, "p0"))]))),
            (50, What::Peer(committed(1, 1, 1, vec![write(1, v(6, "p1"), Some(v(5, "p0")))]))),
            (60, What::Peer(merged(2, 1, vec![took(1, v(6, "p1"))]))),
            (70, What::Peer(merged(0, 1, vec![beat(1, v(6, "p1"))]))),
        ])
    }

    #[test]
    fn what_is_visible_in_time_passes_and_is_measured() {
        passes_at(check(Some(50)), story());
        let mut check = check(None);
        let mut findings = Findings::default();
        story().iter().for_each(|event| check.observe(event, &mut findings));
        let basis = check.finish(&mut findings);
        assert_eq!(basis.words, "4 times to visibility at 3 peers, the longest 0.05 ms, at peer 2");
    }

    #[test]
    fn what_takes_longer_fails() {
        fails_at(check(Some(49)), story(), "the write of 0.1 took 50 us to peer 2; at most 49 us are stated");
    }

    #[test]
    fn what_never_arrives_fails() {
        let mut story = story();
        story.truncate(3);
        fails_at(check(Some(30)), story, "the write of 0.1 is not at peer 2 after 40 us");
    }
}
