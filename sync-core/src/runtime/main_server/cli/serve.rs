//! `main-server serve`: a server from its start to its orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use tokio::time::MissedTickBehavior;

use super::{ConfigArguments, FAILED, INVALID, UNREACHABLE, complain, say};
use crate::config::{Config, RulesSource};
use crate::diagnostic::Diagnostic;
use crate::host_sync::server::Counters;
use crate::host_sync::settings::ServerSettings;
use crate::host_sync::validate::Rules;
use crate::limits;
use crate::runtime::driver::shards::{Drained, Service};
use crate::runtime::driver::{CacheService, Database, EmbeddedCache, EmbeddedDatabase};
use crate::runtime::duration;
use crate::runtime::main_server::{
    MainServer, MainServerError, Parts, connect_cache, connect_database, connect_provider, server_settings,
};
use crate::runtime::postgres::{CleanedUp, MIGRATIONS, PostgresError, keep_clean};

/// `main-server serve`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ServeArguments {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Where to listen; port 0 takes a free one. In plain HTTP unless the configuration names a certificate:
    /// anything but this machine needs one, or a proxy in front that speaks TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Keep everything in memory, without PostgreSQL and Redis: to try things out.
    #[arg(long)]
    pub embedded: bool,
    /// Hold what hosts write against rules: `default` for those built in, `off` for none, or a file of rules. Without it
    /// `validation_rules` says so.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<RulesSource>,
}

/// Serves until SIGTERM or Ctrl-C, and gives the exit code. When it is ready it prints
/// `listening on ADDRESS` to the standard output; its log goes to the standard error.
pub fn serve(arguments: &ServeArguments) -> u8 {
    let Some(config) = arguments.config.read() else { return INVALID };
    let rules = match read_rules(arguments.rules.as_ref().unwrap_or(&config.validation_rules)) {
        Ok(rules) => rules.map(Arc::new),
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
    let code = match runtime.block_on(run(arguments, &config, rules)) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format_args!("error: {error}"));
            exit_code(&error)
        }
    };
    // What the end of the server left behind, such as a database that does not answer, is not waited for.
    runtime.shutdown_background();
    code
}

fn exit_code(error: &MainServerError) -> u8 {
    match error {
        MainServerError::Database(PostgresError::ConnectionString(_)) => INVALID,
        MainServerError::Database(_) => UNREACHABLE,
        MainServerError::Listen { .. } => FAILED,
        MainServerError::Role
        | MainServerError::NoDatabase
        | MainServerError::Key(_)
        | MainServerError::Ring(_)
        | MainServerError::Path
        | MainServerError::Tls(_)
        | MainServerError::Embedding { .. }
        | MainServerError::Cache(_) => INVALID,
    }
}

fn read_rules(source: &RulesSource) -> Result<Option<Rules>, Box<Diagnostic>> {
    let path = match source {
        RulesSource::Off => return Ok(None),
        RulesSource::BuiltIn => return Ok(Some(Rules::built_in())),
        RulesSource::File(path) => path,
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let help = "give a file of rules, `default` for those built in, or `off`";
        Diagnostic::file_error(&name, error.to_string(), help)
    })?;
    Rules::parse(&name, &text).map(Some)
}

async fn run(
    arguments: &ServeArguments,
    config: &Config,
    rules: Option<Arc<Rules>>,
) -> Result<(), MainServerError> {
    log(&format_args!("version {}, {} shards", env!("CARGO_PKG_VERSION"), config.worker_threads));
    if config.debug_mode {
        log(&format_args!("settings in force:\n{}", config.to_masked_text().trim_end()));
    }
    if config.tls.is_some() {
        log(&"TLS: on, and nothing is answered without it");
    } else if !arguments.listen.ip().is_loopback() {
        log(
            &"listening beyond this machine in plain HTTP: name a certificate in `tls_certificate_file`, or let only a \
              proxy that speaks TLS reach it",
        );
    }
    if rules.is_some() {
        log(&"rules: what hosts write is held against them");
    } else {
        log(
            &"rules: off, any JSON text of a host is taken; `validation_rules = default` has hosts' data validated",
        );
    }
    let embedder = connect_provider(config, |fault| match fault {
        Some(fault) => log(&format_args!("embedding provider: no TLS: {fault}; {}", fault.help())),
        None => log(&"embedding provider: TLS works again"),
    })?;
    let settings = rules.map(|rules| ServerSettings { rules: Some(rules), ..server_settings(config) });
    if arguments.embedded {
        log(&"embedded: everything is in memory, and nothing is kept when this process ends");
        let memory = Parts::new(EmbeddedDatabase::default(), EmbeddedCache::default());
        let parts = Parts { settings, embedder, ..memory };
        return attend(arguments, config, parts).await;
    }
    let database = Arc::new(connect_database(config).await?);
    log(&format_args!("database: connected, {} migrations in place", MIGRATIONS.len()));
    let cache = connect_cache(config).await?;
    let status = cache.status();
    let is_down = Arc::new(AtomicBool::new(!status.connected));
    if let (false, Some(fault)) = (status.connected, status.fault) {
        log(&format_args!("cache: {fault}; serving from the database and trying on"));
    } else {
        log(&"cache: connected");
    }
    // Ends with the store.
    tokio::spawn(keep_clean(Arc::downgrade(&database), |cleaned| match cleaned {
        Ok(CleanedUp { operations: 0, cache_rows: 0, sequences: 0 }) => {}
        Ok(CleanedUp { operations, cache_rows, sequences }) => log(&format_args!(
            "database: old rows removed: {operations} operations, {cache_rows} cache rows, {sequences} sequences"
        )),
        Err(error) => log(&format_args!("database: old rows could not be removed: {error}")),
    }));
    let store = Arc::clone(&database);
    let mut parts = Parts { settings, embedder, ..Parts::new(database, cache) };
    parts.report = Box::new(move |service, is_up| match (service, is_up) {
        (Service::Database, false) => {
            let fault = store.status().fault.map(|fault| format!(": {fault}")).unwrap_or_default();
            log(&format_args!("database: down, requests are answered 503{fault}"));
        }
        (Service::Database, true) => log(&"database: up again"),
        // At the start it may have been said already.
        (Service::Cache, false) if is_down.swap(true, Ordering::Relaxed) => {}
        (Service::Cache, false) => log(&"cache: down, serving from the database and trying on"),
        (Service::Cache, true) => {
            is_down.store(false, Ordering::Relaxed);
            log(&"cache: up again");
        }
    });
    attend(arguments, config, parts).await
}

/// From the first request to the last.
async fn attend<D: Database, C: CacheService>(
    arguments: &ServeArguments,
    config: &Config,
    parts: Parts<D, C>,
) -> Result<(), MainServerError> {
    // Before anybody learns that the server is there, so that no signal finds it unprepared.
    let mut signals = Signals::new();
    let server = MainServer::start(config, arguments.listen, parts).await?;
    say(&format!("listening on {}", server.address()));
    let mut in_force = config.clone();
    let mut turned_away = TurnedAway::default();
    let mut ticks = tokio::time::interval(duration(limits::TURNED_AWAY_TOLD_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::HangUp => read_keys_again(&arguments.config, &server, &mut in_force).await,
                Signal::End => break,
            },
            _ = ticks.tick() => turned_away.tell(server.counters().await),
        }
    }
    log(&"shutting down: answering what is open; a second signal ends it at once");
    let drained = tokio::select! {
        drained = server.shutdown() => drained,
        () = signals.end() => {
            log(&"ended at once");
            return Ok(());
        }
    };
    let Drained { answered, cut_short, counters } = drained;
    log(&format_args!(
        "stopped: {answered} open requests answered, {cut_short} cut short; since the start {} requests, \
         {} applied, {} duplicates, {} rejected, {} refused, {} overloaded, {} batches, {} cache hits, \
         {} cache misses, {} requests for vectors, {} of them failed, {} findings not kept",
        counters.requests,
        counters.applied,
        counters.duplicates,
        counters.rejected,
        counters.refused,
        counters.overloaded,
        counters.batches,
        counters.cache_hits,
        counters.cache_misses,
        counters.embed_requests,
        counters.embed_failures,
        counters.findings_dropped,
    ));
    Ok(())
}

/// Takes the keys that the file names now, and nothing else of it. Where they cannot be used those in force stay; either
/// way one line says so.
async fn read_keys_again(arguments: &ConfigArguments, server: &MainServer, in_force: &mut Config) {
    let arguments = arguments.clone();
    // A file may be slow, or none.
    let read = tokio::task::spawn_blocking(move || arguments.read_again()).await;
    let read = read.unwrap_or_else(|_| Err("it cannot be read".to_owned()));
    let config = match read {
        Ok(config) => config,
        Err(why) => return log(&format_args!("keys: {why}; those in force stay")),
    };
    let keys = match server.replace_keys(&config).await {
        Ok(keys) => keys,
        Err(error) => return log(&format_args!("keys: {error}; those in force stay")),
    };
    let Config { encryption_key, encryption_keys_accepted, legacy_encryption_key, .. } = config.clone();
    *in_force =
        Config { encryption_key, encryption_keys_accepted, legacy_encryption_key, ..in_force.clone() };
    let others =
        if *in_force == config { "" } else { "; whatever else changed in the file waits for a restart" };
    let opens: String = keys.opens.iter().map(|id| format!(", `{id}` opens as well")).collect();
    let count = 1 + keys.opens.len();
    log(&format_args!("keys: read again, {count} in force: `{}` seals{opens}{others}", keys.seals));
}

/// Requests that were turned away, as far as they were told: who floods a server must not flood its log.
#[derive(Default)]
struct TurnedAway {
    refused: u64,
    overloaded: u64,
    findings_dropped: u64,
}

impl TurnedAway {
    /// Tells in one line what came since the last time, if anything did.
    fn tell(&mut self, counters: Counters) {
        let now = Self {
            refused: counters.refused,
            overloaded: counters.overloaded,
            findings_dropped: counters.findings_dropped,
        };
        // A shard that has no time to answer is left out of the sums, so they may be less than before.
        let more = [
            (
                now.refused.saturating_sub(self.refused),
                "not authentic (a wrong key, or bytes that were altered)",
            ),
            (now.overloaded.saturating_sub(self.overloaded), "turned away under load"),
            (
                now.findings_dropped.saturating_sub(self.findings_dropped),
                "findings about hosts' data not kept",
            ),
        ];
        let told: Vec<String> = more
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !told.is_empty() {
            log(&format_args!("requests since the last such line: {}", told.join(", ")));
        }
        *self = Self {
            refused: self.refused.max(now.refused),
            overloaded: self.overloaded.max(now.overloaded),
            findings_dropped: self.findings_dropped.max(now.findings_dropped),
        };
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    /// An end in order.
    End,
    /// That the keys are read again.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no such signal"))]
    HangUp,
}

fn log(line: &dyn std::fmt::Display) {
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
    complain(&format_args!("{now} main-server: {line}"));
}

/// SIGTERM, Ctrl-C and SIGHUP.
#[cfg(unix)]
struct Signals {
    listening: Vec<(Signal, tokio::signal::unix::Signal)>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // Without a handler a signal ends the process, which is what two of them ask for.
        let kinds = [
            (Signal::End, SignalKind::terminate()),
            (Signal::End, SignalKind::interrupt()),
            (Signal::HangUp, SignalKind::hangup()),
        ];
        let listening = kinds.into_iter().filter_map(|(asks, kind)| Some((asks, signal(kind).ok()?)));
        Self { listening: listening.collect() }
    }

    async fn next(&mut self) -> Signal {
        let waiting = self.listening.iter_mut().map(|(asks, signal)| {
            Box::pin(async {
                signal.recv().await;
                *asks
            })
        });
        let waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        futures_util::future::select_all(waiting).await.0
    }

    /// Waits for one that asks for the end.
    async fn end(&mut self) {
        while self.next().await != Signal::End {}
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::End
    }

    async fn end(&mut self) {
        self.next().await;
    }
}
