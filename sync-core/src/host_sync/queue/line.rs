//! The operations of each key in the order of the asking, as chains through the entries of a queue.

use slab::Slab;

use crate::host_sync::operation::{KeyIndex, Operation};

/// An operation that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) operation: Operation,
    /// By what it is ordered in its lane.
    pub(super) rank: u64,
    /// The one of its key that was asked before.
    pub(super) before: Option<usize>,
    /// The one of its key that was asked next.
    pub(super) after: Option<usize>,
}

/// One line for each key.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    first: Option<u32>,
    last: Option<u32>,
    /// An operation of this key is under way.
    held: bool,
}

impl Lines {
    pub(super) fn is_held(&self, key: KeyIndex) -> bool {
        self.lines.get(key.0 as usize).is_some_and(|line| line.held)
    }

    /// Says whether it was held before.
    pub(super) fn set_held(&mut self, key: KeyIndex, held: bool) -> bool {
        std::mem::replace(&mut self.line(key).held, held)
    }

    pub(super) fn first(&self, key: KeyIndex) -> Option<usize> {
        self.lines.get(key.0 as usize).and_then(|line| line.first).map(|entry| entry as usize)
    }

    pub(super) fn last(&self, key: KeyIndex) -> Option<usize> {
        self.lines.get(key.0 as usize).and_then(|line| line.last).map(|entry| entry as usize)
    }

    /// Puts an entry at the end of its key's line; says whether it is the first.
    pub(super) fn append(&mut self, entries: &mut Slab<Entry>, key: KeyIndex, entry: usize) -> bool {
        let line = self.line(key);
        let before = line.last.replace(entry as u32).map(|entry| entry as usize);
        match before {
            Some(before) => entries[before].after = Some(entry),
            None => line.first = Some(entry as u32),
        }
        entries[entry].before = before;
        before.is_none()
    }

    /// Closes the gap that an entry has left.
    pub(super) fn unlink(
        &mut self,
        entries: &mut Slab<Entry>,
        key: KeyIndex,
        before: Option<usize>,
        after: Option<usize>,
    ) {
        match before {
            Some(before) => entries[before].after = after,
            None => self.line(key).first = after.map(|entry| entry as u32),
        }
        match after {
            Some(after) => entries[after].before = before,
            None => self.line(key).last = before.map(|entry| entry as u32),
        }
    }

    /// Forgets what waits, and keeps what is held.
    pub(super) fn clear(&mut self) {
        self.lines.iter_mut().for_each(|line| (line.first, line.last) = (None, None));
    }

    fn line(&mut self, key: KeyIndex) -> &mut Line {
        let place = key.0 as usize;
        if place >= self.lines.len() {
            self.lines.resize(place + 1, Line::default());
        }
        &mut self.lines[place]
    }
}
