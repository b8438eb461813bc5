//! P23: what the cache serves was written, is not expired, and is not long out of date.
//!
//! A value may be served for as long as the configuration says after the database last gave it (wrote it or
//! read it), and for as long as the scenario says after the database has held a newer one. Failures and values
//! that nobody wrote are never served. (Nishtala et al. 2013, section 3.2, on stale sets and on thundering herds.)

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{Event, Kind, ReadStage, StateName, What};

#[derive(Debug)]
pub(super) struct CacheCoherence {
    expiry_us: Option<u64>,
    stale_us_max: u64,
    states: FxHashMap<StateName, State>,
    served: u64,
}

/// What the database said of one state.
#[derive(Debug, Default)]
struct State {
    /// The latest versions, ascending: the version, when it was written, and when the database last gave it.
    versions: VecDeque<(u64, u64, u64)>,
}

/// Versions of one state that are remembered: an older one that is served counts as old as the oldest of these.
const VERSIONS_KEPT: usize = 64;

impl CacheCoherence {
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            expiry_us: terms.cache_expiry_us,
            stale_us_max: terms.stale_reads_us_max,
            states: FxHashMap::default(),
            served: 0,
        }
    }

    fn given(&mut self, key: &StateName, version: u64, at_us: u64) {
        let state = self.states.entry(key.clone()).or_default();
        let last = state.versions.back().map_or(0, |(last, ..)| *last);
        if let Some((_, _, given_us)) = state.versions.iter_mut().find(|(known, ..)| *known == version) {
            *given_us = at_us;
        } else if last < version {
            // Writes take effect in the order of their versions.
            state.versions.push_back((version, at_us, at_us));
            if state.versions.len() > VERSIONS_KEPT {
                state.versions.pop_front();
            }
        }
    }

    /// What is wrong with serving this version now, if anything.
    fn fault(&self, key: &StateName, version: u64, at_us: u64) -> Option<String> {
        let versions = self.states.get(key).map(|state| &state.versions);
        let Some((versions, (latest, ..))) = versions.and_then(|versions| Some((versions, versions.back()?)))
        else {
            return Some(format!("version {version} of {key} was served and nobody wrote it"));
        };
        if version == 0 || version > *latest {
            return Some(format!("version {version} of {key} was served and nobody wrote it"));
        }
        let place = versions.iter().position(|(known, ..)| *known == version);
        if let (Some(place), Some(expiry_us)) = (place, self.expiry_us) {
            let age_us = at_us - versions[place].2;
            if age_us > expiry_us {
                return Some(format!(
                    "version {version} of {key} was served {age_us} us after the database last gave it, \
                     and expires after {expiry_us} us"
                ));
            }
        }
        // One that is forgotten was overtaken no later than the oldest that is known was written.
        let next = place.map_or(Some(0), |place| (place + 1 < versions.len()).then_some(place + 1))?;
        let stale_us = at_us - versions[next].1;
        (stale_us > self.stale_us_max).then(|| {
            format!(
                "version {version} of {key} was served {stale_us} us after a newer one took effect, \
                 at most {} us are allowed",
                self.stale_us_max
            )
        })
    }
}

impl Check for CacheCoherence {
    fn property(&self) -> Property {
        Property {
            id: "P23",
            name: "cache coherence and expiry",
            statement: "What the cache serves was written, has not expired, and is not out of date for longer than stated.",
            needs: &[Kind::Applied, Kind::Read],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Applied { key: Some(key), version, .. } => self.given(key, *version, event.at_us),
            What::Read { key, stage: ReadStage::Loaded { version: Some(version) }, .. } => {
                self.given(key, *version, event.at_us);
            }
            What::Read { key, op, stage: ReadStage::Cached { version }, .. } => {
                self.served += 1;
                if let Some(fault) = self.fault(key, *version, event.at_us) {
                    findings.add(event.at_us, Some(*op), || fault);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.served, "values served by the cache")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const KEY: &str = "MAP_STATE/0/m";

    fn check() -> CacheCoherence {
        let terms = Terms { cache_expiry_us: Some(1_000), stale_reads_us_max: 100, ..Terms::default() };
        CacheCoherence::new(&terms)
    }

    fn at(at_us: u64, what: What) -> Event {
        Event { at_us, what }
    }

    fn read(stage: ReadStage) -> What {
        What::Read { server: 0, key: KEY.parse().unwrap(), op: op(9), attempt: 1, stage }
    }

    fn cached(version: u64) -> What {
        read(ReadStage::Cached { version })
    }

    #[test]
    fn what_is_fresh_passes_up_to_its_bounds() {
        let history = vec![
            at(0, applied(1, Some(KEY), 1)),
            at(1_000, cached(1)),
            at(1_000, read(ReadStage::Loaded { version: Some(1) })),
            at(2_000, cached(1)),
            at(2_000, applied(2, Some(KEY), 2)),
            at(2_100, read(ReadStage::Loaded { version: None })),
            at(2_100, cached(2)),
        ];
        passes_at(check(), history);
        let overtaken =
            vec![at(0, applied(1, Some(KEY), 1)), at(0, applied(2, Some(KEY), 2)), at(100, cached(1))];
        passes_at(check(), overtaken);
    }

    #[test]
    fn an_expired_value_fails() {
        let history = vec![at(0, applied(1, Some(KEY), 1)), at(1_001, cached(1))];
        fails_at(check(), history, "expires after 1000 us");
    }

    #[test]
    fn a_value_that_is_out_of_date_for_too_long_fails() {
        let mut history =
            vec![at(0, applied(1, Some(KEY), 1)), at(0, applied(2, Some(KEY), 2)), at(101, cached(1))];
        fails_at(check(), history.clone(), "101 us after a newer one");
        // Even when it is so old that it is forgotten.
        history.pop();
        history.extend((3..200).map(|version| at(0, applied(version, Some(KEY), version))));
        history.push(at(101, cached(1)));
        fails_at(check(), history, "101 us after a newer one");
    }

    #[test]
    fn what_nobody_wrote_fails() {
        for version in [0, 2] {
            fails_at(
                check(),
                vec![at(0, applied(1, Some(KEY), 1)), at(1, cached(version))],
                "nobody wrote it",
            );
        }
        fails_at(check(), vec![at(0, cached(1))], "nobody wrote it");
    }
}
