//! Digests of parts of the key space, the rows of each part, and whether rows hold what their hashes say.

use sqlx::Row as _;

use super::rows::{Class, Stored, head};
use super::totals::KEPT;
use super::work::Work;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Image, RowId};
use crate::peer_sync::store::{Digest, DigestEntry, DigestPart, PeerReply, RowHash, Scrub, Scrubbed};
use crate::runtime::postgres::PostgresError;

const LEAVES: &str = concat!(
    "SELECT u.n, ",
    head!(),
    " FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS u (n, low, high) \
     JOIN p2p_peer.versions AS v ON v.leaf >= u.low AND v.leaf < u.high"
);
const ROTATE: &str = concat!(
    "SELECT ",
    head!(),
    " FROM p2p_peer.versions AS v WHERE v.leaf >= $1 AND (v.leaf, v.table_name, v.key) > ($1, $2, $3) \
     ORDER BY v.leaf, v.table_name, v.key LIMIT $4"
);

impl Work<'_> {
    pub(super) async fn digests(&mut self, parts: &[DigestPart]) -> Result<Vec<Digest>, PostgresError> {
        let mut digests = vec![Digest::default(); parts.len()];
        for (digest, part) in digests.iter_mut().zip(parts).filter(|(_, part)| part.level <= KEPT) {
            *digest = self.state.totals.digest(*part);
        }
        let narrow = Ranges::of(parts, |part| part.level > KEPT);
        for (number, stored) in self.leaves(narrow).await? {
            if let Some(digest) = digests.get_mut(number) {
                digest.add(stored.fingerprint());
            }
        }
        Ok(digests)
    }

    pub(super) async fn entries(&mut self, parts: &[DigestPart]) -> Result<PeerReply, PostgresError> {
        let all = Ranges::of(parts, |_| true);
        let rows = self.leaves(all).await?.into_iter();
        let mut entries: Vec<DigestEntry> =
            rows.map(|(_, stored)| DigestEntry { row: stored.row, version: stored.version }).collect();
        entries.sort_unstable();
        entries.dedup();
        Ok(PeerReply::Entries(entries))
    }

    async fn leaves(&mut self, ranges: Ranges) -> Result<Vec<(usize, Stored)>, PostgresError> {
        if ranges.numbers.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query(LEAVES).bind(ranges.numbers).bind(ranges.low).bind(ranges.high);
        let rows = query.fetch_all(&mut *self.connection).await?;
        let read = rows
            .iter()
            .map(|row| Ok((place(row.try_get(0)?), Stored::read(row, 1, self.shared, self.own())?)));
        read.collect()
    }

    pub(super) async fn scrub(&mut self, request: &Scrub) -> Result<PeerReply, PostgresError> {
        let (leaf, table, key) = request.after.as_ref().map_or((-1, "", ""), |row| {
            let leaf = DigestPart::leaf_of(RowHash::of(row)).prefix;
            (leaf.cast_signed(), row.table.as_str(), row.key.as_canonical())
        });
        let look = i64::try_from(request.rows_max).unwrap_or(i64::MAX - 1).saturating_add(1);
        let query = sqlx::query(ROTATE).bind(leaf).bind(table).bind(key).bind(look);
        let rows = query.fetch_all(&mut *self.connection).await?;
        let mut stored = rows
            .iter()
            .map(|row| Stored::read(row, 0, self.shared, self.own()))
            .collect::<Result<Vec<_>, _>>()?;
        let is_end = stored.len() <= request.rows_max;
        stored.truncate(request.rows_max);
        let last = stored.last().map(|last| last.row.clone());
        let rows = stored.len() as u64;
        let corrupt = self.unsound(stored).await?;
        Ok(PeerReply::Scrubbed(Scrubbed { corrupt, next: last.filter(|_| !is_end), rows }))
    }

    /// Which rows no longer hold what their hashes say, in the given order. Of what applications see that is what they see.
    pub(super) async fn unsound(&mut self, stored: Vec<Stored>) -> Result<Vec<RowId>, PostgresError> {
        let visible = |stored: &&Stored| stored.class() == Class::Visible;
        let mut shown = self.shown(stored.iter().filter(visible).map(|stored| &stored.row)).await?;
        let mut unsound = Vec::new();
        for stored in stored {
            let content: Option<Content> =
                if visible(&&stored) { shown.remove(&stored.row) } else { stored.content.clone() };
            let is_sound = match content {
                Some(content) => {
                    let image =
                        if stored.deleted { Image::Tombstone(Some(content)) } else { Image::Row(content) };
                    image.hash_with(&stored.extra) == stored.version.hash
                }
                None => {
                    stored.deleted && Image::Tombstone(None).hash_with(&stored.extra) == stored.version.hash
                }
            };
            if !is_sound {
                unsound.push(stored.row);
            }
        }
        Ok(unsound)
    }
}

/// Parts as ranges of leaves, with their places in the request.
#[derive(Default)]
struct Ranges {
    numbers: Vec<i64>,
    low: Vec<i32>,
    high: Vec<i32>,
}

impl Ranges {
    fn of(parts: &[DigestPart], wanted: impl Fn(&DigestPart) -> bool) -> Self {
        let mut ranges = Self::default();
        for (number, part) in (0..).zip(parts) {
            // What does not exist has no rows.
            let exists =
                part.level <= DigestPart::LEVEL_MAX && part.prefix < 1 << (4 * u32::from(part.level));
            if exists && wanted(part) {
                let bits = 4 * u32::from(DigestPart::LEVEL_MAX - part.level);
                ranges.numbers.push(number);
                // At most 2^20.
                ranges.low.push((part.prefix << bits).cast_signed());
                ranges.high.push(((part.prefix + 1) << bits).cast_signed());
            }
        }
        ranges
    }
}

fn place(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
