//! Totals over what is stored: digests of parts of the key space, and counts of each table. Held in memory as well, since
//! only one process writes them; so a comparison begins without a look at any row, however many there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::rows::{Class, Stored};
use crate::peer_sync::row::TableName;
use crate::peer_sync::store::{Digest, DigestPart, TableDescription};
use crate::peer_sync::version::Stamp;
use crate::runtime::postgres::PostgresError;

/// The level of which digests are kept: wider parts are sums of these, narrower ones are made of their rows.
pub(super) const KEPT: u8 = 3;
/// Its parts.
const PARTS: usize = 1 << (4 * KEPT);
/// Neighbouring parts that one row of `p2p_peer.digests` holds.
const PARTS_EACH: usize = 64;

const DIGESTS: &str = "SELECT parts, rows, sums FROM p2p_peer.digests";
const TABLES: &str = "SELECT table_name, rows, tombstones, set_aside, us, counter, sum FROM p2p_peer.tables";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    parts: Arc<Vec<Digest>>,
    /// Tables that once travelled included.
    pub(super) tables: BTreeMap<TableName, TableDescription>,
}

impl Totals {
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self, PostgresError> {
        let mut parts = vec![Digest::default(); PARTS];
        for row in &sqlx::query(DIGESTS).fetch_all(&mut *connection).await? {
            let group: i32 = row.try_get(0)?;
            let group = usize::try_from(group).map_err(|_| PostgresError::Unexpected)?;
            let (rows, sums): (Vec<i64>, Vec<i64>) = (row.try_get(1)?, row.try_get(2)?);
            let held = parts.chunks_mut(PARTS_EACH).nth(group).ok_or(PostgresError::Unexpected)?;
            if rows.len() != held.len() || sums.len() != held.len() {
                return Err(PostgresError::Unexpected);
            }
            for (digest, (rows, sum)) in held.iter_mut().zip(rows.into_iter().zip(sums)) {
                *digest = Digest { rows: rows.cast_unsigned(), sum: sum.cast_unsigned() };
            }
        }
        let mut tables = BTreeMap::new();
        for row in &sqlx::query(TABLES).fetch_all(connection).await? {
            let name: &str = row.try_get(0)?;
            let number = |place: usize| row.try_get::<i64, _>(place).map(i64::cast_unsigned);
            let counter = u32::try_from(number(5)?).map_err(|_| PostgresError::Unexpected)?;
            let description = TableDescription {
                rows: number(1)?,
                tombstones: number(2)?,
                set_aside: number(3)?,
                stamp: Stamp { us: number(4)?, counter },
                sum: number(6)?,
            };
            tables.insert(TableName(name.into()), description);
        }
        Ok(Self { parts: Arc::new(parts), tables })
    }

    /// The digest of a part that is no narrower than those of [`KEPT`].
    pub(super) fn digest(&self, part: DigestPart) -> Digest {
        let bits = 4 * u32::from(KEPT.saturating_sub(part.level));
        let first = (part.prefix as usize) << bits;
        let parts = self.parts.get(first..first + (1 << bits)).unwrap_or_default();
        parts.iter().fold(Digest::default(), |sum, part| Digest {
            rows: sum.rows.wrapping_add(part.rows),
            sum: sum.sum.wrapping_add(part.sum),
        })
    }

    /// A version takes the place of another.
    pub(super) fn replace(&mut self, before: Option<&Stored>, after: Option<&Stored>) {
        for (stored, is_new) in
            before.map(|stored| (stored, false)).into_iter().chain(after.map(|new| (new, true)))
        {
            let (leaf, fingerprint) = stored.leaf_and_fingerprint();
            let place = leaf as usize >> (4 * u32::from(DigestPart::LEVEL_MAX - KEPT));
            if let Some(digest) = Arc::make_mut(&mut self.parts).get_mut(place) {
                if is_new { digest.add(fingerprint) } else { digest.take(fingerprint) }
            }
            let table = self.tables.entry(stored.row.table.clone()).or_default();
            let by = if is_new { 1 } else { u64::MAX };
            count(table, stored.class(), by);
            if is_new {
                table.sum = table.sum.wrapping_add(fingerprint);
                table.stamp = table.stamp.max(stored.version.stamp);
            } else {
                table.sum = table.sum.wrapping_sub(fingerprint);
            }
        }
    }

    /// A row counts as something else.
    pub(super) fn reclass(&mut self, table: &TableName, before: Class, after: Class) {
        let table = self.tables.entry(table.clone()).or_default();
        count(table, before, u64::MAX);
        count(table, after, 1);
    }

    /// The rows of `p2p_peer.digests` that are not what they were before.
    pub(super) fn changed_parts(&self, before: &Self) -> (Vec<i32>, Vec<String>, Vec<String>) {
        let mut changed = (Vec::new(), Vec::new(), Vec::new());
        if Arc::ptr_eq(&self.parts, &before.parts) {
            return changed;
        }
        let groups = self.parts.chunks(PARTS_EACH).zip(before.parts.chunks(PARTS_EACH));
        for (group, (now, _)) in (0..).zip(groups).filter(|(_, (now, before))| now != before) {
            let list = |number: fn(&Digest) -> u64| {
                let numbers: Vec<String> =
                    now.iter().map(|digest| number(digest).cast_signed().to_string()).collect();
                format!("{{{}}}", numbers.join(","))
            };
            changed.0.push(group);
            changed.1.push(list(|digest| digest.rows));
            changed.2.push(list(|digest| digest.sum));
        }
        changed
    }
}

/// Adds to what a row counts as, modulo 2^64.
fn count(table: &mut TableDescription, class: Class, by: u64) {
    let count = match class {
        Class::Visible => &mut table.rows,
        Class::Tombstone => &mut table.tombstones,
        Class::SetAside => &mut table.set_aside,
    };
    *count = count.wrapping_add(by);
}
