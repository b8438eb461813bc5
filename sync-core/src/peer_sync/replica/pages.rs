//! How many rows the next page is asked for.
//!
//! A page is stored as a whole, so one that meets a row which applications keep locked waits, and is refused in the end;
//! the longer it is, the likelier. After a refusal pages are half as long as the one that was refused, down to a single
//! row (a transaction comes whole all the same), and after a few that were stored twice as long again.

use crate::limits;

/// The length of pages, in view of what became of the last ones.
#[derive(Debug)]
pub(super) struct Pages {
    rows: usize,
    /// Pages that were stored since that changed.
    stored: u32,
}

impl Default for Pages {
    fn default() -> Self {
        Self { rows: limits::PAGE_ROWS_MAX, stored: 0 }
    }
}

impl Pages {
    /// Rows of the next page, 1 to `rows_max`.
    pub(super) fn rows(&self, rows_max: usize) -> u32 {
        u32::try_from(self.rows.min(rows_max).max(1)).unwrap_or(u32::MAX)
    }

    /// A page was stored.
    pub(super) fn stored(&mut self) {
        self.stored += 1;
        if self.stored >= limits::PAGES_STORED_TO_GROW {
            self.stored = 0;
            self.rows = self.rows.saturating_mul(2).min(limits::PAGE_ROWS_MAX);
        }
    }

    /// A page of so many rows could not be stored.
    pub(super) fn refused(&mut self, rows: usize) {
        // One without rows meets no lock.
        if rows > 0 {
            self.stored = 0;
            self.rows = (self.rows.min(rows) / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_halve_when_one_is_refused_and_grow_again() {
        let mut pages = Pages::default();
        assert_eq!((pages.rows(100), pages.rows(1 << 20)), (100, limits::PAGE_ROWS_MAX as u32));
        pages.refused(100);
        assert_eq!(pages.rows(1 << 20), 50);
        for _ in 0..20 {
            pages.refused(100);
        }
        assert_eq!(pages.rows(1 << 20), 1, "a single row at least");
        pages.refused(0);
        let mut lengths = vec![];
        for _ in 0..20 * limits::PAGES_STORED_TO_GROW {
            pages.stored();
            lengths.push(pages.rows(1 << 20));
        }
        assert!(lengths.is_sorted() && lengths[0] == 1);
        assert_eq!(lengths.last(), Some(&(limits::PAGE_ROWS_MAX as u32)));
    }
}
