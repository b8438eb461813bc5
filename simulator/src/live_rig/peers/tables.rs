//! The tables of a scenario as SQL: how they are made, and how applications and the rig read and write them.
//!
//! Every column is a text, so what a database holds is what was written. With a row is read, in the same statement, which
//! version of it the database holds: that of the peer's books, or a later one that waits in its log.

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _, SqlStr};
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::{Extra, Image, Origin, RowId, RowVersion};
use sync_core::peer_sync::schema::{OnDeleted, Schema, Table};
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::Standing;
use sync_core::peer_sync::version::{ContentHash, NodeId, Stamp, Version};

use crate::history::peers::{FinalState, Seen};

/// The statements of every table.
#[derive(Debug)]
pub(super) struct Statements {
    schema: Schema,
    tables: BTreeMap<String, TableStatements>,
    /// Parents first.
    create: String,
}

/// The statements of one table. `$1` is the key's text everywhere.
#[derive(Debug)]
pub(super) struct TableStatements {
    pub(super) table: Table,
    /// Locks the row, if it is there.
    pub(super) lock: SqlStr,
    /// `$2` is the key's canonical form.
    look: SqlStr,
    /// `$n` is the n-th column.
    pub(super) insert: SqlStr,
    pub(super) update: SqlStr,
    pub(super) delete: SqlStr,
    /// Many at once; `$n` are the n-th column's texts.
    pub(super) load: SqlStr,
    /// Everything there is of the table, and in the books of it.
    all: SqlStr,
    /// Alters the last column of the row: `$2` is its new text.
    damage: SqlStr,
    pub(super) columns: usize,
}

/// A row in the end.
pub(super) struct Ended {
    pub(super) row: RowId,
    pub(super) state: FinalState,
    /// What the books have of it, if they have anything.
    pub(super) stored: Option<RowVersion>,
}

/// A row as a statement saw it.
pub(super) struct Looked {
    pub(super) seen: Seen,
    /// What was visible to the statement.
    pub(super) snapshot: Snapshot,
    /// The database's clock.
    pub(super) clock_us: u64,
    /// How far that was from the server's.
    pub(super) ahead_us: i64,
    /// What is in the row, if there is one.
    pub(super) content: Option<Content>,
}

impl Statements {
    /// Those of a schema.
    pub(super) fn new(schema: &Schema) -> Self {
        let tables = schema.tables().map(|table| (table.name.as_str().to_owned(), of_table(table)));
        Self { schema: schema.clone(), tables: tables.collect(), create: create(schema) }
    }

    /// What they are of.
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Makes all tables.
    pub(super) fn create(&self) -> SqlStr {
        safe(self.create.clone())
    }

    /// One of them.
    pub(super) fn of(&self, table: &str) -> Option<&TableStatements> {
        self.tables.get(table)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &TableStatements> {
        self.tables.values()
    }
}

impl TableStatements {
    /// Reads one row, as an application sees it, with the version that the database of this node holds. What the own
    /// transaction wrote is seen, but its version is not known yet.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn look(
        &self,
        connection: &mut PgConnection,
        row: &RowId,
        node: &NodeId,
    ) -> Result<Looked, sqlx::Error> {
        let key = row.key.column(0).unwrap_or_default();
        let query = sqlx::query(self.look.clone()).bind(key).bind(row.key.as_canonical());
        let found = query.fetch_one(connection).await?;
        let content =
            if found.try_get::<bool, _>(10)? { Some(content(&found, 11, self.columns)?) } else { None };
        let stored = match found.try_get::<Option<i64>, _>(0)? {
            Some(us) => Some(Version {
                stamp: stamp(us, found.try_get(1)?),
                node: NodeId::new(found.try_get(2)?).map_err(strange)?,
                hash: hash(found.try_get(3)?)?,
            }),
            None => None,
        };
        let waiting = match found.try_get::<Option<i64>, _>(4)? {
            Some(us) => {
                let last: Option<&str> = found.try_get(7)?;
                let last = last.map(Content::from_canonical).transpose().map_err(strange)?;
                let hash = match (&content, found.try_get::<bool, _>(6)?) {
                    (Some(content), false) => content.hash(),
                    _ => Content::tombstone_hash(last.as_ref()),
                };
                Some(Version { stamp: stamp(us, found.try_get(5)?), node: node.clone(), hash })
            }
            None => None,
        };
        let snapshot: &str = found.try_get(8)?;
        Ok(Looked {
            seen: Seen {
                row: row.clone(),
                version: stored.max(waiting),
                visible: content.as_ref().map(Content::hash),
            },
            snapshot: snapshot.parse().map_err(strange)?,
            clock_us: found.try_get::<i64, _>(9)?.cast_unsigned(),
            ahead_us: found.try_get(11 + self.columns)?,
            content,
        })
    }

    /// Everything that a database holds of this table: by its books, and in the table itself. What is in the table and
    /// in no book has a version at the beginning of time.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn all(
        &self,
        connection: &mut PgConnection,
        node: &NodeId,
    ) -> Result<Vec<Ended>, sqlx::Error> {
        let rows = sqlx::query(self.all.clone()).bind(self.table.name.as_str()).fetch_all(connection).await?;
        rows.iter().map(|row| self.ended(row, node)).collect()
    }

    /// Alters the text in the last column of a row, if it has one, in the table and wherever else the database keeps it; its
    /// version stays as it was, and nobody is told. Whether there was one.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn damage(
        &self,
        connection: &mut PgConnection,
        row: &RowId,
        node: &NodeId,
    ) -> Result<bool, sqlx::Error> {
        let Some(content) = self.look(connection, row, node).await?.content else { return Ok(false) };
        let mut texts: Vec<Option<String>> = content.columns().map(|text| text.map(str::to_owned)).collect();
        let Some(Some(last)) = texts.last_mut() else { return Ok(false) };
        last.push('\u{fffd}');
        let altered = Content::new(texts.iter().map(Option::as_deref));
        sqlx::raw_sql("SET session_replication_role = replica").execute(&mut *connection).await?;
        let query =
            sqlx::query(self.damage.clone()).bind(row.key.column(0)).bind(texts.last().cloned().flatten());
        query.execute(&mut *connection).await?;
        sqlx::query(DAMAGE_KEPT)
            .bind(altered.as_canonical())
            .bind(self.table.name.as_str())
            .bind(row.key.as_canonical())
            .execute(connection)
            .await?;
        Ok(true)
    }

    fn ended(&self, found: &PgRow, node: &NodeId) -> Result<Ended, sqlx::Error> {
        let shown = if found.try_get::<bool, _>(8)? { Some(content(found, 9, self.columns)?) } else { None };
        let visible = shown.as_ref().map(Content::hash);
        let table = self.table.name.clone();
        let Some(key) = found.try_get::<Option<&str>, _>(0)? else {
            let key = shown.as_ref().and_then(|shown| shown.column(0));
            let row = RowId { table, key: Content::new([key]) };
            let hash = visible.unwrap_or_default();
            let version = Version { stamp: Stamp::default(), node: node.clone(), hash };
            let standing = Standing::Visible;
            let state = FinalState { version, deleted: false, standing, content: hash, visible, ought: None };
            return Ok(Ended { row, state, stored: None });
        };
        let row = RowId { table, key: Content::from_canonical(key).map_err(strange)? };
        let deleted: bool = found.try_get(5)?;
        let kept: Option<&str> = found.try_get(6)?;
        let kept = kept.map(Content::from_canonical).transpose().map_err(strange)?;
        let standing: Option<&str> = found.try_get(7)?;
        let standing = match standing {
            Some(standing) => serde_json::from_str(standing).map_err(strange)?,
            None if deleted => Standing::Deleted,
            None => Standing::Visible,
        };
        let content = match (deleted, &kept, &shown) {
            (true, kept, _) => Content::tombstone_hash(kept.as_ref()),
            (false, Some(kept), _) => kept.hash(),
            (false, None, Some(shown)) => shown.hash(),
            // Nothing is stored of a row that lives by the books.
            (false, None, None) => ContentHash::default(),
        };
        let version = Version {
            stamp: stamp(found.try_get(1)?, found.try_get(2)?),
            node: NodeId::new(found.try_get(3)?).map_err(strange)?,
            hash: hash(found.try_get(4)?)?,
        };
        let image = match deleted {
            true => Some(Image::Tombstone(kept)),
            false => kept.or(shown).map(Image::Row),
        };
        // Where a version was written plays no part in how its row stands.
        let (origin, extra) = (Origin::COMBINED, Extra::None);
        let stored = image.map(|image| RowVersion {
            row: row.clone(),
            version: version.clone(),
            image,
            origin,
            extra,
        });
        let state = FinalState { version, deleted, standing, content, visible, ought: None };
        Ok(Ended { row, state, stored })
    }
}

fn of_table(table: &Table) -> TableStatements {
    let name = quoted(table.name.as_str());
    let key = quoted(table.key.first().map_or("id", String::as_str));
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let of_row = columns.iter().map(|column| format!("t.{column}")).collect::<Vec<_>>().join(", ");
    let list = columns.join(", ");
    let places = |cast: &str| {
        (1..=columns.len()).map(|place| format!("${place}{cast}")).collect::<Vec<_>>().join(", ")
    };
    let set = columns.iter().zip(1..).map(|(column, place)| format!("{column} = ${place}"));
    let set = set.collect::<Vec<_>>().join(", ");
    let literal = format!("'{}'", table.name.as_str());
    let look = format!(
        "SELECT v.us, v.counter, v.node, v.hash, l.us, l.counter, l.deleted, l.content,
            pg_current_snapshot()::text, p2p_peer.clock_us(), t.{key} IS NOT NULL, {of_row},
            (SELECT offset_us FROM p2p_peer.clock)
        FROM (SELECT) AS one
        LEFT JOIN {name} AS t ON t.{key} = $1
        LEFT JOIN p2p_peer.versions AS v ON v.table_name = {literal} AND v.key = $2
        LEFT JOIN LATERAL (
            SELECT us, counter, deleted, content FROM p2p_peer.log
            WHERE table_name = {literal} AND key = ARRAY[$1]
                AND xid IS DISTINCT FROM pg_current_xact_id_if_assigned()::text::bigint
            ORDER BY us DESC, counter DESC LIMIT 1
        ) AS l ON true"
    );
    let all = format!(
        "SELECT v.key, v.us, v.counter, v.node, v.hash, v.deleted, v.content, v.standing, t.{key} IS NOT NULL, {of_row}
        FROM (SELECT *, substr(key, strpos(key, ':') + 1) AS id FROM p2p_peer.versions WHERE table_name = $1) AS v
        FULL JOIN {name} AS t ON t.{key} = v.id"
    );
    TableStatements {
        table: table.clone(),
        lock: safe(format!("SELECT 1 FROM {name} WHERE {key} = $1 FOR UPDATE")),
        look: safe(look),
        insert: safe(format!("INSERT INTO {name} ({list}) VALUES ({})", places(""))),
        update: safe(format!("UPDATE {name} SET {set} WHERE {key} = $1")),
        damage: safe(format!(
            "UPDATE {name} SET {} = $2 WHERE {key} = $1",
            columns.last().map_or("id", String::as_str)
        )),
        delete: safe(format!("DELETE FROM {name} WHERE {key} = $1")),
        load: safe(format!(
            "INSERT INTO {name} ({list}) SELECT * FROM unnest({}) ON CONFLICT DO NOTHING",
            places("::text[]")
        )),
        all: safe(all),
        columns: columns.len(),
    }
}

/// What a local statement may do is the database's own business, as ever: references are foreign keys.
fn create(schema: &Schema) -> String {
    let mut text = String::new();
    for table in schema.tables() {
        let mut parts: Vec<String> =
            table.columns.iter().map(|column| format!("{} text COLLATE \"C\"", quoted(column))).collect();
        let list = |columns: &[String]| columns.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(", ");
        parts.push(format!("PRIMARY KEY ({})", list(&table.key)));
        parts.extend(table.unique.iter().map(|columns| format!("UNIQUE ({})", list(columns))));
        for reference in &table.references {
            let parent = quoted(reference.table.as_str());
            let cascade = if reference.on_deleted == OnDeleted::Cascade { " ON DELETE CASCADE" } else { "" };
            parts.push(format!("FOREIGN KEY ({}) REFERENCES {parent}{cascade}", list(&reference.columns)));
        }
        text += &format!("CREATE TABLE {} ({});\n", quoted(table.name.as_str()), parts.join(", "));
    }
    text
}

fn content(row: &PgRow, from: usize, columns: usize) -> Result<Content, sqlx::Error> {
    let texts = (from..from + columns).map(|place| row.try_get::<Option<&str>, _>(place));
    Ok(Content::new(texts.collect::<Result<Vec<_>, _>>()?))
}

fn stamp(us: i64, counter: i64) -> Stamp {
    Stamp { us: us.cast_unsigned(), counter: u32::try_from(counter).unwrap_or(u32::MAX) }
}

fn hash(bytes: &[u8]) -> Result<ContentHash, sqlx::Error> {
    Ok(ContentHash(bytes.try_into().map_err(strange)?))
}

/// Something that no peer's database holds.
fn strange(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

/// Names of tables and columns are letters, digits and `_` ([`Table::new`]).
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

pub(super) fn safe(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}

const DAMAGE_KEPT: &str = "UPDATE p2p_peer.versions SET content = $1
    WHERE table_name = $2 AND key = $3 AND content IS NOT NULL AND NOT deleted";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_schema::schema;
    use crate::scenario::model::Peers;

    #[test]
    fn parents_are_made_first_and_references_are_foreign_keys() {
        let create = create(&schema(&Peers::of(3)).unwrap());
        let place = |text: &str| create.find(text).unwrap_or_else(|| panic!("{text} in {create}"));
        assert!(place("CREATE TABLE \"users\"") < place("CREATE TABLE \"products\""));
        assert!(create.contains("FOREIGN KEY (\"user_id\") REFERENCES \"users\""));
        assert!(create.contains("UNIQUE (\"user_id\", \"product_id\")"));
    }
}
