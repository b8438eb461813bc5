//! What the harness remembers of the operations of one host.

use rustc_hash::FxHashMap;
use sync_core::data_type::SyncDataType;

use crate::scenario::model::MixKind;

/// An operation that has not ended, or whose late reply may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) ticket: u64,
    /// When the workload intended it.
    pub(super) intended_us: u64,
    /// When the session was asked; in real time a little later.
    pub(super) asked_us: u64,
    pub(super) sent_us: Option<u64>,
    /// The counter in its id; 0 before it was accepted.
    pub(super) counter: u64,
    pub(super) attempts: u32,
    pub(super) critical: bool,
    pub(super) data_type: SyncDataType,
    pub(super) kind: MixKind,
    pub(super) writes: bool,
    /// The map's number.
    pub(super) map: u32,
    /// Its frames have a version that nobody speaks.
    pub(super) unknown_version: bool,
    /// It ended at its deadline: a late reply may still come.
    pub(super) ended: bool,
}

/// Operations by ticket. A host has a few at most times, which lie side by side and are looked through; the
/// others of one that is overrun are found by hash.
#[derive(Debug, Default)]
pub(super) struct Pendings {
    few: Vec<Pending>,
    many: FxHashMap<u64, Pending>,
}

/// As many as it pays to look through.
const FEW_MAX: usize = 16;

impl Pendings {
    pub(super) fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// Of one of them, 0 without any.
    pub(super) fn first_ticket(&self) -> u64 {
        self.few.first().map_or(0, |pending| pending.ticket)
    }

    /// Tickets are never used twice.
    pub(super) fn insert(&mut self, pending: Pending) {
        if self.few.len() < FEW_MAX {
            self.few.push(pending);
        } else {
            self.many.insert(pending.ticket, pending);
        }
    }

    pub(super) fn get(&self, ticket: u64) -> Option<&Pending> {
        let few = self.few.iter().find(|pending| pending.ticket == ticket);
        few.or_else(|| if self.many.is_empty() { None } else { self.many.get(&ticket) })
    }

    pub(super) fn get_mut(&mut self, ticket: u64) -> Option<&mut Pending> {
        let few = self.few.iter_mut().find(|pending| pending.ticket == ticket);
        few.or_else(|| if self.many.is_empty() { None } else { self.many.get_mut(&ticket) })
    }

    pub(super) fn remove(&mut self, ticket: u64) -> Option<Pending> {
        match self.few.iter().position(|pending| pending.ticket == ticket) {
            Some(at) => Some(self.few.swap_remove(at)),
            None if self.many.is_empty() => None,
            None => self.many.remove(&ticket),
        }
    }

    /// Takes everything out, by ascending ticket.
    pub(super) fn drain(&mut self) -> Vec<Pending> {
        let mut all: Vec<_> =
            self.few.drain(..).chain(self.many.drain().map(|(_, pending)| pending)).collect();
        all.sort_unstable_by_key(|pending| pending.ticket);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pending(ticket: u64) -> Pending {
        Pending {
            ticket,
            intended_us: ticket * 3,
            asked_us: ticket * 3 + 1,
            sent_us: None,
            counter: 0,
            attempts: 0,
            critical: false,
            data_type: SyncDataType::ChatMessage,
            kind: MixKind::SyncTo,
            writes: true,
            map: 0,
            unknown_version: false,
            ended: false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn behaves_as_a_plain_map(steps in prop::collection::vec((0u64..60, any::<bool>()), 0..200)) {
            let (mut ours, mut plain) = (Pendings::default(), BTreeMap::new());
            for (ticket, insert) in steps {
                if insert && !plain.contains_key(&ticket) {
                    ours.insert(pending(ticket));
                    plain.insert(ticket, pending(ticket));
                } else if insert {
                    ours.get_mut(ticket).unwrap().attempts += 1;
                    plain.get_mut(&ticket).unwrap().attempts += 1;
                } else {
                    prop_assert_eq!(ours.remove(ticket), plain.remove(&ticket));
                }
                prop_assert_eq!(ours.len(), plain.len());
                prop_assert_eq!(ours.get(ticket), plain.get(&ticket));
            }
            prop_assert_eq!(ours.drain(), plain.into_values().collect::<Vec<_>>());
            prop_assert_eq!(ours.len(), 0);
        }
    }
}
