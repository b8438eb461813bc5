//! References and natural keys, evaluated anew where what changed concerns them.
//!
//! How rows stand is a function of the set of versions ([`constraints::standings`]). It is computed over the neighbours of
//! what changed: with each row those that it refers to; with a tombstone who may demand it back; with a row that loses
//! or gains its place whoever refers to it and whoever has its natural keys. When that moves another row, its neighbours
//! come as well, until nothing moves any more. Rows further off have nothing among what they depend on that has changed.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;

use super::Shared;
use super::base::Base;
use super::rows::{self, Class, Stored, head};
use super::work::{Put, Work};
use crate::peer_sync::constraints;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::store::{AsideChange, Standing};
use crate::runtime::postgres::PostgresError;

const TIE: &str = "INSERT INTO p2p_peer.ties (table_name, key, value)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING";
const UNTIE: &str =
    "DELETE FROM p2p_peer.ties AS t USING unnest($1::text[], $2::text[], $3::bigint[]) AS u (t, k, v)
    WHERE t.table_name = u.t COLLATE \"C\" AND t.key = u.k COLLATE \"C\" AND t.value = u.v";
/// A tombstone that nobody demands back has no say in how others stand.
const TIED: &str = concat!(
    "SELECT ",
    head!(),
    " FROM unnest($1::bigint[]) AS u (value) JOIN p2p_peer.ties AS t ON t.value = u.value \
     JOIN p2p_peer.versions AS v ON v.table_name = t.table_name AND v.key = t.key \
     WHERE NOT v.deleted OR v.standing IS NOT NULL"
);
const STAND: &str = "UPDATE p2p_peer.versions AS v SET standing = u.s
    FROM unnest($1::text[], $2::text[], $3::text[]) AS u (t, k, s)
    WHERE v.table_name = u.t COLLATE \"C\" AND v.key = u.k COLLATE \"C\"";

/// What settling came to.
#[derive(Default)]
pub(super) struct Settled {
    /// Who stands in another way because of another row, ordered.
    pub(super) aside: Vec<AsideChange>,
    /// Rows that stand otherwise than before, or otherwise than their image alone says; and whether they were visible.
    pub(super) moved: BTreeMap<RowId, (Stored, bool)>,
}

impl Settled {
    /// How a row that was put stands now.
    pub(super) fn take(&mut self, put: &Stored) -> Stored {
        self.moved.remove(&put.row).map_or_else(|| put.clone(), |(stored, _)| stored)
    }

    /// Shows what was moved, of those that are left.
    pub(super) fn show(&self, base: &mut Base) {
        for (stored, was_visible) in self.moved.values() {
            if *was_visible != (stored.class() == Class::Visible) {
                base.show(stored, *was_visible, false);
            }
        }
    }
}

/// The neighbours of what changed.
struct Neighbours {
    rows: BTreeMap<RowId, Neighbour>,
    /// Rows that were looked for, whether they are there or not.
    sought: BTreeSet<RowId>,
    /// Ties that were followed.
    followed: BTreeSet<i64>,
}

struct Neighbour {
    version: RowVersion,
    stored: Stored,
    before: Standing,
    /// Whether it was put now.
    put: bool,
    /// Whether those that depend on it are here.
    touched: bool,
}

impl Work<'_> {
    /// Settles what follows from versions that were put, and from rows that are gone.
    pub(super) async fn settle(&mut self, puts: &[Put], gone: &[Stored]) -> Result<Settled, PostgresError> {
        let shared = self.shared;
        let puts: Vec<&Put> = puts.iter().filter(|put| shared.is_tied(&put.new.row.table)).collect();
        let gone: Vec<&Stored> = gone.iter().filter(|stored| shared.is_tied(&stored.row.table)).collect();
        if puts.is_empty() && gone.is_empty() {
            return Ok(Settled::default());
        }
        let mut near =
            Neighbours { rows: BTreeMap::new(), sought: BTreeSet::new(), followed: BTreeSet::new() };
        let mut ahead: BTreeSet<RowId> = BTreeSet::new();
        let mut follow: BTreeSet<i64> = BTreeSet::new();
        let before = puts.iter().filter_map(|put| put.found.as_ref());
        for stored in before.chain(gone.iter().copied()) {
            ahead.extend(parents(shared, stored));
            follow.extend(natural_keys(shared, stored));
        }
        follow.extend(gone.iter().map(|stored| named(&stored.row)));
        near.sought.extend(gone.iter().map(|stored| stored.row.clone()));
        for put in puts {
            let before = put.found.as_ref().unwrap_or(&put.new).standing();
            near.add(put.new.clone(), before, true);
            // Whoever refers to a row that was not there has waited for it.
            if let Some(row) = near.rows.get_mut(&put.new.row).filter(|_| put.found.is_none()) {
                row.touched = true;
            }
        }
        let standings = loop {
            self.complete(&mut near, &mut ahead, &mut follow).await?;
            let versions = near.rows.values().map(|row| &row.version);
            let standings = constraints::standings(&shared.schema, versions);
            let mut moved = false;
            for (id, row) in &mut near.rows {
                let now = standings.get(id).unwrap_or(&row.before);
                if !row.touched && place(now) != place(&row.before) {
                    row.touched = true;
                    moved = true;
                }
            }
            if !moved {
                break standings;
            }
        };
        self.stand(near, &standings).await
    }

    /// Whether a tombstone that is not there would be had back if it were.
    pub(super) async fn is_demanded(&mut self, tombstone: &RowVersion) -> Result<bool, PostgresError> {
        if !tombstone.image.is_tombstone() || !self.shared.is_tied(&tombstone.row.table) {
            return Ok(false);
        }
        let query = sqlx::query(TIED).bind(vec![named(&tombstone.row)]);
        let rows = query.fetch_all(&mut *self.connection).await?;
        let (shared, own) = (self.shared, self.own());
        let wanted: Result<Vec<RowVersion>, PostgresError> = rows
            .iter()
            .map(|row| {
                let stored = Stored::read(row, 0, shared, own)?;
                let content = stored.content.clone();
                Ok(stored.with_content(content))
            })
            .collect();
        Ok(constraints::is_demanded(&shared.schema, tombstone, &wanted?))
    }

    /// Reads neighbours until all are there that have a say.
    async fn complete(
        &mut self,
        near: &mut Neighbours,
        ahead: &mut BTreeSet<RowId>,
        follow: &mut BTreeSet<i64>,
    ) -> Result<(), PostgresError> {
        let shared = self.shared;
        loop {
            for row in near.rows.values() {
                ahead.extend(parents(shared, &row.stored));
                if let Standing::NaturalKey { winner } = &row.before {
                    ahead.insert(winner.clone());
                }
                if row.touched || row.put {
                    follow.extend(natural_keys(shared, &row.stored));
                }
                if row.touched || (row.stored.deleted && row.stored.content.is_some()) {
                    follow.insert(named(&row.stored.row));
                }
            }
            let ids: Vec<RowId> = std::mem::take(ahead)
                .into_iter()
                .filter(|id| !near.rows.contains_key(id) && near.sought.insert(id.clone()))
                .collect();
            let values: Vec<i64> =
                std::mem::take(follow).into_iter().filter(|value| near.followed.insert(*value)).collect();
            if ids.is_empty() && values.is_empty() {
                return Ok(());
            }
            let mut read = self.find(&ids).await?;
            if !values.is_empty() {
                let own = self.own();
                let rows = sqlx::query(TIED).bind(values).fetch_all(&mut *self.connection).await?;
                for row in &rows {
                    read.push(Stored::read(row, 0, shared, own)?);
                }
            }
            for stored in read {
                if !near.rows.contains_key(&stored.row) {
                    let before = stored.standing();
                    near.add(stored, before, false);
                }
            }
        }
    }

    async fn stand(
        &mut self,
        near: Neighbours,
        standings: &BTreeMap<RowId, Standing>,
    ) -> Result<Settled, PostgresError> {
        let mut settled = Settled::default();
        let mut texts = Vec::new();
        for (id, row) in near.rows {
            let Neighbour { mut stored, before, put, .. } = row;
            let now = standings.get(&id).unwrap_or(&before).clone();
            let plain = if stored.deleted { Standing::Deleted } else { Standing::Visible };
            if now != before && !(is_plain(&now) && is_plain(&before)) {
                settled.aside.push(AsideChange { row: id.clone(), standing: now.clone() });
            }
            // What was put counts as what its image says until it is settled.
            let class = if put { stored.class() } else { class_of(&before, &stored) };
            let written = if put { &plain } else { &before };
            if now == *written {
                continue;
            }
            let text = (now != plain).then(|| serde_json::to_string(&now)).transpose();
            texts.push((id.clone(), text.map_err(|_| PostgresError::Unexpected)?));
            stored.standing = (now != plain).then_some(now);
            self.state.totals.reclass(&id.table, class, stored.class());
            settled.moved.insert(id, (stored, class == Class::Visible));
        }
        if !texts.is_empty() {
            let (tables, keys) = rows::columns_of(texts.iter().map(|(id, _)| id));
            let texts: Vec<Option<&str>> = texts.iter().map(|(_, text)| text.as_deref()).collect();
            let stand = sqlx::query(STAND).bind(tables).bind(keys).bind(texts);
            stand.execute(&mut *self.connection).await?;
        }
        Ok(settled)
    }
}

impl Neighbours {
    fn add(&mut self, stored: Stored, before: Standing, put: bool) {
        let version = stored.clone().with_content(stored.content.clone());
        let row = Neighbour { version, before, put, touched: false, stored };
        self.rows.insert(row.stored.row.clone(), row);
    }
}

/// Keeps the ties of versions in step: of each row what was stored and what is.
pub(super) async fn tie<'a>(
    connection: &mut PgConnection,
    shared: &Shared,
    changes: impl Iterator<Item = (Option<&'a Stored>, Option<&'a Stored>)>,
) -> Result<(), PostgresError> {
    let mut added: Vec<(&RowId, i64)> = Vec::new();
    let mut removed: Vec<(&RowId, i64)> = Vec::new();
    for (before, after) in changes {
        let Some(row) = after.or(before).map(|stored| &stored.row) else { continue };
        if !shared.is_tied(&row.table) {
            continue;
        }
        let before: BTreeSet<i64> = before.map(|stored| ties(shared, stored)).unwrap_or_default();
        let after: BTreeSet<i64> = after.map(|stored| ties(shared, stored)).unwrap_or_default();
        added.extend(after.difference(&before).map(|value| (row, *value)));
        removed.extend(before.difference(&after).map(|value| (row, *value)));
    }
    for (statement, ties) in [(UNTIE, removed), (TIE, added)] {
        if ties.is_empty() {
            continue;
        }
        let (tables, keys) = rows::columns_of(ties.iter().map(|(row, _)| *row));
        let values: Vec<i64> = ties.iter().map(|(_, value)| *value).collect();
        sqlx::query(statement).bind(tables).bind(keys).bind(values).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The rows that a version refers to.
fn parents(shared: &Shared, stored: &Stored) -> Vec<RowId> {
    let (Some(table), Some(content)) = (shared.schema.table(&stored.row.table), &stored.content) else {
        return Vec::new();
    };
    let named = table.references.iter().filter_map(|reference| {
        Some(RowId { table: reference.table.clone(), key: table.pick(&reference.columns, content)? })
    });
    named.collect()
}

fn ties(shared: &Shared, stored: &Stored) -> BTreeSet<i64> {
    let parents = parents(shared, stored);
    parents.iter().map(named).chain(natural_keys(shared, stored)).collect()
}

/// The tie of whoever refers to a row.
fn named(row: &RowId) -> i64 {
    hashed(&["reference", row.table.as_str(), row.key.as_canonical()])
}

fn natural_keys(shared: &Shared, stored: &Stored) -> Vec<i64> {
    let (Some(table), Some(content)) = (shared.schema.table(&stored.row.table), &stored.content) else {
        return Vec::new();
    };
    let keys = table.unique.iter().enumerate().filter_map(|(nth, columns)| {
        let key: Content = table.pick(columns, content)?;
        Some(hashed(&["natural key", table.name.as_str(), &nth.to_string(), key.as_canonical()]))
    });
    keys.collect()
}

/// The first eight bytes of SHA-256. Two ties with one hash only bring rows that have no say.
fn hashed(parts: &[&str]) -> i64 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    let digest = digest.finalize();
    digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte)).cast_signed()
}

fn is_plain(standing: &Standing) -> bool {
    matches!(standing, Standing::Visible | Standing::Deleted)
}

/// What others can tell of how a row stands: visible, deleted for good, or set aside.
fn place(standing: &Standing) -> u8 {
    match standing {
        Standing::Visible | Standing::Revived => 0,
        Standing::Deleted => 1,
        Standing::Cascaded { .. } | Standing::Orphaned { .. } | Standing::NaturalKey { .. } => 2,
    }
}

fn class_of(standing: &Standing, stored: &Stored) -> Class {
    match standing {
        Standing::Visible | Standing::Revived => Class::Visible,
        Standing::Deleted if stored.deleted => Class::Tombstone,
        _ => Class::SetAside,
    }
}
