//! Latency and throughput of the live line, as ratios to what the same run measures without it.
//!
//! ```text
//! cargo bench -p sync-core --features container-tests,programs --bench live_line
//! ```
//!
//! Containers of PostgreSQL (with fsync) and Redis; a main server on the threads that its program would have;
//! a host on this one. What is compared takes turns, so that whatever else the machine does falls on both.
//!
//! - Latency at low load: a host asks one critical operation after the other. The floor is what no such
//!   server can do without: one prepared one-row INSERT that commits, one PUBLISH and one HTTP round trip with
//!   bodies of the same size, one after the other.
//! - Throughput: so many operations in flight over one pool of connections. On one side each is a transaction
//!   of its own, called directly; on the other the engines gather them into batches, and open and seal their
//!   frames besides.
//!
//! Ends with 1 when a bound is not kept.
//!
//! Optional arguments: latency rounds (20), operations in one (200), throughput rounds (7), seconds each (3).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "measures real time, and ends when something is not there"
)]

#[path = "../tests/live_support/mod.rs"]
mod live_support;
#[path = "../tests/runtime_support/mod.rs"]
mod runtime_support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::routing::post;
use live_support::{MASTER, PATIENCE, Sealer, ask, client, host, server_config, start_with};
use runtime_support::{Postgres, Redis};
use sqlx::{ConnectOptions, PgConnection};
use sync_core::data_type::SyncDataType;
use sync_core::envelope::MasterRing;
use sync_core::host_sync::operation::{Ask, Outcome};
use sync_core::host_sync::sealed::SealedServer;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::runtime::driver::host::Host;
use sync_core::runtime::driver::shards::{Front, Plain, Services, ShardOptions, Shards};
use sync_core::runtime::driver::{EmbeddedCache, EmbeddedDatabase};
use sync_core::runtime::http::HttpClient;
use sync_core::runtime::main_server::{Parts, server_settings};
use sync_core::runtime::postgres::{PostgresOptions, PostgresStore};
use sync_core::store::{Apply, StoreRequest};
use sync_core::time::{Span, Timestamp};
use sync_core::wire::Kind;
use tokio::runtime::Runtime;

const IN_FLIGHT: u32 = 64;
const CONNECTIONS: usize = 16;
const LATENCY_RATIO_MAX: f64 = 1.5;
const THROUGHPUT_RATIO_MIN: f64 = 2.0;

const DATA: &str = "{\"hp\":1200,\"sp\":80,\"position\":{\"x\":101,\"y\":55,\"m\":\"prontera\"}}";
const FLOOR: &str = "INSERT INTO floor (account_id, counter, data) VALUES ($1, $2, $3)";
const FLOOR_TABLE: &str =
    "CREATE TABLE floor (account_id bigint, counter bigint, data text, PRIMARY KEY (account_id, counter))";
/// What goes before the data in a publication.
const PUBLICATION_HEADER_BYTES: usize = 100;

fn main() -> ExitCode {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let at = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    // As many threads as the program has on this machine, and this one for the host.
    let server_side = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let host_side = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (postgres, redis) =
        server_side.block_on(async { (Postgres::started_with(true, &[]).await, Redis::started().await) });
    let options = PostgresOptions { connections_max: CONNECTIONS, ..PostgresOptions::default() };
    server_side.block_on(async {
        let store = postgres.connect(options).await;
        store.migrate().await.unwrap();
        store.close().await;
    });
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let settings = host_side.block_on(durability(&postgres));
    println!("{processors} processors; PostgreSQL 17 with {settings}, Redis 8, all on one machine");

    let latency = latency(&server_side, &host_side, &postgres, &redis, at(0, 20), at(1, 200));
    let throughput = throughput(&server_side, &postgres, options, at(2, 7), at(3, 3));
    println!("latency at low load to floor, p50:           {latency:5.2} (at most {LATENCY_RATIO_MAX})");
    println!(
        "throughput, batched to one a transaction:    {throughput:5.2} (at least {THROUGHPUT_RATIO_MIN})"
    );
    let kept = latency <= LATENCY_RATIO_MAX && throughput >= THROUGHPUT_RATIO_MIN;
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a commit waits for.
async fn durability(postgres: &Postgres) -> String {
    let mut raw = postgres.raw().await;
    let mut shown = Vec::new();
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let show = sqlx::AssertSqlSafe(format!("SHOW {setting}"));
        let value: String = sqlx::query_scalar(show).fetch_one(&mut raw).await.unwrap();
        shown.push(format!("{setting} {value}"));
    }
    shown.join(", ")
}

/// What the floor needs.
struct Floor {
    postgres: PgConnection,
    redis: redis::aio::MultiplexedConnection,
    http: HttpClient,
    message: String,
    body: Vec<u8>,
    counter: i64,
}

/// The times of one kind, in the order of the rounds.
#[derive(Default)]
struct Times {
    whole: Vec<Duration>,
    rounds: Vec<Duration>,
}

impl Times {
    fn end_round(&mut self, operations: u32) {
        let start = self.whole.len() - operations as usize;
        self.rounds.push(percentile(&self.whole[start..], 50));
    }

    fn print(&self, name: &str) {
        let [p50, p99] = [50, 99].map(|percent| percentile(&self.whole, percent));
        let (min, max) = (self.rounds.iter().min().unwrap(), self.rounds.iter().max().unwrap());
        println!("  {name:<34} p50 {p50:>8.1?}  p99 {p99:>8.1?}  p50 by round {min:.1?} to {max:.1?}");
    }
}

/// The ratio of the medians.
fn latency(
    server_side: &Runtime,
    host_side: &Runtime,
    postgres: &Postgres,
    redis: &Redis,
    rounds: u32,
    operations: u32,
) -> f64 {
    let (server, uncached, bare, echo_address) = server_side.block_on(async {
        let store = postgres.connect(PostgresOptions::default()).await;
        let server = start_with("", Parts::new(store, redis.connect().await)).await;
        let store = postgres.connect(PostgresOptions::default()).await;
        let uncached = start_with("", Parts::new(store, EmbeddedCache::default())).await;
        let bare = start_with("", Parts::new(EmbeddedDatabase::default(), EmbeddedCache::default())).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        (server, uncached, bare, listener)
    });
    host_side.block_on(async {
        // One exchange says how large bodies are.
        let mut sealer = Sealer::new(MASTER, 1);
        let (_, body) = sealer.seal(Kind::SyncTo, DATA);
        let reply = client(&server).exchange(body.clone(), PATIENCE).await.unwrap();
        println!("one host; request {} bytes, reply {} bytes", body.len(), reply.len());
        let address = echo_address.local_addr().unwrap();
        server_side.spawn(echo(echo_address, reply));
        let direct = postgres.connect(PostgresOptions::default()).await;
        let hosts = [&server, &uncached, &bare].map(|server| host(server, 2, ""));
        let mut floor = Floor {
            postgres: floor_connection(postgres).await,
            redis: redis.raw().await,
            http: HttpClient::new(&format!("http://{address}/").parse().unwrap()).unwrap(),
            message: "-".repeat(PUBLICATION_HEADER_BYTES) + DATA,
            body,
            counter: 0,
        };
        let (mut whole, mut apply) = (Times::default(), Times::default());
        let mut parts: [Times; 3] = Default::default();
        let mut ours: [Times; 3] = Default::default();
        let (mut ticket, mut ratios) = (0, Vec::new());
        // The first round warms up and does not count.
        for round in 0..=rounds {
            for _ in 0..operations {
                let times = floor.once().await;
                whole.whole.push(times.iter().sum());
                parts.iter_mut().zip(times).for_each(|(part, time)| part.whole.push(time));
            }
            for (host, times) in hosts.iter().zip(&mut ours) {
                for _ in 0..operations {
                    ticket += 1;
                    times.whole.push(ask_once(host, ticket).await);
                }
            }
            for _ in 0..operations {
                ticket += 1;
                let request = batch(3, ticket);
                let started = Instant::now();
                direct.perform(&request).await.unwrap();
                apply.whole.push(started.elapsed());
            }
            let all = parts.iter_mut().chain(&mut ours).chain([&mut whole, &mut apply]);
            if round == 0 {
                all.for_each(|times| times.whole.clear());
            } else {
                all.for_each(|times| times.end_round(operations));
                ratios.push(ratio(&ours[0].rounds, &whole.rounds));
            }
        }
        println!("latency at low load, {rounds} rounds of {operations} operations each");
        for (times, name) in parts.iter().zip(["prepared INSERT", "PUBLISH", "HTTP round trip"]) {
            times.print(name);
        }
        whole.print("floor: the three, one by one");
        ours[0].print("critical operation, host to reply");
        ours[1].print("the same with its cache in memory");
        ours[2].print("the same with all in memory");
        apply.print("of it ApplyBatch, called directly");
        let (low, median, high) = spread(ratios);
        println!("  ratio by round                     {low:.2} to {high:.2}, median {median:.2}");
        for host in hosts {
            host.shutdown(Span::ZERO).await;
        }
        percentile(&ours[0].whole, 50).as_secs_f64() / percentile(&whole.whole, 50).as_secs_f64()
    })
}

/// Of the last round.
fn ratio(one: &[Duration], other: &[Duration]) -> f64 {
    one[one.len() - 1].as_secs_f64() / other[other.len() - 1].as_secs_f64()
}

async fn floor_connection(postgres: &Postgres) -> PgConnection {
    let options: sqlx::postgres::PgConnectOptions = postgres.dsn.expose().parse().unwrap();
    let mut connection = options.disable_statement_logging().connect().await.unwrap();
    sqlx::raw_sql(FLOOR_TABLE).execute(&mut connection).await.unwrap();
    connection
}

/// Answers everything with one body.
async fn echo(listener: tokio::net::TcpListener, reply: Vec<u8>) {
    let reply = Bytes::from(reply);
    let handler = post(move |body: Bytes| async move {
        drop(body);
        reply.clone()
    });
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| stream.set_nodelay(true).unwrap());
    axum::serve(listener, axum::Router::new().route("/", handler)).await.unwrap();
}

impl Floor {
    async fn once(&mut self) -> [Duration; 3] {
        self.counter += 1;
        let started = Instant::now();
        let insert = sqlx::query(FLOOR).bind(1_i64).bind(self.counter).bind(DATA);
        insert.execute(&mut self.postgres).await.unwrap();
        let inserted = Instant::now();
        let publish = redis::cmd("PUBLISH").arg("floor").arg(&self.message).to_owned();
        publish.query_async::<()>(&mut self.redis).await.unwrap();
        let published = Instant::now();
        self.http.exchange(self.body.clone(), PATIENCE).await.unwrap();
        [inserted - started, published - inserted, published.elapsed()]
    }
}

async fn ask_once(host: &Host, ticket: u64) -> Duration {
    let question = Ask { critical: true, ..ask(ticket, Kind::SyncTo, DATA) };
    let started = Instant::now();
    let finished = host.ask(question).await.unwrap();
    assert_eq!(finished.outcome, Outcome::Done(None));
    started.elapsed()
}

/// One operation of an account.
fn batch(account: u32, counter: u64) -> StoreRequest {
    let operation = OperationId { account: AccountId(account), incarnation: Incarnation(6), counter };
    StoreRequest::ApplyBatch(Arc::new(vec![Apply {
        operation,
        data_type: SyncDataType::PlayerData,
        map: MapName::new("prontera").unwrap(),
        sequence: counter,
        critical: false,
        data: DATA.into(),
        received: Timestamp::from_us(1_795_000_000_000_000 + counter),
        condition: None,
    }]))
}

/// The median of the rounds' ratios.
fn throughput(
    server_side: &Runtime,
    postgres: &Postgres,
    options: PostgresOptions,
    rounds: u32,
    seconds: u32,
) -> f64 {
    let length = Duration::from_secs(seconds.into());
    server_side.block_on(async {
        let store = Arc::new(postgres.connect(options).await);
        let shards = shards(Arc::clone(&store));
        let front = shards.front();
        let mut sealers: Vec<_> = (0..IN_FLIGHT).map(|account| Sealer::new(MASTER, 1_000 + account)).collect();
        let mut counter = 0;
        let (mut single, mut batched, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let alone = one_each(&store, &mut counter, length).await;
            let (together, back) = gathered(&front, sealers, length).await;
            sealers = back;
            // The first round warms up and does not count.
            if round > 0 {
                single.push(alone);
                batched.push(together);
                ratios.push(together / alone);
            }
        }
        let counters = shards.stop(PATIENCE).await.counters;
        println!(
            "throughput, {IN_FLIGHT} operations in flight over {CONNECTIONS} connections, {rounds} rounds of {seconds} s each"
        );
        let line = |name: &str, values| {
            let (low, median, high) = spread(values);
            println!("  {name:<34} median {median:>7.0} operations/s, {low:.0} to {high:.0}");
        };
        line("one operation a transaction", single);
        line("batched by the engines", batched);
        println!(
            "  operations in a batch, on average  {:.1}",
            counters.applied as f64 / counters.batches as f64
        );
        let (low, median, high) = spread(ratios);
        println!("  ratio by round                     {low:.2} to {high:.2}, median {median:.2}");
        median
    })
}

/// As many shards as a configuration without a word about them has, over this database.
fn shards(store: Arc<PostgresStore>) -> Shards {
    let config = server_config("");
    let ring = MasterRing::new(MASTER.parse().unwrap(), Vec::new()).unwrap();
    let settings = server_settings(&config);
    let services = Services::new(store, EmbeddedCache::default(), |_, _| ());
    let codec = SealedServer::new(ring);
    Shards::start(config.worker_threads, &settings, &codec, &services, &mut Plain, ShardOptions::default())
}

/// Operations a second, each its own `ApplyBatch`.
async fn one_each(store: &Arc<PostgresStore>, counter: &mut u64, length: Duration) -> f64 {
    let (started, first) = (Instant::now(), *counter);
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|account| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut counter = first;
                while started.elapsed() < length {
                    counter += 1;
                    store.perform(&batch(1_000 + account, counter)).await.unwrap();
                }
                counter
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        let last = task.await.unwrap();
        done += last - first;
        *counter = last.max(*counter);
    }
    done as f64 / started.elapsed().as_secs_f64()
}

/// Operations a second through the engines.
async fn gathered(front: &Front, sealers: Vec<Sealer>, length: Duration) -> (f64, Vec<Sealer>) {
    let started = Instant::now();
    let clients: Vec<_> = sealers
        .into_iter()
        .map(|mut sealer| {
            let front = front.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while started.elapsed() < length {
                    let (operation, request) = sealer.seal(Kind::SyncTo, DATA);
                    let reply = front.exchange(Some(sealer.number()), request).await.unwrap();
                    assert_eq!(sealer.open(operation, &reply), None);
                    done += 1;
                }
                (done, sealer)
            })
        })
        .collect();
    let (mut done, mut sealers) = (0_u64, Vec::new());
    for client in clients {
        let (mine, sealer) = client.await.unwrap();
        done += mine;
        sealers.push(sealer);
    }
    (done as f64 / started.elapsed().as_secs_f64(), sealers)
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// Lowest, median, highest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}
