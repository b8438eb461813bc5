//! The zoo: broken variants of the core, each modelled on a public case, to show that the checks see them.
//!
//! A defect lives outside the core: a policy that decides wrongly, a codec that skips a step, a
//! database that answers too early, a generator that leaves out. It is chosen at run time by its
//! number, and all defects of worlds of hosts are one variant of the world, as are all defects among peers.

mod hosts;
pub mod hunt;
mod peers;
mod planted;

pub use planted::Planted;

use crate::scenario::model::Scenario;
use crate::virtual_rig::peers::AnyVariant;

/// A defect that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u32,
    /// A few words.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The public case it is modelled on.
    pub case: &'static str,
    /// Verbs that it takes to show.
    pub verbs: &'static str,
    /// Properties expected to catch it, the one that says most first; it counts as caught when one of them fails.
    pub breaks: &'static [&'static str],
    /// Seeds within which it must be caught.
    pub seeds_max: u64,
    /// The scenario in which it shows, a file of `simulator/src/zoo/scenarios`.
    pub scenario: &'static str,
}

/// Whether an entry can be planted in the live rig: those that sit at a host, in the generator, in the database and the
/// cache or how they are used, or in which keys a main server is given. Its engines there are the core's own.
pub fn is_plantable_live(number: u32) -> bool {
    matches!(number, 30 | 32 | 34 | 43 | 45 | 57 | 130)
}

/// Every entry, by its number.
pub fn entries() -> Vec<&'static Entry> {
    let mut entries: Vec<_> =
        std::iter::once(hosts::ENTRIES).chain(peers::LISTS.iter().copied()).flatten().collect();
    entries.sort_by_key(|entry| entry.number);
    entries
}

/// The entry with this number.
pub fn entry(number: u32) -> Option<&'static Entry> {
    entries().into_iter().find(|entry| entry.number == number)
}

/// The variant of a world of hosts with this defect; none for a number that is not one of theirs.
pub fn planted(number: u32) -> Option<Planted> {
    hosts::ENTRIES.iter().find(|entry| entry.number == number).map(|entry| Planted::new(entry.number))
}

/// The variant of a world of peers with this defect; none for a number that is not one of theirs.
pub fn planted_among_peers(number: u32) -> Option<AnyVariant> {
    planted::peers::variant(number)
}

/// Why a defect cannot be planted in a scenario, if it cannot.
pub fn misfit(number: u32, scenario: &Scenario) -> Option<String> {
    let (hosts, peers) = (planted(number).is_some(), planted_among_peers(number).is_some());
    match (hosts, peers, scenario.peers.is_some()) {
        (false, false, _) => Some(format!("no planted defect has the number {number}")),
        (true, _, true) => {
            Some(format!("planted defect {number} is one of hosts, and `{}` has peers", scenario.name))
        }
        (false, true, false) => {
            Some(format!("planted defect {number} is one among peers, and `{}` has hosts", scenario.name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_entry_has_a_number_of_its_own_and_a_defect_of_its_kind_of_world() {
        let entries = entries();
        let numbers: BTreeSet<u32> = entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers.len(), entries.len());
        for entry in entries {
            let scenario = hunt::scenario(entry).unwrap();
            assert_eq!(misfit(entry.number, &scenario), None);
            assert!((1..=100).contains(&entry.seeds_max));
            let demanded = &scenario.expect.properties;
            let all = entry.breaks.iter().all(|id| demanded.iter().any(|property| property == id));
            assert!(all || scenario.peers.is_none(), "zoo {}: {demanded:?}", entry.number);
        }
    }
}
