//! A set of numbers that come nearly in order, kept as runs: exact, and small when there are few gaps.

/// Numbers as a sorted list of runs that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Inclusive runs in ascending order.
    runs: Vec<(u64, u64)>,
}

impl RangeSet {
    /// Adds the number; false when it was there already.
    pub fn insert(&mut self, number: u64) -> bool {
        // Nearly every insertion extends the last run.
        let at = match self.runs.last_mut() {
            Some((_, last)) if number > *last => {
                if number == *last + 1 {
                    *last = number;
                } else {
                    self.runs.push((number, number));
                }
                return true;
            }
            _ => self.runs.partition_point(|(_, last)| *last < number),
        };
        let joins_left = at > 0 && self.runs[at - 1].1 + 1 == number;
        match self.runs.get(at).copied() {
            Some((first, _)) if first <= number => return false,
            Some((first, last)) if first == number + 1 => {
                if joins_left {
                    self.runs[at - 1].1 = last;
                    self.runs.remove(at);
                } else {
                    self.runs[at].0 = number;
                }
            }
            _ if joins_left => self.runs[at - 1].1 = number,
            _ => self.runs.insert(at, (number, number)),
        }
        true
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.runs.partition_point(|(_, last)| *last < number);
        self.runs.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs, inclusive and ascending.
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// The numbers that are here and not in `other`, in ascending order.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u64> + 'a {
        self.runs.iter().flat_map(|(first, last)| *first..=*last).filter(|n| !other.contains(*n))
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
            prop_assert!(ours.runs().windows(2).all(|w| w[0].1 + 1 < w[1].0));
            prop_assert_eq!(ours.difference(&RangeSet::default()).collect::<BTreeSet<_>>(), plain);
        }
    }
}
