//! Which host plays which part on which map: what is asked of the store, and the in-memory decisions.
//!
//! A map has at most one primary, up to [`limits::BACKUPS_MAX`] backups and up to
//! [`limits::ASSISTANTS_MAX`] assistants, all of them hosts that offered it. Each new primary begins a new epoch
//! of the map; once a map has had a primary, only its present one may write what belongs to the map. A map that
//! never had one is run by the main server's own machines and open to every host.
//!
//! A host lives as long as it reports: it is checked every [`limits::HEALTH_CHECK`], and one that has missed
//! [`limits::HEALTH_CHECKS_FAILED_MAX`] checks is dropped, all by the database's clock: those of servers may differ.
//! Whatever changes the standing of a host settles the
//! maps that it offered, in one decision: the next primary is there before the former one's part ends.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::host_sync::hosting::HostMetrics;
use crate::id::{AccountId, MapName};
use crate::limits;
use crate::time::Timestamp;

/// The part that a host plays on a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It runs the map.
    Primary,
    /// It would take over.
    Backup,
    /// It helps.
    Assistant,
}

/// Who plays which part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The map.
    pub map: MapName,
    /// The host.
    pub account: AccountId,
    /// Its part.
    pub part: Part,
    /// The map's epoch in which it was given the part. Grows with each primary of a map.
    pub epoch: u64,
}

/// A part began or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The part.
    pub assignment: Assignment,
    /// Whether it began.
    pub began: bool,
}

/// What a host said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The host.
    pub account: AccountId,
    /// What it measured.
    pub metrics: HostMetrics,
    /// Maps that it offers, in the order of their names, each once.
    pub maps: Vec<MapName>,
}

/// How a map is hosted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapHosts {
    /// The epoch of its latest primary; 0 when it never had one.
    pub epoch: u64,
    /// Parts that are being played: the primary, then the others by account.
    pub assignments: Vec<Assignment>,
}

/// The in-memory standing of hosts and maps.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosting {
    hosts: BTreeMap<AccountId, Host>,
    maps: BTreeMap<MapName, Map>,
}

#[derive(Clone, Debug)]
struct Host {
    is_fit: bool,
    score: i64,
    reported: Timestamp,
    offers: BTreeSet<MapName>,
}

#[derive(Clone, Debug, Default)]
struct Map {
    epoch: u64,
    primary: Option<AccountId>,
    /// All others, with the epoch in which each was given its part.
    others: BTreeMap<AccountId, (Part, u64)>,
}

impl Host {
    /// Whether it has reported within the checks that it may miss.
    fn is_alive(&self, at: Timestamp) -> bool {
        let silence = limits::HEALTH_CHECK.saturating_mul(limits::HEALTH_CHECKS_FAILED_MAX);
        at < self.reported + silence
    }
}

impl Hosting {
    /// Why a write of what belongs to a map has no effect: the map's epoch, whose primary is another account.
    pub(super) fn fence(&self, map: &MapName, account: AccountId) -> Option<u64> {
        if self.maps.is_empty() {
            return None;
        }
        self.maps.get(map).filter(|map| map.epoch > 0 && map.primary != Some(account)).map(|map| map.epoch)
    }

    /// Takes reports and settles every map that their hosts offer or offered. Brings the parts that each plays.
    pub(super) fn report(
        &mut self,
        reports: &[HostReport],
        at: Timestamp,
    ) -> (Vec<Vec<Assignment>>, Vec<Change>) {
        let latest: BTreeMap<_, _> = reports.iter().map(|report| (report.account, report)).collect();
        let mut concerned = BTreeSet::new();
        for (account, HostReport { metrics, maps, .. }) in &latest {
            let (is_fit, score) = (metrics.is_fit(), metrics.score_millionths());
            let new = || Host { is_fit, score, reported: at, offers: BTreeSet::new() };
            let host = self.hosts.entry(*account).or_insert_with(new);
            (host.is_fit, host.score, host.reported) = (is_fit, score, host.reported.max(at));
            concerned.append(&mut host.offers);
            concerned.extend(maps.iter().cloned());
            host.offers = maps.iter().cloned().collect();
        }
        let mut changes = Vec::new();
        concerned.iter().for_each(|map| self.settle(map, at, &mut changes));
        let played = |report: &HostReport| {
            let maps = latest.get(&report.account).map(|latest| latest.maps.iter());
            let parts = maps.into_iter().flatten().filter_map(|map| {
                let hosts = self.maps.get(map)?.assignments(map);
                hosts.into_iter().find(|assignment| assignment.account == report.account)
            });
            parts.collect()
        };
        (reports.iter().map(played).collect(), changes)
    }

    /// Drops hosts that have been silent for too long, the smallest accounts first and a bounded number at a time,
    /// and settles what they offered. Says how many were dropped.
    pub(super) fn sweep(&mut self, at: Timestamp) -> (u64, Vec<Change>) {
        let silent = self.hosts.iter_mut().filter(|(_, host)| !host.offers.is_empty() && !host.is_alive(at));
        let (mut dropped, mut concerned) = (0, BTreeSet::new());
        for (_, host) in silent.take(limits::HOSTS_DROPPED_MAX) {
            dropped += 1;
            concerned.append(&mut host.offers);
        }
        let mut changes = Vec::new();
        concerned.iter().for_each(|map| self.settle(map, at, &mut changes));
        (dropped, changes)
    }

    /// How a map is hosted.
    pub(super) fn of(&self, map: &MapName) -> MapHosts {
        self.maps.get(map).map_or_else(MapHosts::default, |state| MapHosts {
            epoch: state.epoch,
            assignments: state.assignments(map),
        })
    }

    /// Gives the parts of one map anew, changing as little as can be: see the module.
    fn settle(&mut self, name: &MapName, at: Timestamp, changes: &mut Vec<Change>) {
        let offers = |host: &Host| host.offers.contains(name) && host.is_alive(at);
        let mut candidates: Vec<_> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.is_fit && offers(host))
            .map(|(account, host)| (std::cmp::Reverse(host.score), *account))
            .collect();
        candidates.sort_unstable();
        let candidates: Vec<_> = candidates.into_iter().map(|(_, account)| account).collect();
        if candidates.is_empty() && !self.maps.contains_key(name) {
            return;
        }
        let map = self.maps.entry(name.clone()).or_default();
        let mut change = |account, part, epoch, began| {
            changes
                .push(Change { assignment: Assignment { map: name.clone(), account, part, epoch }, began });
        };
        // A primary stays while it lives and offers the map, even one that is not fit any more when nobody else is.
        let stays = map.primary.filter(|primary| {
            candidates.contains(primary)
                || (candidates.is_empty() && self.hosts.get(primary).is_some_and(offers))
        });
        if stays.is_none() {
            let former = map.primary.map(|account| (account, map.epoch));
            map.primary = candidates.first().copied();
            if let Some(account) = map.primary {
                map.epoch += 1;
                change(account, Part::Primary, map.epoch, true);
                if let Some((part, epoch)) = map.others.remove(&account) {
                    change(account, part, epoch, false);
                }
            }
            if let Some((account, epoch)) = former {
                change(account, Part::Primary, epoch, false);
            }
        }
        map.others.retain(|account, (part, epoch)| {
            let keeps = candidates.contains(account);
            if !keeps {
                change(*account, *part, *epoch, false);
            }
            keeps
        });
        for account in candidates {
            if map.primary == Some(account) || map.others.contains_key(&account) {
                continue;
            }
            let played = |part| map.others.values().filter(|(other, _)| *other == part).count();
            let part = if played(Part::Backup) < limits::BACKUPS_MAX {
                Part::Backup
            } else if played(Part::Assistant) < limits::ASSISTANTS_MAX {
                Part::Assistant
            } else {
                break;
            };
            map.others.insert(account, (part, map.epoch));
            change(account, part, map.epoch, true);
        }
    }
}

impl Map {
    fn assignments(&self, name: &MapName) -> Vec<Assignment> {
        let of = |account, part, epoch| Assignment { map: name.clone(), account, part, epoch };
        let primary = self.primary.map(|account| of(account, Part::Primary, self.epoch));
        let others = self.others.iter().map(|(account, (part, epoch))| of(*account, *part, *epoch));
        primary.into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests;
