//! P31: a map has at most one primary at a time, and nobody else writes what belongs to it.
//!
//! Each primary begins a greater epoch than the one before, whose part ends at the same moment: in the same
//! decision. Once a map has had a primary, a write of what belongs to the map by any other account is the effect
//! of a stale epoch (fencing tokens; Gray and Cheriton 1989 for leases).

use std::collections::BTreeMap;

use sync_core::data_type::Scope;
use sync_core::id::MapName;
use sync_core::store::hosting::Part;

use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{Event, Kind, StateName, What};

#[derive(Default)]
pub(super) struct OnePrimary {
    maps: BTreeMap<MapName, Map>,
    judged: u64,
    lost: u32,
    lost_max: Option<u32>,
}

impl OnePrimary {
    pub(super) fn new(terms: &Terms) -> Self {
        Self { lost_max: terms.primaries_lost_max, ..Self::default() }
    }
}

#[derive(Default)]
struct Map {
    /// Of the latest primary.
    epoch: u64,
    primary: Option<u32>,
    /// A primary that another one followed, and when: its part must end at that moment.
    followed: Option<(u32, u64, u64)>,
}

impl Map {
    fn overlap(&mut self, now_us: u64, findings: &mut Findings) {
        if let Some((account, epoch, at_us)) = self.followed.filter(|(_, _, at_us)| *at_us < now_us) {
            self.followed = None;
            let primary = self.primary;
            findings.add(at_us, None, || {
                format!("account {account} of epoch {epoch} and account {primary:?} were primaries at once")
            });
        }
    }
}

impl Check for OnePrimary {
    fn property(&self) -> Property {
        Property {
            id: "P31",
            name: "one primary",
            statement: "A map has at most one primary at a time, and a stale epoch has no effect.",
            needs: &[Kind::Hosting, Kind::Applied],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Assigned { map: name, account, part: Part::Primary, epoch } => {
                self.judged += 1;
                let map = self.maps.entry(name.clone()).or_default();
                map.overlap(event.at_us, findings);
                if *epoch <= map.epoch {
                    let before = map.epoch;
                    findings.add(event.at_us, None, || {
                        format!("account {account} became primary of {name} in epoch {epoch}, after epoch {before}")
                    });
                }
                map.followed = map.primary.map(|former| (former, map.epoch, event.at_us));
                (map.primary, map.epoch) = (Some(*account), *epoch);
            }
            What::Released { map: name, account, part: Part::Primary, epoch } => {
                self.lost += 1;
                if let Some(max) = self.lost_max.filter(|max| self.lost > *max) {
                    let lost = self.lost;
                    findings.add(event.at_us, None, || {
                        format!(
                            "account {account} lost {name}: {lost} primaries lost a map, at most {max} may"
                        )
                    });
                }
                let map = self.maps.entry(name.clone()).or_default();
                map.overlap(event.at_us, findings);
                if map.followed.is_some_and(|(former, of, _)| (former, of) == (*account, *epoch)) {
                    map.followed = None;
                } else if (map.primary, map.epoch) == (Some(*account), *epoch) {
                    map.primary = None;
                }
            }
            What::Applied { op, id, key: Some(StateName(key)), .. }
                if key.data_type.scope() == Scope::Map =>
            {
                let Some(map) = self.maps.get_mut(&key.map) else { return };
                map.overlap(event.at_us, findings);
                self.judged += 1;
                if map.primary != Some(id.account) {
                    let (primary, epoch) = (map.primary, map.epoch);
                    findings.add(event.at_us, *op, || {
                        format!(
                            "account {} wrote {key} in epoch {epoch}, whose primary is {}",
                            id.account,
                            primary
                                .map_or_else(|| "nobody".to_owned(), |account| format!("account {account}"))
                        )
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        self.maps.values_mut().for_each(|map| map.overlap(u64::MAX, findings));
        let words = format!("primaries and writes of hosted maps; {} primaries lost a map", self.lost);
        Basis::new(self.judged, &words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::WireId;

    fn assigned(account: u32, epoch: u64) -> What {
        What::Assigned { map: MapName::new("map0").unwrap(), account, part: Part::Primary, epoch }
    }

    fn released(account: u32, epoch: u64) -> What {
        What::Released { map: MapName::new("map0").unwrap(), account, part: Part::Primary, epoch }
    }

    fn wrote(account: u32, key: &str) -> What {
        let id = WireId { account, incarnation: 1, counter: 1 };
        let key: StateName = key.parse().unwrap();
        let (data_type, map) = (key.0.data_type, key.0.map.clone());
        What::Applied { op: Some(op(1)), id, data_type, map, key: Some(key), version: 1, value: None }
    }

    fn at(moments: Vec<(u64, What)>) -> Vec<Event> {
        moments.into_iter().map(|(at_us, what)| Event { at_us, what }).collect()
    }

    #[test]
    fn primaries_that_follow_each_other_and_write_pass() {
        let history = at(vec![
            (0, wrote(9, "MAP_STATE/0/map0")),
            (1, assigned(1, 1)),
            (2, wrote(1, "MAP_STATE/0/map0")),
            (3, assigned(2, 2)),
            (3, released(1, 1)),
            (4, wrote(2, "MONSTER_DATA/0/map0")),
            (4, wrote(1, "PLAYER_DATA/1/map0")),
            (4, wrote(1, "MAP_STATE/0/map1")),
            (5, released(2, 2)),
            (6, assigned(1, 3)),
        ]);
        passes_at(OnePrimary::default(), history);
    }

    #[test]
    fn a_former_primary_that_writes_fails() {
        let history = vec![assigned(1, 1), assigned(2, 2), released(1, 1), wrote(1, "MAP_STATE/0/map0")];
        fails(
            OnePrimary::default(),
            history,
            "account 1 wrote MAP_STATE/0/map0 in epoch 2, whose primary is account 2",
        );
    }

    #[test]
    fn a_write_while_nobody_is_primary_fails() {
        let history = vec![assigned(1, 1), released(1, 1), wrote(1, "NPC_STATE/0/map0")];
        fails(OnePrimary::default(), history, "whose primary is nobody");
    }

    #[test]
    fn two_primaries_at_once_fail() {
        let history = at(vec![(1, assigned(1, 1)), (2, assigned(2, 2)), (3, released(1, 1))]);
        fails_at(OnePrimary::default(), history, "primaries at once");
        fails(OnePrimary::default(), vec![assigned(1, 1), assigned(2, 2)], "primaries at once");
    }

    #[test]
    fn an_epoch_that_does_not_grow_fails() {
        let history = vec![assigned(1, 2), assigned(2, 2), released(1, 2)];
        fails(OnePrimary::default(), history, "in epoch 2, after epoch 2");
    }

    #[test]
    fn a_primary_that_loses_its_map_fails_where_none_may() {
        let history = at(vec![(1, assigned(1, 1)), (2, assigned(2, 2)), (2, released(1, 1))]);
        let check = |max| OnePrimary::new(&Terms { primaries_lost_max: Some(max), ..Terms::default() });
        passes_at(check(1), history.clone());
        fails_at(check(0), history, "account 1 lost map0: 1 primaries lost a map, at most 0 may");
    }
}
