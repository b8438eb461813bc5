//! P11: writes from one source to one key take effect in the order of the asking.
//!
//! A source is one life of a session, whose counters follow the asking; a key is a map and a type. The first write of a
//! source to a key follows none, and decides nothing.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use sync_core::data_type::SyncDataType;
use sync_core::id::MapName;

use super::{Basis, Check, Findings, Property, said};
use crate::history::{Event, Kind, OpRef, What};

/// An account, its life, and the key that it writes.
type Source = (u32, u64, SyncDataType, MapName);

#[derive(Default)]
pub(super) struct KeyOrder {
    /// By account and life, map and type: the latest counter and its operation.
    latest: FxHashMap<Source, (u64, Option<OpRef>)>,
    /// Effects that followed another one of their source and key.
    followed: u64,
}

impl Check for KeyOrder {
    fn property(&self) -> Property {
        Property {
            id: "P11",
            name: "per-key order",
            statement: "Writes from one source to one key take effect in the order of the asking.",
            needs: &[Kind::Applied],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Applied { op, id, data_type, map, .. } = &event.what else { return };
        let key = (id.account, id.incarnation, *data_type, map.clone());
        let latest = match self.latest.entry(key) {
            Entry::Occupied(latest) => latest.into_mut(),
            Entry::Vacant(first) => {
                first.insert((id.counter, *op));
                return;
            }
        };
        self.followed += 1;
        if id.counter < latest.0 {
            let (_, later) = *latest;
            findings.add(event.at_us, *op, || {
                let (op, later) = (said(*op), said(later));
                format!("{op} took effect after {later}, which was asked later for {data_type} on {map}")
            });
        } else {
            *latest = (id.counter, *op);
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.followed, "effects that followed another of their key")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn the_order_of_the_asking_passes_and_gaps_do_not_matter() {
        passes(KeyOrder::default(), vec![applied(1, None, 1), applied(2, None, 2), applied(9, None, 3)]);
    }

    #[test]
    fn keys_and_lives_are_apart() {
        let mut other_life = applied(1, None, 1);
        if let What::Applied { id, .. } = &mut other_life {
            id.incarnation = 2;
        }
        let mut other_map = applied(1, None, 1);
        if let What::Applied { map, .. } = &mut other_map {
            *map = MapName::new("other").unwrap();
        }
        decides_nothing(KeyOrder::default(), vec![applied(5, None, 1), other_life, other_map]);
    }

    #[test]
    fn an_older_write_that_lands_last_fails() {
        let history = vec![applied(1, None, 1), applied(3, None, 2), applied(2, None, 3)];
        fails(KeyOrder::default(), history, "0.2 took effect after 0.3");
    }
}
