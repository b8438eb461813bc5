//! `peer-node serve`: a node from its start to its orderly end.

use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use super::log::{follow, log};
use super::{EnvironmentArguments, FAILED, INVALID, UNREACHABLE, complain, say};
use crate::config::peer::{ENVIRONMENT, PeerConfig};
use crate::diagnostic::Diagnostic;
use crate::id::Incarnation;
use crate::peer_sync::resolver::Resolvers;
use crate::peer_sync::schema::Schema;
use crate::peer_sync::version::NodeId;
use crate::runtime::peer_node::database::{MemoryDatabase, PostgresDatabase};
use crate::runtime::peer_node::{Parts, PeerNode, PeerNodeError};
use crate::runtime::peer_store::PeerStoreError;
use crate::runtime::postgres::PostgresError;

/// `peer-node serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ServeArguments {
    /// The variables.
    #[command(flatten)]
    pub environment: EnvironmentArguments,
    /// Keep everything in memory, without PostgreSQL: to try things out.
    #[arg(long, conflicts_with = "create_tables")]
    pub memory: bool,
    /// Create the seven tables of the specification where the database does not have them.
    #[arg(long)]
    pub create_tables: bool,
}

/// Serves until SIGTERM or Ctrl-C, and gives the exit code. When it is ready it prints
/// `listening: api ADDRESS, p2p ADDRESS, discovery ADDRESS` to the standard output; its log goes to the standard error.
pub fn serve(arguments: &ServeArguments) -> u8 {
    let Some(config) = arguments.environment.resolve() else { return INVALID };
    let schema = match read_schema(&config) {
        Ok(schema) => schema,
        Err(found) => {
            complain(&found);
            return INVALID;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("error: no threads to work with: {error}"));
            return FAILED;
        }
    };
    let code = runtime.block_on(run(arguments, &config, schema));
    // What the end of the node left behind, such as a database that does not answer, is not waited for.
    runtime.shutdown_background();
    code
}

pub(super) fn read_schema(config: &PeerConfig) -> Result<Schema, Diagnostic> {
    let Some(file) = &config.schema_file else { return config.schema(None) };
    let text = std::fs::read_to_string(file).map_err(|error| {
        let help = "name a JSON file of tables in SYNC_SCHEMA_FILE, or none for those of the specification";
        Diagnostic::file_error(&file.to_string_lossy(), format!("cannot be read: {error}"), help)
    })?;
    config.schema(Some(&text))
}

async fn run(arguments: &ServeArguments, config: &PeerConfig, schema: Schema) -> u8 {
    log(&format_args!("version {}", env!("CARGO_PKG_VERSION")));
    if config.shared_key.is_none() {
        log(&"no P2P_SHARED_KEY: whoever reaches the ports can read and write all rows; \
              make a key with `peer-node new-shared-key`, or let nobody but peers reach them");
    }
    let parts = match parts(arguments, config, schema).await {
        Ok(parts) => parts,
        Err(code) => return code,
    };
    // Before anybody learns that the node is there, so that no signal finds it unprepared.
    let mut signals = Signals::new();
    let database = Arc::clone(&parts.database);
    let node = match PeerNode::start(config, parts).await {
        Ok(node) => node,
        Err(error @ PeerNodeError::Listen { .. }) => {
            complain(&format_args!("error: {error}"));
            return FAILED;
        }
    };
    let (end, ended) = oneshot::channel();
    let following = tokio::spawn(follow(node.front().follow(), database, ended));
    let addresses = node.addresses();
    say(&format!(
        "listening: api {}, p2p {}, discovery {}",
        addresses.api, addresses.p2p, addresses.discovery
    ));
    signals.next().await;
    log(&"shutting down; a second signal ends it at once");
    let how = tokio::select! {
        ended = node.shutdown() => match ended {
            true => "stopped",
            false => "stopped; something was cut short and is done again after the next start",
        },
        () = signals.next() => "ended at once",
    };
    drop(end);
    let _ = following.await;
    log(&how);
    0
}

async fn parts(arguments: &ServeArguments, config: &PeerConfig, schema: Schema) -> Result<Parts, u8> {
    let resolvers = Resolvers::declared(&schema);
    if arguments.memory {
        log(&"memory: nothing is kept when this process ends");
        let node = config.node_name.clone().map_or_else(generated, Ok)?;
        let database = MemoryDatabase::new(node.clone(), schema.clone(), Incarnation(draw()?));
        return Ok(Parts { node, schema: Arc::new(schema), resolvers, database: Arc::new(database) });
    }
    let Some(url) = &config.database_url else {
        let help = "name the node's own PostgreSQL database, or run with `--memory` to try things out";
        complain(&Diagnostic::file_error(ENVIRONMENT, "DATABASE_URL is not given", help));
        return Err(INVALID);
    };
    let refused = |error: PeerStoreError| refused(&error);
    if arguments.create_tables {
        PostgresDatabase::create_tables(url).await.map_err(refused)?;
    }
    let node = match (&config.node_name, PostgresDatabase::node_name(url).await.map_err(refused)?) {
        (Some(given), _) => given.clone(),
        (None, Some(kept)) => kept,
        (None, None) => generated()?,
    };
    let database = PostgresDatabase::connect(url, &schema, node.clone()).await.map_err(refused)?;
    log(&format_args!("database: connected as {node}, {} tables travel", schema.tables().count()));
    Ok(Parts { node, schema: Arc::new(schema), resolvers, database: Arc::new(database) })
}

/// Says what stands against the use of the database. The exit code.
pub(super) fn refused(error: &PeerStoreError) -> u8 {
    match error {
        PeerStoreError::Postgres(PostgresError::ConnectionString(why)) => {
            let help = "give `postgresql://user:password@host:port/database` or `host=... dbname=...` pairs";
            let message = format!("DATABASE_URL is no connection string: {why}");
            complain(&Diagnostic::file_error(ENVIRONMENT, message, help));
        }
        error => complain(&format_args!("error: DATABASE_URL: {error}")),
    }
    exit_code(error)
}

/// A connection string or a table that is at fault is the user's to mend; a server that is away may come back.
pub(super) fn exit_code(error: &PeerStoreError) -> u8 {
    match error {
        PeerStoreError::Postgres(PostgresError::ConnectionString(_)) => INVALID,
        PeerStoreError::Postgres(_) | PeerStoreError::InUse => UNREACHABLE,
        _ => INVALID,
    }
}

/// A name for a node that was given none.
fn generated() -> Result<NodeId, u8> {
    NodeId::new(&format!("node-{:08x}", draw()? >> 32)).map_err(|_| FAILED)
}

fn draw() -> Result<u64, u8> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        complain(&format_args!("error: the system gives no random bytes: {error}"));
        FAILED
    })?;
    Ok(u64::from_be_bytes(bytes))
}

/// SIGTERM and Ctrl-C.
#[cfg(unix)]
struct Signals {
    terminate: Option<tokio::signal::unix::Signal>,
    interrupt: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // Without a handler a signal ends the process, which is what it asks for.
        Self {
            terminate: signal(SignalKind::terminate()).ok(),
            interrupt: signal(SignalKind::interrupt()).ok(),
        }
    }

    async fn next(&mut self) {
        let never = std::future::pending::<()>;
        let one = async {
            match &mut self.terminate {
                Some(signal) => drop(signal.recv().await),
                None => never().await,
            }
        };
        let other = async {
            match &mut self.interrupt {
                Some(signal) => drop(signal.recv().await),
                None => never().await,
            }
        };
        tokio::select! { () = one => {}, () = other => {} }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
