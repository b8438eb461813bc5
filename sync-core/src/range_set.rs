//! A set of numbers that come nearly in order, kept as runs: exact, and small when there are few gaps.

/// Numbers as a sorted list of runs that neither touch nor overlap.
///
/// The last run is held apart: nearly every insertion extends it and looks at nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Inclusive runs in ascending order, without the last.
    earlier: Vec<(u64, u64)>,
    last: Option<(u64, u64)>,
}

impl RangeSet {
    /// Adds the number; false when it was there already.
    pub fn insert(&mut self, number: u64) -> bool {
        let Some((first, last)) = &mut self.last else {
            self.last = Some((number, number));
            return true;
        };
        if number > *last {
            if number - *last == 1 {
                *last = number;
            } else {
                self.earlier.push((*first, *last));
                self.last = Some((number, number));
            }
            return true;
        }
        if number >= *first {
            return false;
        }
        self.insert_earlier(number)
    }

    /// Adds a number below the last run.
    fn insert_earlier(&mut self, number: u64) -> bool {
        let at = self.earlier.partition_point(|(_, last)| *last < number);
        if self.earlier.get(at).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        let left = at.checked_sub(1).map(|at| self.earlier[at]).filter(|(_, last)| last + 1 == number);
        let right = if at < self.earlier.len() { self.earlier.get_mut(at) } else { self.last.as_mut() };
        match (left, right.filter(|(first, _)| *first == number + 1)) {
            (Some((first, _)), Some(right)) => {
                right.0 = first;
                self.earlier.remove(at - 1);
            }
            (None, Some(right)) => right.0 = number,
            (Some(_), None) => self.earlier[at - 1].1 = number,
            (None, None) => self.earlier.insert(at, (number, number)),
        }
        true
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        if self.last.is_some_and(|(first, last)| first <= number && number <= last) {
            return true;
        }
        let at = self.earlier.partition_point(|(_, last)| *last < number);
        self.earlier.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.runs().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The runs, inclusive and ascending.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.earlier.iter().copied().chain(self.last)
    }

    /// The numbers that are here and not in `other`, in ascending order.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u64> + 'a {
        self.runs().flat_map(|(first, last)| first..=last).filter(|n| !other.contains(*n))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn behaves_as_a_plain_set(numbers in prop::collection::vec(0u64..40, 0..80)) {
            let (mut ours, mut plain) = (RangeSet::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ours.insert(number), plain.insert(number));
            }
            prop_assert_eq!(ours.len(), plain.len() as u64);
            for number in 0..41 {
                prop_assert_eq!(ours.contains(number), plain.contains(&number));
            }
            let runs: Vec<_> = ours.runs().collect();
            prop_assert!(runs.windows(2).all(|w| w[0].1 + 1 < w[1].0));
            prop_assert_eq!(ours.difference(&RangeSet::default()).collect::<BTreeSet<_>>(), plain);
        }
    }
}
