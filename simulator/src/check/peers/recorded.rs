//! Which versions of a row were written by a recorded transaction.
//!
//! Of each row the latest ones are kept; what is older than those is neither known nor unknown. So memory is
//! bounded by rows times peers.

use sync_core::peer_sync::version::{ContentHash, Version};

use super::PeerTerms;
use super::held::{RowNumber, Rule};
use crate::history::OpRef;

#[derive(Debug, Default)]
pub(super) struct Recorded {
    kept_max: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Default)]
struct Row {
    /// By version.
    writes: Vec<Write>,
    /// The greatest version that was forgotten.
    floor: Option<Version>,
}

/// One write of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) version: Version,
    pub(super) deleted: bool,
    /// The hash over what it holds, where it is told; else it is the version's, if the greater version wins.
    pub(super) content: Option<ContentHash>,
    /// None for a row that was there from the start.
    pub(super) op: Option<OpRef>,
}

/// What is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    Written(&'a Write),
    /// It is older than what is kept.
    Older,
    /// Nobody wrote it.
    Never,
}

impl Recorded {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { kept_max: KEPT_MIN.max(2 * terms.count as usize), rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: RowNumber, write: Write) {
        let place = row as usize;
        if place >= self.rows.len() {
            self.rows.resize_with(place + 1, Row::default);
        }
        let row = &mut self.rows[place];
        let at = row.writes.partition_point(|known| known.version < write.version);
        if row.writes.get(at).is_none_or(|known| known.version != write.version) {
            row.writes.insert(at, write);
        }
        if row.writes.len() > self.kept_max {
            let forgotten = row.writes.drain(..self.kept_max / 2).next_back();
            row.floor = forgotten.map(|write| write.version);
        }
    }

    /// Looks a version up. Where versions are joined the content is not part of the name.
    pub(super) fn find(&self, row: RowNumber, rule: Rule, version: &Version) -> Known<'_> {
        let Some(row) = self.rows.get(row as usize) else { return Known::Never };
        let same = |known: &Version| match rule {
            Rule::Joins => (known.stamp, &known.node) == (version.stamp, &version.node),
            Rule::LastWriter | Rule::OneWins => known == version,
        };
        match row.writes.iter().rev().find(|write| same(&write.version)) {
            Some(write) => Known::Written(write),
            None if row.floor.as_ref().is_some_and(|floor| version.stamp <= floor.stamp) => Known::Older,
            None => Known::Never,
        }
    }

    /// Whether a living version of the row with this content was written, as far as that is still known.
    pub(super) fn may_hold(&self, row: RowNumber, rule: Rule, content: ContentHash) -> bool {
        self.rows.get(row as usize).is_some_and(|row| {
            let of = |write: &Write| match (write.content, rule) {
                (None, Rule::LastWriter) => Some(write.version.hash),
                (told, _) => told,
            };
            let is_it = |write: &Write| !write.deleted && of(write).is_none_or(|own| own == content);
            row.floor.is_some() || row.writes.iter().any(is_it)
        })
    }
}

/// Versions of a row that are kept at the least.
const KEPT_MIN: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn the_latest_versions_of_a_row_are_known() {
        let mut recorded = Recorded::new(&terms());
        for us in 0..=KEPT_MIN as u64 {
            recorded.add(0, Write { version: v(2 * us, "p0"), deleted: false, content: None, op: None });
        }
        let known = |version| recorded.find(0, Rule::LastWriter, &version);
        assert!(matches!(known(v(64, "p0")), Known::Written(_)));
        assert_eq!(known(v(63, "p0")), Known::Never);
        assert_eq!(known(v(64, "p1")), Known::Never);
        assert_eq!(known(v(3, "p0")), Known::Older);
        let joined = Version { hash: no_hash(), ..v(64, "p0") };
        assert_eq!(recorded.find(0, Rule::LastWriter, &joined), Known::Never);
        assert!(matches!(recorded.find(0, Rule::Joins, &joined), Known::Written(_)));
    }
}
