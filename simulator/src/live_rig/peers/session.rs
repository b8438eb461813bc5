//! Applications at live peers: transactions in plain SQL, one after the other in each session, over a connection of the
//! session's own.
//!
//! What a transaction wrote is read in its own last statement from the log of what triggers captured: the stamps are there,
//! and nobody else sees them yet. Whether a transaction whose commit was never answered took place is asked in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use sync_core::id::Incarnation;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::Table;
use sync_core::peer_sync::version::{NodeId, Stamp, Version};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::database::connect;
use super::now_us;
use super::tables::{Looked, TableStatements};
use super::told::{Place, ReadRows, Shared, Told, Transaction};
use crate::history::peers::{PeerWhat, Written};
use crate::history::{OpRef, What};
use crate::peer_schema::{Filler, row_id};
use crate::plan::Body;
use crate::scenario::model::{Put, RowName, Statement};

/// The sessions of every peer.
pub(super) struct Applications {
    shared: Arc<Shared>,
    places: Vec<Arc<Place>>,
    sessions: BTreeMap<(u32, u32), UnboundedSender<Letter>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Letter {
    op: OpRef,
    intended_us: u64,
    life: u32,
    body: Body,
}

struct Session {
    shared: Arc<Shared>,
    place: Arc<Place>,
    number: u32,
    /// With the door that it came in by.
    connection: Option<(u32, PgConnection)>,
}

/// How a transaction ended, other than by its commit.
enum Ended {
    Aborted(String),
    /// Nobody answers any more.
    Broken,
}

/// What a transaction has written so far, by table and row: what was there before, and what it put there; none for a delete.
type Writes = BTreeMap<RowId, (Option<Version>, Option<Content>, u64)>;

impl Applications {
    pub(super) fn new(shared: Arc<Shared>, places: Vec<Arc<Place>>) -> Self {
        Self { shared, places, sessions: BTreeMap::new(), tasks: Vec::new() }
    }

    /// A transaction arrives, as intended for that moment of the run.
    pub(super) fn arrive(&mut self, op: OpRef, intended_us: u64, body: Body) {
        let Some(place) = self.places.get(op.host as usize) else { return };
        if !place.is_up.load(Ordering::SeqCst) {
            return self.shared.tell(What::Peer(PeerWhat::Unsent { op, intended_us }));
        }
        let (shared, tasks, number) = (&self.shared, &mut self.tasks, body.session);
        let session = self.sessions.entry((op.host, number)).or_insert_with(|| {
            let (sender, letters) = unbounded_channel();
            let (shared, place) = (Arc::clone(shared), Arc::clone(place));
            let session = Session { shared, place, number, connection: None };
            tasks.push(tokio::spawn(session.work(letters)));
            sender
        });
        self.shared.arrives();
        // A session ends only after this.
        let _ = session.send(Letter { op, intended_us, life: place.life.load(Ordering::SeqCst), body });
    }

    /// Ends every session where it is.
    pub(super) fn end(self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Session {
    async fn work(mut self, mut letters: UnboundedReceiver<Letter>) {
        while let Some(letter) = letters.recv().await {
            self.take(letter).await;
            self.shared.ends();
        }
    }

    async fn take(&mut self, Letter { op, intended_us, life, body }: Letter) {
        let (shared, place, session) = (Arc::clone(&self.shared), Arc::clone(&self.place), self.number);
        let _inside = place.gate.read().await;
        let (node, era) = (place.node(), place.era.load(Ordering::SeqCst));
        let Some(connection) = self.connected(life).await else {
            return shared.tell(What::Peer(PeerWhat::Unsent { op, intended_us }));
        };
        let place = &place;
        let mut work = Work {
            shared: &shared,
            place,
            node,
            era,
            session,
            op,
            writes: Writes::new(),
            ahead_us_max: i64::MIN,
        };
        shared.tell(What::Peer(PeerWhat::Began { op, session, intended_us }));
        let why = match work.carry_out(connection, &body).await {
            Ok(()) => return,
            Err(Ended::Aborted(why)) => why,
            Err(Ended::Broken) => {
                self.connection = None;
                return shared.tell(What::Peer(PeerWhat::Indefinite { op }));
            }
        };
        shared.tell(What::Peer(PeerWhat::Aborted { op, why }));
        if sqlx::raw_sql("ROLLBACK").execute(connection).await.is_err() {
            self.connection = None;
        }
    }

    /// A connection in this life of the peer; none if that is over, or nobody answers.
    async fn connected(&mut self, life: u32) -> Option<&mut PgConnection> {
        let now = self.place.life.load(Ordering::SeqCst);
        if life != now || !self.place.is_up.load(Ordering::SeqCst) {
            return None;
        }
        let door = self.place.door.load(Ordering::SeqCst);
        if self.connection.as_ref().is_none_or(|(by, _)| *by != door) {
            let connection = connect(self.place.database.dsn()).await.ok()?;
            self.connection = Some((door, connection));
        }
        self.connection.as_mut().map(|(_, connection)| connection)
    }
}

/// One transaction at work.
struct Work<'a> {
    shared: &'a Shared,
    place: &'a Place,
    node: NodeId,
    era: u32,
    session: u32,
    op: OpRef,
    writes: Writes,
    /// The furthest that the peer's clock was from the server's at a statement.
    ahead_us_max: i64,
}

impl Work<'_> {
    async fn carry_out(&mut self, connection: &mut PgConnection, body: &Body) -> Result<(), Ended> {
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
        for (number, statement) in (0..).zip(&body.statements) {
            self.execute(connection, number, statement).await?;
        }
        if body.open_us > 0 {
            sleep(Duration::from_micros(body.open_us)).await;
        }
        let transaction = self.written(connection).await?;
        let committed = sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(Ended::from);
        let answered_us = now_us();
        if let Some(mut transaction) = transaction {
            transaction.answered_us = committed.is_ok().then_some(answered_us);
            if !matches!(committed, Err(Ended::Aborted(_))) {
                self.shared.push(Told::Transaction(transaction));
            }
        }
        committed.map(|_| ())
    }

    async fn execute(
        &mut self,
        connection: &mut PgConnection,
        number: u32,
        statement: &Statement,
    ) -> Result<(), Ended> {
        let shared = self.shared;
        let (Statement::Read(RowName { table, row })
        | Statement::Delete(RowName { table, row })
        | Statement::Put(Put { table, row, .. })) = statement;
        // Validated: the table is one of the schema.
        let Some(statements) = shared.statements.of(table) else { return Ok(()) };
        let row = row_id(&statements.table, *row);
        let key = row.key.column(0).unwrap_or_default().to_owned();
        if !matches!(statement, Statement::Read(_)) {
            sqlx::query(statements.lock.clone()).bind(&key).fetch_optional(&mut *connection).await?;
        }
        let sent_us = now_us();
        let Looked { seen, snapshot, clock_us, ahead_us, content } =
            statements.look(connection, &row, &self.node).await?;
        self.ahead_us_max = self.ahead_us_max.max(ahead_us);
        let put = match statement {
            Statement::Put(put) => {
                let filler =
                    Filler { draws: shared.draws, op: self.op, statement: number, parents: &shared.parents };
                Some(filler.fill(&statements.table, put, content.as_ref()))
            }
            Statement::Delete(_) if content.is_some() => None,
            // A delete that finds no row has looked and seen none. What the transaction itself has written is nobody
            // else's business.
            Statement::Read(_) | Statement::Delete(_) => {
                if !self.writes.contains_key(&row) {
                    let (op, session, era) = (self.op, self.session, self.era);
                    shared.push(Told::Read(ReadRows {
                        op,
                        session,
                        era,
                        rows: vec![seen],
                        snapshot,
                        sent_us,
                    }));
                }
                return Ok(());
            }
        };
        write(connection, statements, &key, content.is_some(), put.as_ref()).await?;
        let before = self.writes.remove(&row).map_or(seen.version, |(before, ..)| before);
        self.writes.insert(row, (before, put, clock_us));
        Ok(())
    }

    /// What the transaction has written, as captured; none if nothing was.
    async fn written(&self, connection: &mut PgConnection) -> Result<Option<Transaction>, Ended> {
        let rows = sqlx::query(WRITTEN).fetch_all(&mut *connection).await?;
        let mut last: BTreeMap<RowId, (Stamp, bool, Option<Content>)> = BTreeMap::new();
        let (mut xid, mut incarnation, mut clock_us, mut wall_us) = (0, Incarnation(0), 0, 0u64);
        for row in &rows {
            let table: &str = row.try_get(0)?;
            let Some(table) = self.shared.statements.of(table).map(|statements| &statements.table) else {
                continue;
            };
            let key: Vec<String> = row.try_get(1)?;
            let stamp = Stamp {
                us: row.try_get::<i64, _>(2)?.cast_unsigned(),
                counter: u32::try_from(row.try_get::<i64, _>(3)?).unwrap_or(u32::MAX),
            };
            let content: Option<&str> = row.try_get(5)?;
            let content = content.and_then(|content| Content::from_canonical(content).ok());
            (xid, clock_us) =
                (row.try_get::<i64, _>(6)?.cast_unsigned(), row.try_get::<i64, _>(8)?.cast_unsigned());
            incarnation = Incarnation(row.try_get::<i64, _>(7)?.cast_unsigned());
            wall_us = row.try_get::<i64, _>(9)?.cast_unsigned();
            let entry = (stamp, row.try_get(4)?, content);
            let known = last.entry(named(table, &key)).or_insert_with(|| entry.clone());
            if known.0 < stamp {
                *known = entry;
            }
        }
        if last.is_empty() {
            return Ok(None);
        }
        // A clock that was set meanwhile has shown no more than it would show now had it not been.
        let clock_us_max = self.place.shows(clock_us).max(wall_us.saturating_add_signed(self.ahead_us_max));
        let mut writes = Vec::with_capacity(last.len());
        for (row, (stamp, deleted, content)) in last {
            let (seen, put, shown_us) = match self.writes.get(&row) {
                Some((seen, put, shown_us)) => (seen.clone(), put.clone(), *shown_us),
                // It went with its parent.
                None => {
                    let Some(statements) = self.shared.statements.of(row.table.as_str()) else { continue };
                    let looked = statements.look(connection, &row, &self.node).await?;
                    (looked.seen.version, None, 0)
                }
            };
            let hash = match (&put, deleted) {
                (Some(put), false) => put.hash(),
                _ => Content::tombstone_hash(content.as_ref()),
            };
            let version = Version { stamp, node: self.node.clone(), hash };
            let (clock_us, content) = (shown_us, None);
            writes.push(Written { row, version, deleted, seen, clock_us, clock_us_max, content });
        }
        // In the order of the writing.
        writes.sort_by_key(|write| write.version.stamp);
        let (op, session, era) = (self.op, self.session, self.era);
        Ok(Some(Transaction { op, session, era, incarnation, xid, writes, clock_us, answered_us: None }))
    }
}

async fn write(
    connection: &mut PgConnection,
    statements: &TableStatements,
    key: &str,
    is_there: bool,
    put: Option<&Content>,
) -> Result<(), sqlx::Error> {
    let Some(put) = put else {
        sqlx::query(statements.delete.clone()).bind(key).execute(connection).await?;
        return Ok(());
    };
    let text = if is_there { &statements.update } else { &statements.insert };
    let query =
        put.columns().fold(sqlx::query(text.clone()), |query, column| query.bind(column.map(str::to_owned)));
    query.execute(connection).await?;
    Ok(())
}

fn named(table: &Table, key: &[String]) -> RowId {
    RowId { table: table.name.clone(), key: Content::new(key.iter().map(|column| Some(column.as_str()))) }
}

impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // operator_intervention: the server shuts down, crashed, or cut the connection; 25P03 and the like are its
            // patience.
            sqlx::Error::Database(found) if !found.code().is_some_and(|code| code.starts_with("57P")) => {
                Self::Aborted(found.message().to_owned())
            }
            _ => Self::Broken,
        }
    }
}

/// What triggers captured of this transaction, with the life of the database and its clock.
const WRITTEN: &str =
    "SELECT l.table_name, l.key, l.us, l.counter, l.deleted, l.content, l.xid, n.incarnation,
        p2p_peer.clock_us(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM p2p_peer.log AS l, p2p_peer.node AS n WHERE l.xid = pg_current_xact_id_if_assigned()::text::bigint";
