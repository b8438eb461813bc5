//! What a check keeps of each host or account, found by its number.

use std::collections::BTreeMap;

/// A table with a row for each number. Hosts are numbered from 0 and accounts from 1, so a row is found by its
/// place: one look into memory for every event, and no hash. A history from elsewhere may name any number; far
/// ones are kept in a map.
#[derive(Debug, Default)]
pub(super) struct Rows<T> {
    near: Vec<T>,
    far: BTreeMap<u32, T>,
}

/// More hosts than a world has.
const NEAR_MAX: usize = 1 << 17;

impl<T: Default> Rows<T> {
    /// The row of a number, empty when it was not asked for before.
    pub(super) fn row(&mut self, number: u32) -> &mut T {
        let place = number as usize;
        if place >= NEAR_MAX {
            return self.far.entry(number).or_default();
        }
        if place >= self.near.len() {
            self.near.resize_with(place + 1, T::default);
        }
        &mut self.near[place]
    }

    /// The row of a number if it was asked for before; one of a far number is not looked for.
    pub(super) fn near(&self, number: u32) -> Option<&T> {
        self.near.get(number as usize)
    }

    /// Takes every row out, by ascending number; those that nobody asked for may be among them, empty.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (u32, T)> {
        let near = std::mem::take(&mut self.near);
        (0..).zip(near).chain(std::mem::take(&mut self.far))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_its_numbers_own_and_they_come_out_in_order() {
        let mut rows = Rows::default();
        let numbers = [3, u32::MAX, NEAR_MAX as u32, NEAR_MAX as u32 - 1, 0];
        for number in numbers {
            *rows.row(number) += u64::from(number) + 1;
            *rows.row(number) += 1;
        }
        let mut expected = numbers.map(|number| (number, u64::from(number) + 2));
        expected.sort_unstable();
        assert_eq!(rows.drain().filter(|(_, row)| *row > 0).collect::<Vec<_>>(), expected);
        assert_eq!(rows.drain().count(), 0);
    }
}
