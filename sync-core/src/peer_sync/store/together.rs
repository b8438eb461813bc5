//! Which rows of a page belong together, and to which group of its page each received row belongs.

use std::collections::BTreeMap;

/// What belongs together: a transaction, and in one that merged a page which group of the page ([`Page::groups`]). What an
/// application wrote is one group, the first.
///
/// [`Page::groups`]: super::Page::groups
pub(crate) type Part = (u64, u32);

/// Parts that belong together: of one a row is held by the other.
pub(crate) struct Together {
    /// Towards the least part that each belongs to; those that belong to no other are not in it.
    least: BTreeMap<Part, Part>,
}

impl Together {
    /// From pairs that belong together.
    pub(crate) fn new(ties: impl IntoIterator<Item = (Part, Part)>) -> Self {
        let mut together = Self { least: BTreeMap::new() };
        for (one, other) in ties {
            let (one, other) = (together.shortened(one), together.shortened(other));
            if one != other {
                together.least.insert(one.max(other), one.min(other));
            }
        }
        for part in Vec::from_iter(together.least.keys().copied()) {
            together.shortened(part);
        }
        together
    }

    /// The same as [`of`](Self::of), and all on the way lead there at once from now on.
    fn shortened(&mut self, part: Part) -> Part {
        let least = self.of(part);
        let mut next = part;
        while let Some(lesser) = self.least.get_mut(&next) {
            next = std::mem::replace(lesser, least);
        }
        least
    }

    /// The least part of all that belong together with this one.
    pub(crate) fn of(&self, part: Part) -> Part {
        let mut part = part;
        while let Some(lesser) = self.least.get(&part) {
            part = *lesser;
        }
        part
    }
}

/// The sizes of groups, of rows in the order of their parts; and what else belongs to one of these groups, with the place of
/// the group instead of its part. What belongs to a group of which there is no row is left out: nobody passes that on.
pub(crate) fn numbered<T>(
    rows: &[(Part, impl Sized)],
    known: impl IntoIterator<Item = (Part, T)>,
) -> (Vec<u32>, Vec<(u32, T)>) {
    let mut groups = Vec::new();
    let mut places = BTreeMap::new();
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        places.insert(group[0].0, groups.len() as u32);
        groups.push(group.len() as u32);
    }
    let known = known.into_iter().filter_map(|(part, what)| Some((*places.get(&part)?, what)));
    (groups, known.collect())
}

/// The group of one row after the other.
pub(crate) struct GroupOf<'g> {
    groups: &'g [u32],
    nth: u32,
    /// Rows of it that are yet to come.
    left: u32,
}

impl<'g> GroupOf<'g> {
    /// From the sizes of groups. What comes after them belongs to one more.
    pub(crate) fn new(groups: &'g [u32]) -> Self {
        Self { groups, nth: 0, left: groups.first().copied().unwrap_or(0) }
    }

    /// The group of what names this one: with rows of no group come what names any group beyond.
    pub(crate) fn bound(&self, group: u32) -> u32 {
        // A page is bounded far below 2^32 groups.
        group.min(self.groups.len() as u32)
    }

    /// The group of the next row.
    pub(crate) fn next(&mut self) -> u32 {
        while self.left == 0 && (self.nth as usize) < self.groups.len() {
            self.nth += 1;
            self.left = self.groups.get(self.nth as usize).copied().unwrap_or(0);
        }
        self.left = self.left.saturating_sub(1);
        self.nth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tied_over_others_belongs_together() {
        let together =
            Together::new([((7, 1), (5, 0)), ((9, 2), (7, 1)), ((4, 0), (9, 3)), ((9, 3), (5, 0))]);
        for tied in [(4, 0), (5, 0), (7, 1), (9, 2), (9, 3)] {
            assert_eq!(together.of(tied), (4, 0), "{tied:?}");
        }
        assert_eq!(together.of((7, 0)), (7, 0), "another part of the same transaction");
    }

    #[test]
    fn a_long_chain_is_one_step_long_in_the_end() {
        // What would take minutes if each step were gone again for each part.
        let parts = 200_000;
        let together = Together::new((1..parts).rev().map(|nth| ((1, nth), (1, nth - 1))));
        assert!(together.least.values().all(|least| *least == (1, 0)));
        assert_eq!(together.least.len(), parts as usize - 1);
        let together = Together::new((1..parts).map(|nth| ((1, nth), (1, nth - 1))));
        assert!((0..parts).all(|nth| together.of((1, nth)) == (1, 0)));
    }

    #[test]
    fn of_groups_without_rows_nothing_is_known() {
        let rows = [((1, 0), "a"), ((1, 0), "b"), ((1, 2), "c")];
        let known = [((1, 0), "x"), ((1, 1), "y"), ((1, 2), "z")];
        assert_eq!(numbered(&rows, known), (vec![2, 1], vec![(0, "x"), (1, "z")]));
    }

    #[test]
    fn rows_beyond_the_groups_belong_to_one_more() {
        let mut groups = GroupOf::new(&[2, 0, 1]);
        assert_eq!([0; 5].map(|_| groups.next()), [0, 0, 2, 3, 3]);
        assert_eq!((groups.bound(2), groups.bound(u32::MAX)), (2, 3));
        let mut none = GroupOf::new(&[]);
        assert_eq!(([0; 2].map(|_| none.next()), none.bound(7)), ([0, 0], 0));
    }
}
