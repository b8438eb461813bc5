//! Digests of parts of the key space, kept with every change, and the rows of each part.
//!
//! Kept is one digest for each part of level 3, with the places of its rows; wider parts are sums of these,
//! narrower ones are made of the few rows (some 250 of a million) that their part of level 3 has.

use super::rows::{Place, Row, Rows};
use crate::peer_sync::row::RowId;
use crate::peer_sync::store::{Digest, DigestEntry, DigestPart, RowHash};

/// The level that is kept.
const KEPT: u8 = 3;
/// Parts of that level.
const PARTS: usize = 1 << (4 * KEPT as usize);

/// Digests, and rows by leaf.
#[derive(Clone, Debug)]
pub(super) struct Digests {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Default)]
struct Part {
    digest: Digest,
    places: Vec<Place>,
}

impl Default for Digests {
    fn default() -> Self {
        Self { parts: vec![Part::default(); PARTS] }
    }
}

/// The number of the kept part in which a leaf lies.
fn kept(leaf: u32) -> usize {
    (leaf >> (4 * (DigestPart::LEVEL_MAX - KEPT))) as usize % PARTS
}

impl Digests {
    /// A row is stored that was not there.
    pub(super) fn insert(&mut self, leaf: u32, place: Place, fingerprint: u64) {
        let part = &mut self.parts[kept(leaf)];
        part.digest.add(fingerprint);
        part.places.push(place);
    }

    /// A row has another version.
    pub(super) fn replace(&mut self, leaf: u32, old: u64, new: u64) {
        let digest = &mut self.parts[kept(leaf)].digest;
        digest.take(old);
        digest.add(new);
    }

    /// A row is gone.
    pub(super) fn remove(&mut self, leaf: u32, place: Place, fingerprint: u64) {
        let part = &mut self.parts[kept(leaf)];
        part.digest.take(fingerprint);
        if let Some(at) = part.places.iter().position(|other| *other == place) {
            part.places.swap_remove(at);
        }
    }

    /// The digest of a part; that of nothing for a part that does not exist.
    pub(super) fn of(&self, part: DigestPart, rows: &Rows) -> Digest {
        let mut digest = Digest::default();
        if part.level <= KEPT {
            for kept in self.parts.get(kept_range(part)).unwrap_or_default() {
                digest.rows = digest.rows.wrapping_add(kept.digest.rows);
                digest.sum = digest.sum.wrapping_add(kept.digest.sum);
            }
        } else {
            self.rows_of(part, rows).for_each(|row| digest.add(row.fingerprint));
        }
        digest
    }

    /// Key and version of each row of these parts, each once, in the order of their ids.
    pub(super) fn entries(&self, parts: &[DigestPart], rows: &Rows) -> Vec<DigestEntry> {
        let mut entries: Vec<DigestEntry> = parts
            .iter()
            .flat_map(|part| self.rows_of(*part, rows))
            .map(|row| DigestEntry { row: row.stored.row.clone(), version: row.stored.version.clone() })
            .collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    }

    /// Rows by (leaf, id), from after a row that need not be there any more.
    pub(super) fn rotate<'a>(
        &'a self,
        after: Option<&RowId>,
        rows: &'a Rows,
    ) -> impl Iterator<Item = &'a Row> {
        let after = after.map(|row| (DigestPart::leaf_of(RowHash::of(row)).prefix, row.clone()));
        let first = after.as_ref().map_or(0, |(leaf, _)| kept(*leaf));
        self.parts.iter().skip(first).flat_map(move |part| {
            let mut sorted: Vec<&Row> = part.places.iter().filter_map(|place| rows.at(*place)).collect();
            sorted.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
            if let Some((leaf, id)) = &after {
                sorted.retain(|row| order(row) > (*leaf, id));
            }
            sorted
        })
    }

    /// The rows of a part, in no order that means anything.
    fn rows_of<'a>(&'a self, part: DigestPart, rows: &'a Rows) -> impl Iterator<Item = &'a Row> {
        let within = move |row: &&Row| {
            part.level <= DigestPart::LEVEL_MAX
                && DigestPart { level: DigestPart::LEVEL_MAX, prefix: row.leaf() }.ancestor(part.level)
                    == part
        };
        let places =
            self.parts.get(kept_range(part)).unwrap_or_default().iter().flat_map(|part| &part.places);
        places.filter_map(|place| rows.at(*place)).filter(within)
    }
}

fn order(row: &Row) -> (u32, &RowId) {
    (row.leaf(), &row.stored.row)
}

/// The kept parts that a part consists of, or the one in which it lies; out of range for a part that does not exist.
fn kept_range(part: DigestPart) -> std::ops::Range<usize> {
    let prefix = part.prefix as usize;
    if part.level <= KEPT {
        let each = PARTS >> (4 * part.level);
        prefix.saturating_mul(each)..prefix.saturating_add(1).saturating_mul(each)
    } else {
        let kept = prefix >> (4 * u32::from(part.level - KEPT)).min(31);
        kept..kept + 1
    }
}
