//! P23u: a host that subscribes is told of every critical update of its map once for each time it is published,
//! or that it may have missed some.
//!
//! A gap excuses what was published before it and not told yet: that may come, once, or not at all. What a host is
//! told must have been published, on its map, and be of a type that everybody on a map sees, or its own.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use sync_core::data_type::SyncDataType;
use sync_core::id::MapName;

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, OpRef, Update, What};

#[derive(Debug, Default)]
pub(super) struct Updates {
    subscribers: BTreeMap<u32, Subscriber>,
    told: u64,
}

#[derive(Debug)]
struct Subscriber {
    account: u32,
    map: MapName,
    /// Published and not told.
    due: FxHashMap<Update, Due>,
    /// What a gap has excused.
    excused: FxHashMap<Update, Due>,
}

/// How often, whose it is, and when it was published last.
#[derive(Clone, Copy, Debug)]
struct Due {
    times: u64,
    op: OpRef,
    at_us: u64,
}

impl Subscriber {
    /// Whether this host is to be told, as docs/host-sync.md says.
    fn is_told(&self, update: &Update) -> bool {
        use SyncDataType::{ChatMessage, ItemDrop, MapState, MonsterData, NpcState, PlayerPosition};
        let key = &update.key.0;
        let seen_by_all = [MapState, MonsterData, PlayerPosition, ItemDrop, NpcState, ChatMessage];
        key.map == self.map && (seen_by_all.contains(&key.data_type) || key.owner.0 == self.account)
    }

    /// What was published until now may have been missed.
    fn excuse(&mut self, now_us: u64) {
        self.excused.retain(|_, due| due.at_us + EXCUSED_US > now_us);
        for (update, due) in self.due.drain() {
            self.excused.entry(update).and_modify(|other| other.times += due.times).or_insert(due);
        }
    }

    /// Takes one telling off what is due, or off what is excused. Says whether there was one.
    fn take(&mut self, update: &Update) -> bool {
        [&mut self.due, &mut self.excused].into_iter().any(|from| {
            let Some(due) = from.get_mut(update) else { return false };
            due.times -= 1;
            if due.times == 0 {
                from.remove(update);
            }
            true
        })
    }
}

impl Check for Updates {
    fn property(&self) -> Property {
        Property {
            id: "P23u",
            name: "critical updates",
            statement: "A subscriber is told of each critical update of its map as often as it was published, or \
                        that it may have missed some.",
            needs: &[Kind::Updates],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Subscribed { host, account, map } => {
                let new = || Subscriber {
                    account: *account,
                    map: map.clone(),
                    due: FxHashMap::default(),
                    excused: FxHashMap::default(),
                };
                self.subscribers.entry(*host).or_insert_with(new).excuse(event.at_us);
            }
            What::Published { op, update } => {
                for subscriber in self.subscribers.values_mut().filter(|s| s.is_told(update)) {
                    let due = subscriber.due.entry(update.clone());
                    let due = due.or_insert(Due { times: 0, op: *op, at_us: 0 });
                    due.times += 1;
                    due.at_us = event.at_us;
                }
            }
            What::Told { host, gap, updates } => {
                let Some(subscriber) = self.subscribers.get_mut(host) else {
                    findings.add(event.at_us, None, || format!("host {host} is told and never subscribed"));
                    return;
                };
                if *gap {
                    subscriber.excuse(event.at_us);
                }
                for update in updates {
                    self.told += 1;
                    let Update { id, key, version } = update;
                    if !subscriber.is_told(update) {
                        findings.add(event.at_us, None, || {
                            format!("host {host} is told of {key}, which does not concern it")
                        });
                    } else if !subscriber.take(update) {
                        findings.add(event.at_us, None, || {
                            format!(
                                "host {host} is told of {key} in version {version} (operation {id}) more often than \
                                 it was published"
                            )
                        });
                    }
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for (host, subscriber) in &self.subscribers {
            let mut missed: Vec<_> = subscriber.due.iter().collect();
            missed.sort_unstable_by_key(|(update, _)| *update);
            for (Update { key, version, .. }, due) in missed {
                findings.add(due.at_us, Some(due.op), || {
                    format!("host {host} was never told of {key} in version {version}, nor of a gap")
                });
            }
        }
        Basis::new(self.told, "critical updates that subscribers were told of")
    }
}

/// What was excused so long ago does not come any more.
const EXCUSED_US: u64 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn update(key: &str, version: u64) -> Update {
        Update { id: id(version), key: key.parse().unwrap(), version }
    }

    fn subscribed() -> What {
        What::Subscribed { host: 0, account: 1, map: MapName::new("m").unwrap() }
    }

    fn published(key: &str, version: u64) -> What {
        What::Published { op: op(version), update: update(key, version) }
    }

    fn told(gap: bool, updates: &[Update]) -> What {
        What::Told { host: 0, gap, updates: updates.to_vec() }
    }

    const MAP: &str = "MAP_STATE/0/m";

    #[test]
    fn each_update_once_for_each_publication_passes() {
        let history = vec![
            subscribed(),
            told(true, &[]),
            published(MAP, 1),
            published(MAP, 1),
            told(false, &[update(MAP, 1), update(MAP, 1)]),
            // Of another map, and another account's own.
            published("MAP_STATE/0/n", 2),
            published("PLAYER_DATA/2/m", 3),
            published("PLAYER_DATA/1/m", 4),
            told(false, &[update("PLAYER_DATA/1/m", 4)]),
        ];
        passes(Updates::default(), history);
    }

    #[test]
    fn a_gap_excuses_what_came_before_it_and_lets_it_come_once() {
        let history = vec![subscribed(), published(MAP, 1), published(MAP, 2), told(true, &[]), subscribed()];
        decides_nothing(Updates::default(), history.clone());
        let once = [history, vec![told(false, &[update(MAP, 1)])]].concat();
        passes(Updates::default(), once.clone());
        let twice = [once, vec![told(false, &[update(MAP, 1)])]].concat();
        fails(Updates::default(), twice, "more often than it was published");
    }

    #[test]
    fn an_update_that_nobody_is_told_of_fails() {
        let history = vec![subscribed(), told(true, &[]), published(MAP, 1), told(false, &[])];
        fails(Updates::default(), history, "host 0 was never told of MAP_STATE/0/m in version 1");
    }

    #[test]
    fn what_was_not_published_or_does_not_concern_the_host_fails() {
        let history = vec![subscribed(), told(false, &[update(MAP, 1)])];
        fails(Updates::default(), history, "more often than it was published");
        for key in ["MAP_STATE/0/n", "PLAYER_DATA/2/m"] {
            let history = vec![subscribed(), published(key, 1), told(false, &[update(key, 1)])];
            fails(Updates::default(), history, "does not concern it");
        }
    }
}
