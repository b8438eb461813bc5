//! What is remembered of rows that were purged or dropped: their last version.
//!
//! A tombstone is purged once its age is past the retention although somebody was away all that time. What that one
//! brings back later is told from new rows by this. Bounded: the oldest graves are forgotten.

use std::collections::{BTreeMap, VecDeque};

use crate::limits;
use crate::peer_sync::row::RowId;
use crate::peer_sync::version::Version;

/// The graves.
#[derive(Clone, Debug, Default)]
pub(super) struct Graves {
    rows: BTreeMap<RowId, (Version, u64)>,
    /// Which row was purged as which, the oldest first. One that was purged again since has a later entry.
    order: VecDeque<(u64, RowId)>,
    dug: u64,
}

impl Graves {
    /// The last version of a row that is gone.
    pub(super) fn of(&self, row: &RowId) -> Option<&Version> {
        self.rows.get(row).map(|(version, _)| version)
    }

    /// A row is gone.
    pub(super) fn dig(&mut self, row: &RowId, version: &Version) {
        if self.of(row).is_some_and(|known| known >= version) {
            return;
        }
        self.dug += 1;
        self.rows.insert(row.clone(), (version.clone(), self.dug));
        self.order.push_back((self.dug, row.clone()));
        while self.order.len() > limits::GRAVES_MAX
            && let Some((dug, row)) = self.order.pop_front()
        {
            if self.rows.get(&row).is_some_and(|(_, last)| *last == dug) {
                self.rows.remove(&row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_sync::content::Content;
    use crate::peer_sync::row::TableName;
    use crate::peer_sync::version::{ContentHash, NodeId, Stamp};

    #[test]
    fn the_oldest_graves_are_forgotten_first() {
        let row = |number: usize| RowId {
            table: TableName("t".into()),
            key: Content::new([Some(number.to_string().as_str())]),
        };
        let version = |us| Version {
            stamp: Stamp { us, counter: 0 },
            node: NodeId::new("n1").expect("a name"),
            hash: ContentHash([0; 16]),
        };
        let mut graves = Graves::default();
        (0..limits::GRAVES_MAX - 1).for_each(|number| graves.dig(&row(number), &version(7)));
        graves.dig(&row(0), &version(9));
        graves.dig(&row(0), &version(5));
        assert_eq!(graves.of(&row(0)), Some(&version(9)), "the greater version is what counts");
        graves.dig(&row(limits::GRAVES_MAX), &version(8));
        graves.dig(&row(limits::GRAVES_MAX + 1), &version(8));
        assert_eq!(graves.of(&row(1)), None);
        assert!([0, 2, limits::GRAVES_MAX].iter().all(|number| graves.of(&row(*number)).is_some()));
    }
}
