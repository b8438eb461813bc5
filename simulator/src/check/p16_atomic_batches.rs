//! P16: a transaction of the database is all or nothing.
//!
//! After each transaction the database is asked which of its operations it knows. It knows all of them, or
//! none that it had not known before. Only a transaction that has two or more operations to decide can come to a part
//! of itself: of others nothing is said.

use rustc_hash::FxHashMap;
use sync_core::range_set::RangeSet;

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, What, WireId};

#[derive(Default)]
pub(super) struct AtomicBatches {
    /// Counters of operations that were decided, by account and life.
    decided: FxHashMap<(u32, u64), RangeSet>,
    /// Transactions with two or more operations that were not decided before.
    divisible: u64,
    largest: usize,
}

impl AtomicBatches {
    fn is_decided(&self, id: &WireId) -> bool {
        self.decided.get(&(id.account, id.incarnation)).is_some_and(|counters| counters.contains(id.counter))
    }
}

impl Check for AtomicBatches {
    fn property(&self) -> Property {
        Property {
            id: "P16",
            name: "atomic batches",
            statement: "A transaction of the database is all or nothing.",
            needs: &[Kind::Committed],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Committed { asked, present } = &event.what else { return };
        let undecided = asked.iter().filter(|id| !self.is_decided(id)).count();
        self.divisible += u64::from(undecided > 1);
        self.largest = self.largest.max(asked.len());
        let missing = asked.iter().find(|id| !present.contains(id));
        let new = present.iter().find(|id| !self.is_decided(id));
        if let (Some(missing), Some(new)) = (missing, new) {
            let (count, of) = (present.len(), asked.len());
            findings.add(event.at_us, None, || {
                format!("of {of} operations of one transaction {count} are in the database: {new} is, {missing} is not")
            });
        }
        for id in present {
            self.decided.entry((id.account, id.incarnation)).or_default().insert(id.counter);
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let words = format!("transactions of two or more operations, the largest of {}", self.largest);
        Basis::new(self.divisible, &words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn committed(asked: &[u64], present: &[u64]) -> What {
        let ids = |counters: &[u64]| counters.iter().map(|counter| id(*counter)).collect();
        What::Committed { asked: ids(asked), present: ids(present) }
    }

    #[test]
    fn all_or_nothing_passes() {
        passes(AtomicBatches::default(), vec![committed(&[1, 2, 3], &[1, 2, 3]), committed(&[4, 5], &[])]);
    }

    #[test]
    fn what_was_there_before_is_no_part_of_a_transaction_that_came_to_nothing() {
        let again = [committed(&[1], &[1]), committed(&[1, 2, 3], &[1])];
        passes(AtomicBatches::default(), again.to_vec());
    }

    #[test]
    fn what_cannot_be_divided_decides_nothing() {
        decides_nothing(AtomicBatches::default(), vec![committed(&[1], &[1]), committed(&[2], &[])]);
        // One of two was decided before.
        decides_nothing(AtomicBatches::default(), vec![committed(&[1], &[1]), committed(&[1, 2], &[1, 2])]);
    }

    #[test]
    fn a_part_fails() {
        fails(
            AtomicBatches::default(),
            vec![committed(&[1, 2, 3], &[1, 2])],
            "of 3 operations of one transaction 2",
        );
    }
}
