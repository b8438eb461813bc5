//! The one connection that executes requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};
use tokio::time::sleep;

use super::error::PeerStoreError;
use super::sql::{PINNED, Statements, sql};
use super::state::State;
use super::witness::{Decided, Witness};
use super::work::Work;
use super::{PeerStoreOptions, Shared, base, catalog, identity, migrations};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::interface::changes::{ReadRow, ReadRows};
use crate::peer_sync::row::{RowId, RowVersion, TableName};
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::{PeerReply, PeerRequest, lock_patience};
use crate::peer_sync::version::NodeId;
use crate::runtime::duration;
use crate::runtime::postgres::{PostgresError, migrations as ledger};
use crate::time::{Span, Timestamp};

/// "p2peernd" in ASCII: who holds it works on this database as a peer.
const HOLD: &str = "SELECT pg_try_advisory_lock(8083542183459124836)";
const SETTINGS: &str =
    "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()";
/// Rows that come from others are not captured as written here, set off no triggers, and need no order: what refers to
/// what is decided before.
const APPLY: &str = "SET session_replication_role = replica";
/// The digest of what captures a table, if all of it is in place.
const CAPTURED: &str = "SELECT CASE WHEN 5 = (SELECT count(*) FROM pg_trigger AS t
        WHERE t.tgrelid = to_regclass(quote_ident(table_name)) AND t.tgname LIKE 'p2p\\_peer\\_%' AND t.tgenabled = 'O')
    THEN capture_sha256 END FROM p2p_peer.tables WHERE table_name = $1";
/// A table may be large, and an application's transaction that holds it may take its time.
const PATIENCE: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'";
const CAPTURE: &str = "UPDATE p2p_peer.tables SET capture_sha256 = $2 WHERE table_name = $1";
/// What was folded leaves empty pages in the log, and every request looks at all of it.
const TIDY: &str = "VACUUM (TRUNCATE) p2p_peer.log";
/// Entries after which that is worth it.
const MANY: usize = 10_000;
/// What is written under the old name is all folded, and nothing comes after it.
const KEEP_WRITERS_OUT: &str = "LOCK TABLE p2p_peer.log IN SHARE ROW EXCLUSIVE MODE";
/// The number of the transaction, if it has written anything.
const ASSIGNED: &str = "SELECT pg_current_xact_id_if_assigned()::text::bigint";
const ONE_STATE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";
const EACH_STATEMENT: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// lock_not_available: an application had a row for longer than the attempt waited.
const LOCKED: &str = "55P03";

/// How soon a request that let go of its rows begins anew.
const LET_GO: Duration = Duration::from_millis(2);

/// serialization_failure: what the request decided on was changed, see [`base::met`].
const MET: &str = "40001";

/// What there is to do.
#[derive(Clone, Debug)]
pub(super) enum Task {
    Request(PeerRequest),
    Read(ReadRows),
    /// The database goes on under this name, in this life.
    Rename(NodeId, Incarnation),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Reply(PeerReply),
    Rows(Vec<ReadRow>),
    Renamed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Writer {
    target: PgConnectOptions,
    /// None while a request is at work: one that is abandoned leaves its connection in the middle of an answer.
    connection: Option<PgConnection>,
    /// What the database says, as long as nothing went wrong.
    state: Option<State>,
    /// Entries of the log that were folded since it was tidied.
    folded: usize,
    /// [`PeerStoreOptions::lock_timeout`].
    lock_timeout: Span,
    witness: Option<Arc<dyn Witness>>,
}

impl Writer {
    pub(super) fn new(target: PgConnectOptions, options: PeerStoreOptions) -> Self {
        let milliseconds = |span: Span| span.as_ms().max(1).to_string();
        let target = target
            .disable_statement_logging()
            .statement_cache_capacity(2_000)
            .options([
                ("client_min_messages", "warning"),
                // Batches are bounded, and every statement looks rows up by index. A plan that is made while tables are
                // empty must not turn to scans.
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("jit", "off"),
                ("client_connection_check_interval", "1000"),
            ])
            .options(PINNED)
            .options([
                ("statement_timeout", milliseconds(options.request_timeout)),
                ("lock_timeout", milliseconds(options.lock_timeout)),
            ]);
        Self {
            target,
            connection: None,
            state: None,
            folded: 0,
            lock_timeout: options.lock_timeout,
            witness: None,
        }
    }

    /// Has somebody told of what is about to be committed.
    pub(super) fn watch(&mut self, witness: Arc<dyn Witness>) {
        self.witness = Some(witness);
    }

    /// Opens the connection for the first time and brings the schema up to date.
    pub(super) async fn prepare(&mut self) -> Result<(), PeerStoreError> {
        let mut connection = self.open().await?;
        let encoding: String =
            sqlx::query_scalar(SETTINGS).fetch_one(&mut connection).await.map_err(PostgresError::from)?;
        if encoding != "UTF8" {
            return Err(PeerStoreError::Encoding(encoding));
        }
        ledger::run(&mut connection, &migrations::LEDGER).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Has the tables captured, and makes their statements. Rows that are there already are taken for written now.
    pub(super) async fn install(
        &mut self,
        shared: &Shared,
    ) -> Result<BTreeMap<TableName, Statements>, PeerStoreError> {
        let mut connection = self.connection.take().ok_or(PostgresError::Unexpected)?;
        let mut transaction = connection.begin().await.map_err(PostgresError::from)?;
        sqlx::raw_sql(PATIENCE).execute(&mut *transaction).await.map_err(PostgresError::from)?;
        let all = catalog::statements(&mut transaction, &shared.schema).await?;
        for (table, statements) in &all {
            let name = table.name.as_str();
            let known: Option<String> = sqlx::query_scalar(CAPTURED)
                .bind(name)
                .fetch_one(&mut *transaction)
                .await
                .map_err(PostgresError::from)?;
            if known.as_ref() == Some(&statements.capture_digest) {
                continue;
            }
            let capture = sqlx::raw_sql(statements.capture.clone()).execute(&mut *transaction).await;
            capture.map_err(PostgresError::from)?;
            if known.is_none() {
                let adopt = sqlx::raw_sql(statements.adopt.clone()).execute(&mut *transaction).await;
                adopt.map_err(PostgresError::from)?;
            }
            let entered = sqlx::query(CAPTURE).bind(name).bind(&statements.capture_digest);
            entered.execute(&mut *transaction).await.map_err(PostgresError::from)?;
        }
        let state = identity::recognise(&mut transaction, &shared.node).await?;
        transaction.commit().await.map_err(PostgresError::from)?;
        self.state = Some(state);
        self.connection = Some(connection);
        Ok(all.into_iter().map(|(table, statements)| (table.name, statements)).collect())
    }

    /// Executes one request. Says in which tables applications had written since the last.
    pub(super) async fn execute(
        &mut self,
        shared: &Shared,
        task: Task,
    ) -> Result<(Done, BTreeSet<TableName>), PostgresError> {
        let (mut conflicts, mut locked) = (0, 0);
        let mut impossible = BTreeSet::new();
        let mut replaces = false;
        let mut written = BTreeSet::new();
        loop {
            let was_idle = self.connection.is_some();
            let mut connection = self.ready(shared).await?;
            let state = self.state.take().ok_or(PostgresError::Unexpected)?;
            let begin = if writes_rows(&task) {
                let patience = lock_patience(self.lock_timeout, locked).unwrap_or(self.lock_timeout);
                let patience = patience.as_ms().max(1);
                sql(format!("{EACH_STATEMENT}; SET LOCAL lock_timeout = {patience}"))
            } else {
                ONE_STATE.into_sql_str()
            };
            if let Err(error) = sqlx::raw_sql(begin).execute(&mut connection).await {
                // A connection that broke while it waited for work says nothing about the server.
                if was_idle {
                    continue;
                }
                return Err(error.into());
            }
            let attempt = attempt(&mut connection, shared, &state, &task, &impossible, replaces).await;
            let error = match attempt {
                Ok(Attempted { met: true, .. }) => PostgresError::Refused { code: MET.to_owned() },
                Ok(Attempted { done, state, written: tables, folded, now, snapshot, met: false }) => {
                    if let (Some(witness), Task::Request(request), Some(Done::Reply(reply))) =
                        (&self.witness, &task, &done)
                    {
                        let xid: Option<i64> =
                            sqlx::query_scalar(ASSIGNED).fetch_one(&mut connection).await?;
                        let (xid, incarnation) = (xid.map(i64::cast_unsigned), state.incarnation);
                        let began_with = &snapshot;
                        witness.decides(Decided { request, reply, xid, now, began_with, incarnation });
                    }
                    sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
                    self.folded += folded;
                    if self.folded >= MANY && done.is_some() {
                        sqlx::raw_sql(TIDY).execute(&mut connection).await?;
                        self.folded = 0;
                    }
                    self.state = Some(state);
                    self.connection = Some(connection);
                    written.extend(tables);
                    let Some(done) = done else { continue };
                    return Ok((done, written));
                }
                Err(error) => error,
            };
            let PostgresError::Refused { code } = &error else { return Err(error) };
            sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
            self.state = Some(state);
            let again = match code.as_str() {
                // Somebody inserted the row, or holds its natural key for the moment.
                "23505" => {
                    replaces = true;
                    true
                }
                // serialization_failure, deadlock_detected
                MET | "40P01" => true,
                LOCKED if writes_rows(&task) => {
                    locked += 1;
                    self.connection = Some(connection);
                    if lock_patience(self.lock_timeout, locked).is_none() {
                        return Err(error);
                    }
                    // Whoever waited for what it let go of has that by then.
                    sleep(LET_GO).await;
                    continue;
                }
                // Some row cannot be held by its table: data exceptions, and integrity constraints of its own.
                code if code.starts_with("22") || code.starts_with("23") => {
                    let rows = received(&task);
                    let found = unholdable(&mut connection, shared, &rows).await?;
                    let is_news = !found.is_empty() && impossible.is_empty();
                    impossible = found;
                    is_news
                }
                _ => false,
            };
            self.connection = Some(connection);
            conflicts += 1;
            if !again || conflicts > limits::CONFLICT_RETRIES_MAX {
                return Err(error);
            }
        }
    }

    /// Says farewell to the server.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            // A server that is gone needs none.
            let _ = connection.close().await;
        }
    }

    /// A connection with which requests can be executed. A new one may lead to another server than the last.
    async fn ready(&mut self, shared: &Shared) -> Result<PgConnection, PostgresError> {
        if let Some(connection) = self.connection.take()
            && self.state.is_some()
        {
            return Ok(connection);
        }
        let refused = |error| match error {
            PeerStoreError::Postgres(error) => error,
            // Somebody else works here by now: object_in_use.
            PeerStoreError::InUse => PostgresError::Refused { code: "55006".to_owned() },
            _ => PostgresError::Unexpected,
        };
        let mut connection = self.open().await.map_err(refused)?;
        let mut transaction = connection.begin().await?;
        let state = identity::recognise(&mut transaction, &shared.node).await.map_err(refused)?;
        transaction.commit().await?;
        self.state = Some(state);
        Ok(connection)
    }

    async fn open(&self) -> Result<PgConnection, PeerStoreError> {
        let mut connection = self.target.connect().await.map_err(PostgresError::from)?;
        sqlx::raw_sql(APPLY).execute(&mut connection).await.map_err(|error| {
            match PostgresError::from(error) {
                PostgresError::Refused { code } if code == "42501" => PeerStoreError::NoRightToApply,
                other => other.into(),
            }
        })?;
        let started = Instant::now();
        loop {
            let held: bool =
                sqlx::query_scalar(HOLD).fetch_one(&mut connection).await.map_err(PostgresError::from)?;
            if held {
                return Ok(connection);
            }
            if started.elapsed() > duration(limits::PEER_STORE_PREDECESSOR_TIMEOUT) {
                return Err(PeerStoreError::InUse);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What an attempt came to.
struct Attempted {
    /// None if there was so much to fold that this is all.
    done: Option<Done>,
    state: State,
    written: Vec<TableName>,
    folded: usize,
    /// The clock by which it was decided.
    now: Timestamp,
    /// Whether applications have changed meanwhile what it was decided on.
    met: bool,
    /// What was visible when it began.
    snapshot: Snapshot,
}

/// One attempt at a task, within a transaction.
async fn attempt(
    connection: &mut PgConnection,
    shared: &Shared,
    state: &State,
    task: &Task,
    impossible: &BTreeSet<usize>,
    replaces: bool,
) -> Result<Attempted, PostgresError> {
    if writes_rows(task) {
        base::lock(connection, shared, possible(task, impossible)).await?;
    }
    if matches!(task, Task::Rename(..)) {
        sqlx::raw_sql(KEEP_WRITERS_OUT).execute(&mut *connection).await?;
    }
    let mut work = Work::begin(connection, shared, state.clone(), !received(task).is_empty()).await?;
    work.replaces = replaces;
    let written = work.written.clone();
    let is_folded = work.fold().await?;
    let mut done = None;
    if is_folded {
        done = Some(match task {
            Task::Request(request) => Done::Reply(work.perform(request.clone(), impossible).await?),
            Task::Read(read) => Done::Rows(work.read_table(read).await?),
            Task::Rename(name, life) => {
                identity::rename(&mut work, name, *life).await?;
                Done::Renamed
            }
        });
    }
    let named = if done.is_some() { named(task) } else { BTreeSet::new() };
    let met = !named.is_empty() && base::met(work.connection, shared, &named).await?;
    if !met {
        work.state.save(work.connection, state, work.seen).await?;
    }
    let (now, snapshot, folded) = (work.now, work.snapshot, work.folded);
    Ok(Attempted { met, done, now, snapshot, state: work.state, written, folded })
}

/// Whether a request may write rows that applications see.
fn writes_rows(task: &Task) -> bool {
    matches!(
        task,
        Task::Request(
            PeerRequest::Merge(_) | PeerRequest::ApplyIf(_) | PeerRequest::Drop(_) | PeerRequest::Purge(_)
        )
    )
}

/// The rows that a request may write.
fn named(task: &Task) -> BTreeSet<&RowId> {
    let Task::Request(request) = task else { return BTreeSet::new() };
    match request {
        PeerRequest::Merge(request) => request.rows.iter().map(|row| &row.row).collect(),
        PeerRequest::ApplyIf(request) => request.rows.iter().map(|(row, _)| &row.row).collect(),
        PeerRequest::Drop(request) => request.entries.iter().map(|entry| &entry.row).collect(),
        _ => BTreeSet::new(),
    }
}

/// The rows that a request may write, without those at places that their tables cannot hold: a key that is none of its type
/// could not even be looked for.
fn possible<'t>(task: &'t Task, impossible: &BTreeSet<usize>) -> BTreeSet<&'t RowId> {
    let rows = received(task);
    if rows.is_empty() {
        return named(task);
    }
    rows.iter()
        .enumerate()
        .filter(|(place, _)| !impossible.contains(place))
        .map(|(_, row)| &row.row)
        .collect()
}

/// The rows that a request brings.
fn received(task: &Task) -> Vec<&RowVersion> {
    let Task::Request(request) = task else { return Vec::new() };
    match request {
        PeerRequest::Merge(request) => request.rows.iter().collect(),
        PeerRequest::ApplyIf(request) => request.rows.iter().map(|(row, _)| row).collect(),
        _ => Vec::new(),
    }
}

/// Places of rows that their tables cannot hold, by trying: halves of what fails are tried again.
async fn unholdable(
    connection: &mut PgConnection,
    shared: &Shared,
    rows: &[&RowVersion],
) -> Result<BTreeSet<usize>, PostgresError> {
    let mut unholdable = BTreeSet::new();
    let sound = |place: &usize| rows.get(*place).is_some_and(|row| shared.tables.check(row).is_ok());
    let mut ahead: Vec<Vec<usize>> = vec![(0..rows.len()).filter(sound).collect()];
    while let Some(places) = ahead.pop() {
        let tried = places.iter().filter_map(|place| rows.get(*place).copied());
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
        let held = base::hold(connection, shared, tried).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
        match held {
            Err(PostgresError::Refused { code }) if is_about_data(&code) => {
                if let [place] = places.as_slice() {
                    unholdable.insert(*place);
                } else {
                    let (first, second) = places.split_at(places.len() / 2);
                    ahead.extend([first.to_vec(), second.to_vec()]);
                }
            }
            // Of two rows with one natural key each can be held.
            Ok(()) | Err(PostgresError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(unholdable)
}

fn is_about_data(code: &str) -> bool {
    code != "23505" && (code.starts_with("22") || code.starts_with("23"))
}
