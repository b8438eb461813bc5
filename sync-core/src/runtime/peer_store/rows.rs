//! Stored versions as `p2p_peer.versions` has them, read and written in sets.

use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::Shared;
use super::copy::{self, Lines};
use crate::id::Incarnation;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Extra, Image, Origin, RowId, RowVersion};
use crate::peer_sync::store::together::Part;
use crate::peer_sync::store::{DigestEntry, DigestPart, RowHash, Standing};
use crate::peer_sync::version::{ContentHash, NodeId, Stamp, Version};
use crate::runtime::postgres::PostgresError;

/// The columns that [`Stored::read`] reads, of `versions AS v`.
macro_rules! head {
    () => {
        "v.table_name, v.key, v.us, v.counter, v.node, v.hash, v.deleted, v.content, v.content_bytes, v.extra, \
         v.xid, v.born, v.origin_incarnation, v.origin_xid, v.standing, v.part"
    };
}
pub(super) use head;

const FIND: &str = concat!(
    "SELECT ",
    head!(),
    " FROM unnest($1::text[], $2::text[]) AS u (t, k) \
     JOIN p2p_peer.versions AS v ON v.table_name = u.t COLLATE \"C\" AND v.key = u.k COLLATE \"C\""
);
const INSERT: &str = "INSERT INTO p2p_peer.versions (table_name, key, us, counter, node, hash, deleted, content,
        content_bytes, extra, xid, born, origin_incarnation, origin_xid, leaf, part, stored_us)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[], $7::boolean[],
        $8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
        $15::integer[], $16::integer[]), (SELECT $17::bigint) AS s";
/// The columns of [`INSERT`].
const COPY: &str =
    "COPY p2p_peer.versions (table_name, key, us, counter, node, hash, deleted, content, content_bytes,
    extra, xid, born, origin_incarnation, origin_xid, leaf, part, stored_us) FROM STDIN";
const UPDATE: &str = "UPDATE p2p_peer.versions AS v SET us = u.us, counter = u.counter, node = u.node, hash = u.hash,
        deleted = u.deleted, content = u.content, content_bytes = u.content_bytes, extra = u.extra, xid = u.xid,
        origin_incarnation = u.origin_incarnation, origin_xid = u.origin_xid, part = u.part, standing = NULL, stored_us = $17
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[], $7::boolean[],
        $8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
        $15::integer[], $16::integer[]) AS u (table_name, key, us, counter, node, hash, deleted, content, content_bytes, extra, xid,
        born, origin_incarnation, origin_xid, leaf, part)
    WHERE v.table_name = u.table_name COLLATE \"C\" AND v.key = u.key COLLATE \"C\"";
const DELETE: &str = "DELETE FROM p2p_peer.versions AS v USING unnest($1::text[], $2::text[]) AS u (t, k)
    WHERE v.table_name = u.t COLLATE \"C\" AND v.key = u.k COLLATE \"C\"";

/// What a row counts as in the totals of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Visible,
    Tombstone,
    SetAside,
}

/// A stored version. What it holds is known only where `versions` keeps it: of tombstones, and of tables that ask for
/// more than their greatest version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) row: RowId,
    pub(super) version: Version,
    pub(super) deleted: bool,
    pub(super) content: Option<Content>,
    pub(super) content_bytes: usize,
    pub(super) extra: Extra,
    /// The transaction that put this version here.
    pub(super) xid: u64,
    /// Which part of it: 0 of an application's, else the place of a group in the page that it merged.
    pub(super) nth: u32,
    /// The transaction that put the first version here.
    pub(super) born: u64,
    pub(super) origin: Origin,
    /// How it stands, where that is not what its image alone says.
    pub(super) standing: Option<Standing>,
}

impl Stored {
    /// A received version as the work of a transaction here.
    pub(super) fn new(row: RowVersion, (xid, nth): Part, born: u64) -> Self {
        let deleted = row.image.is_tombstone();
        let content = match row.image {
            Image::Row(content) => Some(content),
            Image::Tombstone(content) => content,
        };
        Self {
            content_bytes: content.as_ref().map_or(0, |content| content.as_canonical().len()),
            row: row.row,
            version: row.version,
            deleted,
            content,
            extra: row.extra,
            xid,
            nth,
            born,
            origin: row.origin,
            standing: None,
        }
    }

    /// What put this version here.
    pub(super) fn part(&self) -> Part {
        (self.xid, self.nth)
    }

    pub(super) fn class(&self) -> Class {
        match self.standing {
            None if self.deleted => Class::Tombstone,
            None | Some(Standing::Revived) => Class::Visible,
            Some(_) => Class::SetAside,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let plain = if self.deleted { Standing::Deleted } else { Standing::Visible };
        self.standing.clone().unwrap_or(plain)
    }

    /// The prefix of its leaf among the [`DigestPart`]s.
    pub(super) fn leaf(&self) -> u32 {
        DigestPart::leaf_of(RowHash::of(&self.row)).prefix
    }

    pub(super) fn fingerprint(&self) -> u64 {
        DigestEntry::fingerprint(RowHash::of(&self.row), &self.version)
    }

    /// Both at once: a row's hash takes its time.
    pub(super) fn leaf_and_fingerprint(&self) -> (u32, u64) {
        let hash = RowHash::of(&self.row);
        (DigestPart::leaf_of(hash).prefix, DigestEntry::fingerprint(hash, &self.version))
    }

    /// As [`RowVersion::bytes`].
    pub(super) fn bytes(&self) -> usize {
        let extra = match &self.extra {
            Extra::None => 0,
            Extra::State(state) => state.len(),
        };
        64 + self.row.table.as_str().len()
            + self.row.key.as_canonical().len()
            + self.version.node.as_str().len()
            + self.content_bytes
            + extra
    }

    /// Whole, with what it holds. A living row without content is one that is missing in its table.
    pub(super) fn with_content(self, content: Option<Content>) -> RowVersion {
        let image = match (self.deleted, content) {
            (true, content) => Image::Tombstone(content),
            (false, Some(content)) => Image::Row(content),
            (false, None) => Image::Row(Content::new([])),
        };
        RowVersion { row: self.row, version: self.version, image, origin: self.origin, extra: self.extra }
    }

    /// Reads the columns of `head!`, the first at `first`.
    pub(super) fn read(
        row: &PgRow,
        first: usize,
        shared: &Shared,
        own: Life<'_>,
    ) -> Result<Self, PostgresError> {
        let number = |place: usize| -> Result<u64, PostgresError> {
            Ok(row.try_get::<i64, _>(first + place)?.cast_unsigned())
        };
        let optional = |place: usize| row.try_get::<Option<&str>, _>(first + place);
        let (id, version) = named(row, first, shared)?;
        let incarnation: Option<i64> = row.try_get(first + 12)?;
        let content = optional(7)?.map(Content::from_canonical).transpose();
        let standing = optional(14)?.map(serde_json::from_str).transpose();
        Ok(Self {
            row: id,
            version,
            deleted: row.try_get(first + 6)?,
            content: content.map_err(|_| PostgresError::Unexpected)?,
            content_bytes: usize::try_from(number(8)?).map_err(|_| PostgresError::Unexpected)?,
            extra: optional(9)?.map_or(Extra::None, |state| Extra::State(state.into())),
            xid: number(10)?,
            nth: row.try_get::<i32, _>(first + 15)?.cast_unsigned(),
            born: number(11)?,
            origin: Origin {
                incarnation: incarnation.map_or(own.1, |number| Incarnation(number.cast_unsigned())),
                xid: number(13)?,
            },
            standing: standing.map_err(|_| PostgresError::Unexpected)?,
        })
    }
}

/// A row and one of its versions: the table, the key, and the four parts of a version, from this column on.
pub(super) fn named(row: &PgRow, first: usize, shared: &Shared) -> Result<(RowId, Version), PostgresError> {
    let text = |place: usize| row.try_get::<&str, _>(first + place).map_err(PostgresError::from);
    let number = |place: usize| row.try_get::<i64, _>(first + place).map_err(PostgresError::from);
    let hash: &[u8] = row.try_get(first + 5)?;
    let key = Content::from_canonical(text(1)?).map_err(|_| PostgresError::Unexpected)?;
    let stamp = Stamp {
        us: number(2)?.cast_unsigned(),
        counter: u32::try_from(number(3)?).map_err(|_| PostgresError::Unexpected)?,
    };
    let node = NodeId::new(text(4)?).map_err(|_| PostgresError::Unexpected)?;
    let hash = ContentHash(hash.try_into().map_err(|_| PostgresError::Unexpected)?);
    Ok((RowId { table: shared.table_name(text(0)?)?, key }, Version { stamp, node, hash }))
}

/// Who the database belongs to, and in which life.
pub(super) type Life<'a> = (&'a NodeId, Incarnation);

/// The stored versions of rows, in no order; each once for each time that it is named.
pub(super) async fn find<'a>(
    connection: &mut PgConnection,
    shared: &Shared,
    own: Life<'_>,
    ids: impl IntoIterator<Item = &'a RowId>,
) -> Result<Vec<Stored>, PostgresError> {
    let (tables, keys) = columns_of(ids.into_iter().filter(|id| shared.has_key(id)));
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(FIND).bind(tables).bind(keys).fetch_all(connection).await?;
    rows.iter().map(|row| Stored::read(row, 0, shared, own)).collect()
}

/// Writes versions of rows that are not there yet, or that are.
pub(super) async fn write<'a>(
    connection: &mut PgConnection,
    shared: &Shared,
    own: Life<'_>,
    is_new: bool,
    stored_us: u64,
    rows: impl Iterator<Item = &'a Stored>,
) -> Result<(), PostgresError> {
    let mut columns = Columns::default();
    for row in rows {
        columns.add(row, shared, own);
    }
    if columns.tables.is_empty() {
        return Ok(());
    }
    if is_new && columns.tables.len() >= copy::ROWS_MIN {
        return columns.lines(stored_us).send(connection, COPY).await;
    }
    let statement = if is_new { INSERT } else { UPDATE };
    sqlx::query(statement)
        .bind(columns.tables)
        .bind(columns.keys)
        .bind(columns.us)
        .bind(columns.counters)
        .bind(columns.nodes)
        .bind(columns.hashes)
        .bind(columns.deleted)
        .bind(columns.contents)
        .bind(columns.bytes)
        .bind(columns.extras)
        .bind(columns.xids)
        .bind(columns.born)
        .bind(columns.incarnations)
        .bind(columns.origins)
        .bind(columns.leaves)
        .bind(columns.parts)
        .bind(stored_us.cast_signed())
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes versions away.
pub(super) async fn delete<'a>(
    connection: &mut PgConnection,
    ids: impl IntoIterator<Item = &'a RowId>,
) -> Result<(), PostgresError> {
    let (tables, keys) = columns_of(ids);
    if !tables.is_empty() {
        sqlx::query(DELETE).bind(tables).bind(keys).execute(connection).await?;
    }
    Ok(())
}

/// Tables and keys of rows, as two arrays.
pub(super) fn columns_of<'a>(ids: impl IntoIterator<Item = &'a RowId>) -> (Vec<&'a str>, Vec<&'a str>) {
    ids.into_iter().map(|id| (id.table.as_str(), id.key.as_canonical())).unzip()
}

#[derive(Default)]
struct Columns<'a> {
    tables: Vec<&'a str>,
    keys: Vec<&'a str>,
    us: Vec<i64>,
    counters: Vec<i64>,
    nodes: Vec<&'a str>,
    hashes: Vec<&'a [u8]>,
    deleted: Vec<bool>,
    contents: Vec<Option<&'a str>>,
    bytes: Vec<i64>,
    extras: Vec<Option<&'a str>>,
    xids: Vec<i64>,
    born: Vec<i64>,
    incarnations: Vec<Option<i64>>,
    origins: Vec<i64>,
    leaves: Vec<i32>,
    parts: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn add(&mut self, row: &'a Stored, shared: &Shared, own: Life<'_>) {
        let is_own = row.version.node == *own.0 && row.origin.incarnation == own.1;
        let keeps = row.deleted || shared.keeps_content(&row.row.table);
        self.tables.push(row.row.table.as_str());
        self.keys.push(row.row.key.as_canonical());
        self.us.push(row.version.stamp.us.cast_signed());
        self.counters.push(i64::from(row.version.stamp.counter));
        self.nodes.push(row.version.node.as_str());
        self.hashes.push(&row.version.hash.0);
        self.deleted.push(row.deleted);
        self.contents.push(row.content.as_ref().filter(|_| keeps).map(Content::as_canonical));
        // No row is near 2^63 bytes.
        self.bytes.push(row.content_bytes as i64);
        self.extras.push(match &row.extra {
            Extra::None => None,
            Extra::State(state) => Some(state),
        });
        self.xids.push(row.xid.cast_signed());
        self.born.push(row.born.cast_signed());
        self.incarnations.push((!is_own).then(|| row.origin.incarnation.0.cast_signed()));
        self.origins.push(row.origin.xid.cast_signed());
        // A leaf has 20 bits.
        self.leaves.push(row.leaf().cast_signed());
        self.parts.push(row.nth.cast_signed());
    }

    /// As COPY takes them.
    fn lines(&self, stored_us: u64) -> Lines {
        let mut lines = Lines::default();
        for at in 0..self.tables.len() {
            lines.text(Some(self.tables[at]));
            lines.text(Some(self.keys[at]));
            lines.number(Some(self.us[at]));
            lines.number(Some(self.counters[at]));
            lines.text(Some(self.nodes[at]));
            lines.bytes(self.hashes[at]);
            lines.truth(self.deleted[at]);
            lines.text(self.contents[at]);
            lines.number(Some(self.bytes[at]));
            lines.text(self.extras[at]);
            lines.number(Some(self.xids[at]));
            lines.number(Some(self.born[at]));
            lines.number(self.incarnations[at]);
            lines.number(Some(self.origins[at]));
            lines.number(Some(self.leaves[at].into()));
            lines.number(Some(self.parts[at].into()));
            lines.number(Some(stored_us.cast_signed()));
            lines.end();
        }
        lines
    }
}
