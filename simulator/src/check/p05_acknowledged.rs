//! P5: no acknowledged write is lost.
//!
//! Each acknowledged write is in the database at the end, and each state at the end is the one with
//! the greatest version that was ever seen to take effect: a write may be beaten by a later one, but
//! not forgotten.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::range_set::RangeSet;

use super::rows::Rows;
use super::{Basis, Check, Findings, Property, said};
use crate::history::{End, Event, Kind, OpRef, StateName, What, WireId};

#[derive(Default)]
pub(super) struct Acknowledged {
    /// Counters of acknowledged writes of the life of each account's session that acknowledged the latest.
    acknowledged: Rows<Life>,
    /// Those of other lives.
    other_lives: FxHashMap<(u32, u64), RangeSet>,
    /// The greatest version seen to take effect, for each state.
    greatest: FxHashMap<StateName, (u64, WireId, Option<OpRef>)>,
    kept: BTreeMap<(u32, u64), RangeSet>,
    writes: u64,
    last_us: u64,
}

/// One life of a session.
#[derive(Default)]
struct Life {
    incarnation: u64,
    counters: RangeSet,
}

impl Acknowledged {
    fn acknowledge(&mut self, id: WireId) {
        let life = self.acknowledged.row(id.account);
        if life.incarnation != id.incarnation {
            let counters = self.other_lives.remove(&(id.account, id.incarnation)).unwrap_or_default();
            let left = std::mem::replace(life, Life { incarnation: id.incarnation, counters });
            if !left.counters.is_empty() {
                self.other_lives.insert((id.account, left.incarnation), left.counters);
            }
        }
        life.counters.insert(id.counter);
    }
}

impl Check for Acknowledged {
    fn property(&self) -> Property {
        Property {
            id: "P5",
            name: "no acknowledged write is lost",
            statement: "Each acknowledged write is in the database at the end, or beaten there by a recorded later one.",
            needs: &[Kind::Finished, Kind::Applied, Kind::FinalState, Kind::FinalSession],
        }
    }

    /// Accounts follow hosts in number.
    fn warm(&self, host: u32, state: Option<&StateName>) -> u64 {
        match state {
            Some(state) => self.greatest.get(state).map_or(0, |(version, ..)| *version),
            None => self.acknowledged.near(host.wrapping_add(1)).map_or(0, |life| life.incarnation),
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        self.last_us = event.at_us;
        match &event.what {
            What::Finished { id, writes: true, end: End::Done, .. } => {
                self.writes += 1;
                self.acknowledge(*id);
            }
            What::Applied { key: Some(key), version, id, op, .. } => match self.greatest.get_mut(key) {
                Some(greatest) if greatest.0 < *version => *greatest = (*version, *id, *op),
                Some(_) => {}
                None => {
                    self.greatest.insert(key.clone(), (*version, *id, *op));
                }
            },
            What::FinalSession { account, incarnation, applied } => {
                let kept = self.kept.entry((*account, *incarnation)).or_default();
                applied.iter().flat_map(|(first, last)| *first..=*last).for_each(|counter| {
                    kept.insert(counter);
                });
            }
            What::FinalState { key, version, op, id, .. } => {
                if let Some((greatest, seen_id, seen_op)) = self.greatest.remove(key)
                    && (*version, *id) != (greatest, seen_id)
                {
                    findings.add(event.at_us, seen_op, || {
                        let (op, seen_op) = (said(*op), said(seen_op));
                        format!(
                            "{key} ends at version {version} by operation {op}, but version {greatest} by \
                                 operation {seen_op} had taken effect"
                        )
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let latest = self.acknowledged.drain().filter(|(_, life)| !life.counters.is_empty());
        let mut acknowledged: BTreeMap<_, _> =
            latest.map(|(account, life)| ((account, life.incarnation), life.counters)).collect();
        acknowledged.extend(self.other_lives.drain());
        for ((account, incarnation), acknowledged) in &acknowledged {
            let nothing = RangeSet::default();
            let kept = self.kept.get(&(*account, *incarnation)).unwrap_or(&nothing);
            for counter in acknowledged.difference(kept) {
                findings.add(self.last_us, None, || {
                    format!(
                        "operation {account}-{incarnation:016x}-{counter} was acknowledged and is not in the database"
                    )
                });
            }
        }
        let left: BTreeMap<_, _> = self.greatest.drain().collect();
        for (key, (version, _, op)) in &left {
            findings.add(self.last_us, *op, || {
                let op = said(*op);
                format!("{key} had version {version} by operation {op} and is not in the database at the end")
            });
        }
        Basis::new(self.writes, "acknowledged writes looked for at the end")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn history(kept: Vec<(u64, u64)>, last: u64) -> Vec<What> {
        vec![
            applied(1, Some("MAP_STATE/0/m"), 1),
            finished(1, End::Done),
            applied(2, Some("MAP_STATE/0/m"), 2),
            finished(2, End::DeadlineExceeded),
            What::FinalState {
                key: "MAP_STATE/0/m".parse().unwrap(),
                version: last,
                op: Some(op(last)),
                id: id(last),
                value: None,
            },
            What::FinalSession { account: 1, incarnation: 1, applied: kept },
        ]
    }

    #[test]
    fn a_write_that_is_there_or_beaten_passes() {
        passes(Acknowledged::default(), history(vec![(1, 2)], 2));
    }

    #[test]
    fn a_write_that_is_gone_fails() {
        fails(
            Acknowledged::default(),
            history(vec![(2, 2)], 2),
            "was acknowledged and is not in the database",
        );
    }

    #[test]
    fn each_life_of_a_session_is_looked_for_by_itself() {
        let ended = |incarnation, counter| {
            let mut what = finished(counter, End::Done);
            if let What::Finished { id, .. } = &mut what {
                id.incarnation = incarnation;
            }
            what
        };
        let kept = |incarnation, applied| What::FinalSession { account: 1, incarnation, applied };
        let mut history = vec![ended(1, 1), ended(2, 1), ended(1, 2), ended(2, 2), ended(3, 1)];
        history.extend([kept(1, vec![(1, 2)]), kept(2, vec![(1, 2)]), kept(3, vec![(1, 1)])]);
        passes(Acknowledged::default(), history.clone());
        for (place, incarnation) in [(5, 1), (6, 2), (7, 3)] {
            let mut history = history.clone();
            history[place] = kept(incarnation, vec![(2, 2)]);
            let lost = format!("operation 1-{incarnation:016x}-1 was acknowledged");
            fails(Acknowledged::default(), history, &lost);
        }
    }

    #[test]
    fn a_state_that_fell_back_fails() {
        fails(Acknowledged::default(), history(vec![(1, 2)], 1), "ends at version 1");
    }

    #[test]
    fn a_state_that_vanished_fails() {
        let mut history = history(vec![(1, 2)], 2);
        history.remove(4);
        fails(Acknowledged::default(), history, "is not in the database at the end");
    }
}
