//! The (map, type)s that a session has had to do with, and how many of its operations concerned each.

use std::collections::BTreeMap;

use slab::Slab;

use crate::data_type::SyncDataType;
use crate::host_sync::operation::KeyIndex;
use crate::id::MapName;
use crate::limits;

/// What is kept for each (map, type): found by name in logarithmic time, and bounded. Past
/// [`limits::SESSION_KEYS_MAX`] those are forgotten of which nothing waits or is under way, so there are never more than
/// twice as many as are in use, or than that bound.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The sequence of the latest operation of each.
    sequences: Slab<u64>,
    by_name: BTreeMap<(SyncDataType, MapName), u32>,
    /// No sequence of a forgotten key was greater: a key begins above it, so that the server, which does not forget,
    /// takes what comes.
    floor: u64,
    /// With so many keys it is time to forget some.
    full_at: usize,
}

impl Default for Keys {
    fn default() -> Self {
        let full_at = limits::SESSION_KEYS_MAX;
        Self { sequences: Slab::new(), by_name: BTreeMap::new(), floor: 0, full_at }
    }
}

impl Keys {
    /// The place of a (map, type). May forget keys that are not `in_use`.
    pub(super) fn place(
        &mut self,
        map: &MapName,
        data_type: SyncDataType,
        in_use: impl Fn(KeyIndex) -> bool,
    ) -> KeyIndex {
        let name = (data_type, map.clone());
        if let Some(at) = self.by_name.get(&name) {
            return KeyIndex(*at);
        }
        if self.sequences.len() >= self.full_at {
            self.forget(in_use);
        }
        let at = self.sequences.insert(self.floor) as u32;
        self.by_name.insert(name, at);
        KeyIndex(at)
    }

    /// The sequence of its latest operation.
    pub(super) fn sequence(&self, key: KeyIndex) -> u64 {
        self.sequences[key.0 as usize]
    }

    /// Counts one more operation.
    pub(super) fn count(&mut self, key: KeyIndex) -> u64 {
        let sequence = &mut self.sequences[key.0 as usize];
        *sequence += 1;
        *sequence
    }

    /// Looks at where the keys are found, see [`super::Session::warm`].
    pub(super) fn warm(&self) -> u64 {
        let place = self.by_name.first_key_value().map_or(0, |(_, at)| *at);
        self.sequences.get(place as usize).copied().unwrap_or_default()
    }

    fn forget(&mut self, in_use: impl Fn(KeyIndex) -> bool) {
        let Self { sequences, by_name, floor, .. } = self;
        by_name.retain(|_, at| {
            let stays = in_use(KeyIndex(*at));
            if !stays {
                *floor = (*floor).max(sequences.remove(*at as usize));
            }
            stays
        });
        self.full_at = limits::SESSION_KEYS_MAX.max(2 * self.sequences.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_the_bound_and_none_in_use_is_forgotten() {
        let mut keys = Keys::default();
        let map = |n: usize| MapName::new(&format!("m{n}")).unwrap();
        let busy = keys.place(&map(0), SyncDataType::ChatMessage, |_| false);
        for _ in 0..7 {
            keys.count(busy);
        }
        for n in 1..3 * limits::SESSION_KEYS_MAX {
            let key = keys.place(&map(n), SyncDataType::ChatMessage, |key| key == busy);
            assert!(key != busy && keys.count(key) >= 1);
            assert!(
                keys.sequences.len() <= limits::SESSION_KEYS_MAX
                    && keys.by_name.len() == keys.sequences.len()
            );
        }
        assert_eq!(keys.place(&map(0), SyncDataType::ChatMessage, |_| false), busy);
        assert_eq!(keys.sequence(busy), 7);
        let again = keys.place(&map(1), SyncDataType::ChatMessage, |key| key == busy);
        assert!(keys.count(again) > 1, "above what it had before it was forgotten");
    }

    #[test]
    fn keys_that_are_all_in_use_are_not_looked_through_each_time() {
        let mut keys = Keys::default();
        let looks = std::cell::Cell::new(0);
        for n in 0..4 * limits::SESSION_KEYS_MAX {
            let map = MapName::new(&format!("m{n}")).unwrap();
            keys.place(&map, SyncDataType::ChatMessage, |_| {
                looks.set(looks.get() + 1);
                true
            });
        }
        assert!(looks.get() <= 4 * limits::SESSION_KEYS_MAX, "{}", looks.get());
    }
}
