//! Whose database this is, and whether it is still the one that it was.
//!
//! A server has an identifier and a timeline, a database a number. When one of them is another than at the last start,
//! the database was restored or moved: peers may have read of it what it no longer holds, so it begins a new life. What
//! is stored keeps the life that it was written in: who has known a row of that life, and that it was deleted since, must
//! not take it for a new one. Where even the numbers of transactions are another server's, what is stored is given to
//! readers as if one transaction of now had brought it: the old numbers would lie in the future, or mean something else.
//! A copy of the files that was put back in place shows none of this; that peers have read on shows it then
//! ([`PeerReply::Noted`](crate::peer_sync::store::PeerReply)).

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::error::PeerStoreError;
use super::state::{Purged, State};
use super::work::Work;
use crate::id::Incarnation;
use crate::peer_sync::position::Frontier;
use crate::peer_sync::version::NodeId;
use crate::runtime::postgres::PostgresError;

const WHERE: &str = "SELECT (SELECT system_identifier FROM pg_control_system()),
    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer::bigint,
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database())";
const STORED: &str = "SELECT node_id, system_id, timeline, database_oid FROM p2p_peer.node";
const ENTER: &str =
    "INSERT INTO p2p_peer.node (node_id, incarnation, system_id, timeline, database_oid, frontier)
    VALUES ($1, $2, $3, $4, $5, $6)";
const MOVE: &str = "UPDATE p2p_peer.node SET system_id = $1, timeline = $2, database_oid = $3";
const IS_AHEAD: &str = "SELECT EXISTS (SELECT FROM p2p_peer.versions
    WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)";
/// What is stored was written in the life that ended, under numbers that its readers know.
const KEEP_ORIGINS: &str =
    "UPDATE p2p_peer.versions SET origin_incarnation = $1 WHERE origin_incarnation IS NULL";
const XID: &str = "SELECT pg_current_xact_id()::text::bigint";
const RENUMBER: [&str; 5] = [
    "UPDATE p2p_peer.log SET xid = $1",
    "UPDATE p2p_peer.versions SET xid = $1, part = 0, born = $1",
    "UPDATE p2p_peer.node SET own_xid = $1",
    "DELETE FROM p2p_peer.lost WHERE xid IS DISTINCT FROM $1",
    "DELETE FROM p2p_peer.purged WHERE xid IS DISTINCT FROM $1",
];

/// What was written under the old name says so from now on.
const NAME_LIVES: &str =
    "UPDATE p2p_peer.versions SET origin_incarnation = $1 WHERE origin_incarnation IS NULL";
const FORGET_POSITION: &str = "DELETE FROM p2p_peer.positions WHERE peer = $1";
const NAME: &str = "UPDATE p2p_peer.node SET node_id = $1";

/// Sees to it that the database is this peer's, and begins a new life where it is another than it was. Says how far it
/// has come.
pub(super) async fn recognise(
    connection: &mut PgConnection,
    given: &NodeId,
) -> Result<State, PeerStoreError> {
    let postgres = |error: sqlx::Error| PeerStoreError::from(PostgresError::from(error));
    let now = sqlx::query(WHERE).fetch_one(&mut *connection).await.map_err(postgres)?;
    let number = |place: usize| now.try_get::<i64, _>(place).map_err(postgres);
    let here = (number(0)?, number(1)?, number(2)?);
    let Some(stored) = sqlx::query(STORED).fetch_optional(&mut *connection).await.map_err(postgres)? else {
        let frontier = serde_json::to_string(&Frontier::default()).map_err(|_| PostgresError::Unexpected)?;
        let enter = sqlx::query(ENTER).bind(given.as_str()).bind(new_life().0.cast_signed());
        let enter = enter.bind(here.0).bind(here.1).bind(here.2).bind(frontier);
        enter.execute(&mut *connection).await.map_err(postgres)?;
        return Ok(State::read(connection).await?);
    };
    let name: String = stored.try_get(0).map_err(postgres)?;
    if name != given.as_str() {
        let stored = NodeId::new(&name).map_err(|_| PostgresError::Unexpected)?;
        return Err(PeerStoreError::OtherNode { stored, given: given.clone() });
    }
    let number = |place: usize| stored.try_get::<i64, _>(place).map_err(postgres);
    let was = (number(1)?, number(2)?, number(3)?);
    let is_ahead: bool = sqlx::query_scalar(IS_AHEAD).fetch_one(&mut *connection).await.map_err(postgres)?;
    let state = State::read(connection).await?;
    if was == here && !is_ahead {
        return Ok(state);
    }
    let mut renewed = state.clone();
    renewed.renew(given, new_life());
    let keep = sqlx::query(KEEP_ORIGINS).bind(state.incarnation.0.cast_signed());
    keep.execute(&mut *connection).await.map_err(postgres)?;
    if is_ahead || (was.0, was.2) != (here.0, here.2) {
        let xid: i64 = sqlx::query_scalar(XID).fetch_one(&mut *connection).await.map_err(postgres)?;
        for statement in RENUMBER {
            sqlx::query(statement).bind(xid).execute(&mut *connection).await.map_err(postgres)?;
        }
        renewed.own_xid = Some(xid.cast_unsigned());
        renewed.purged = Purged::default();
    }
    renewed.save(connection, &state, None).await?;
    let moved = sqlx::query(MOVE).bind(here.0).bind(here.1).bind(here.2);
    moved.execute(&mut *connection).await.map_err(postgres)?;
    Ok(renewed)
}

/// Makes the database that of another node, in this life, once everything is folded: as
/// [`MemoryPeerStore::rename`](crate::peer_sync::store::memory::MemoryPeerStore::rename) says.
pub(super) async fn rename(
    work: &mut Work<'_>,
    name: &NodeId,
    life: Incarnation,
) -> Result<(), PostgresError> {
    let old = &work.shared.node;
    work.state.renew(old, life);
    sqlx::query(NAME_LIVES).bind(life.0.cast_signed()).execute(&mut *work.connection).await?;
    work.state.others.advance(old, life, &work.snapshot);
    work.state.own_xid = None;
    work.state.positions.remove(name);
    sqlx::query(FORGET_POSITION).bind(name.as_str()).execute(&mut *work.connection).await?;
    work.state.refused.remove(name);
    sqlx::query(NAME).bind(name.as_str()).execute(&mut *work.connection).await?;
    Ok(())
}

/// A number that no life had before.
pub(super) fn new_life() -> Incarnation {
    let mut bytes = [0; 8];
    // Without randomness the clock's nanoseconds have to do: lives need only differ.
    if getrandom::fill(&mut bytes).is_err() {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = (since.as_nanos() as u64).to_be_bytes();
    }
    Incarnation(u64::from_be_bytes(bytes).max(1))
}
