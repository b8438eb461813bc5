//! A main server and hosts in one process, over real sockets; services that can be told to fail.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod canaries;
pub(crate) mod facade;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::BoxStream;
use sync_core::cache::{CacheError, CacheReply, CacheRequest, Notice};
use sync_core::config::Config;
use sync_core::data_type::SyncDataType;
use sync_core::envelope::{HostRing, MasterKey};
use sync_core::host_sync::codec::HostCodec;
use sync_core::host_sync::operation::{Ask, Outcome};
use sync_core::host_sync::sealed::SealedHost;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::runtime::driver::host::{Host, configured};
use sync_core::runtime::driver::{CacheService, Database, EmbeddedCache, EmbeddedDatabase};
use sync_core::runtime::http::HttpClient;
use sync_core::runtime::main_server::{MainServer, Parts};
use sync_core::store::{StoreError, StoreReply, StoreRequest};
use sync_core::time::{Span, Timestamp};
use sync_core::wire::{Kind, Request};

pub(crate) const MASTER: &str = "p2p-master:k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const PATIENCE: Span = Span::from_secs(20);

/// Runs one test on two threads.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = runtime.block_on(test);
    runtime.shutdown_background();
    result
}

pub(crate) fn server_config(more: &str) -> Config {
    let text = format!("role = main_server\nencryption_key = {MASTER}\n{more}\n");
    Config::parse("test", text.as_bytes()).unwrap().0
}

pub(crate) async fn start<D: Database, C: CacheService>(more: &str, database: D, cache: C) -> MainServer {
    start_with(more, Parts::new(database, cache)).await
}

pub(crate) async fn start_with<D, C, I>(more: &str, parts: Parts<D, C, I>) -> MainServer
where
    D: Database,
    C: CacheService,
    I: sync_core::runtime::driver::shards::Instruments,
{
    MainServer::start(&server_config(more), "127.0.0.1:0".parse().unwrap(), parts).await.unwrap()
}

pub(crate) fn client(server: &MainServer) -> HttpClient {
    HttpClient::new(&format!("http://{}/p2p-sync", server.address()).parse().unwrap()).unwrap()
}

/// A host from its own configuration file, with the key that the server issued.
pub(crate) fn host(server: &MainServer, account: u32, more: &str) -> Host {
    let master: MasterKey = MASTER.parse().unwrap();
    let key = master.host_key(AccountId(account)).to_text();
    let text = format!(
        "role = host\nmain_server_endpoint = http://{}/p2p-sync\nencryption_key = {}\n{more}\n",
        server.address(),
        key.expose()
    );
    configured::start(&Config::parse("test", text.as_bytes()).unwrap().0).unwrap()
}

pub(crate) fn ask(ticket: u64, kind: Kind, data: &str) -> Ask {
    Ask {
        ticket,
        kind,
        data_type: SyncDataType::PlayerData,
        map: MapName::new("prontera").unwrap(),
        data: data.into(),
        critical: false,
        priority: false,
    }
}

/// Writes and waits for the acknowledgement.
pub(crate) async fn write(host: &Host, ticket: u64, data: &str) -> Outcome {
    host.ask(ask(ticket, Kind::SyncTo, data)).await.unwrap().outcome
}

/// Reads and waits for the payload.
pub(crate) async fn read(host: &Host, ticket: u64) -> Outcome {
    host.ask(ask(ticket, Kind::SyncFrom, "{}")).await.unwrap().outcome
}

pub(crate) fn payload(version: u64, data: &str) -> Outcome {
    let value = format!("{{\"version\":{version},\"data\":{}}}", serde_json::Value::from(data));
    Outcome::Done(Some(value.into()))
}

/// Seals single requests of one account, as a session would.
pub(crate) struct Sealer {
    codec: SealedHost,
    account: u32,
    counter: u64,
}

impl Sealer {
    pub(crate) fn new(master: &str, account: u32) -> Self {
        let key = master.parse::<MasterKey>().unwrap().host_key(AccountId(account));
        Self { codec: SealedHost::new(HostRing::new(key, Vec::new()).unwrap()), account, counter: 0 }
    }

    /// The account.
    pub(crate) fn number(&self) -> u32 {
        self.account
    }

    pub(crate) fn seal(&mut self, kind: Kind, data: &str) -> (OperationId, Vec<u8>) {
        self.seal_as(kind, SyncDataType::PlayerData, data)
    }

    pub(crate) fn seal_as(
        &mut self,
        kind: Kind,
        data_type: SyncDataType,
        data: &str,
    ) -> (OperationId, Vec<u8>) {
        self.counter += 1;
        let operation = OperationId {
            account: AccountId(self.account),
            incarnation: Incarnation(5),
            counter: self.counter,
        };
        let request = Request {
            kind,
            data_type,
            map: MapName::new("prontera").unwrap(),
            data: data.into(),
            timestamp: wall(),
            operation,
            critical: false,
            sequence: self.counter,
        };
        (operation, self.codec.seal(&request, [self.counter as u8; 16]))
    }

    /// Whether its key opens the reply to this operation.
    pub(crate) fn opens(&mut self, operation: OperationId, reply: &[u8]) -> bool {
        self.codec.open(operation, false, &reply.to_vec()).is_ok()
    }

    /// Why an authentic reply says that this operation was rejected, if it does.
    pub(crate) fn rejection(&mut self, operation: OperationId, reply: &[u8]) -> Option<String> {
        let reply = self.codec.open(operation, false, &reply.to_vec()).expect("an authentic reply");
        reply.result.err().map(|rejection| rejection.to_string())
    }

    /// The payload of an authentic reply to this operation.
    pub(crate) fn open(&mut self, operation: OperationId, reply: &[u8]) -> Option<String> {
        let reply = self.codec.open(operation, false, &reply.to_vec()).expect("an authentic reply");
        reply.result.unwrap().map(|payload| payload.to_string())
    }
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real servers live in real time")]
fn wall() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_us(now.as_micros() as u64)
}

/// How a service answers from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    Fails,
    Hangs,
    Panics,
    /// Takes 300 ms.
    Slow,
}

/// Memory behind a mood, and what was asked of it.
pub(crate) struct Moody<S> {
    inner: S,
    mood: AtomicU8,
    calls: AtomicU64,
    /// Findings about hosts' data that were kept.
    findings: AtomicU64,
    log: Mutex<Vec<CacheRequest>>,
}

impl<S: Default> Moody<S> {
    pub(crate) fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            inner: S::default(),
            mood: AtomicU8::new(mood as u8),
            calls: AtomicU64::new(0),
            findings: AtomicU64::new(0),
            log: Mutex::default(),
        })
    }
}

impl<S> Moody<S> {
    pub(crate) fn feel(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// Requests that have begun.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Findings about hosts' data that were kept.
    pub(crate) fn findings(&self) -> u64 {
        self.findings.load(Ordering::SeqCst)
    }

    pub(crate) fn log(&self) -> Vec<CacheRequest> {
        self.log.lock().unwrap().clone()
    }

    /// Whether the request goes through.
    async fn pass(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let is = |mood: Mood| self.mood.load(Ordering::SeqCst) == mood as u8;
        if is(Mood::Hangs) {
            std::future::pending::<()>().await;
        }
        assert!(!is(Mood::Panics), "a planned panic");
        if is(Mood::Slow) {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        !is(Mood::Fails)
    }
}

impl Database for Moody<EmbeddedDatabase> {
    async fn execute(&self, request: &StoreRequest) -> Result<StoreReply, StoreError> {
        if !self.pass().await {
            return Err(StoreError::Unavailable);
        }
        if let StoreRequest::RecordValidations(findings) = request {
            self.findings.fetch_add(findings.len() as u64, Ordering::SeqCst);
        }
        self.inner.execute(request).await
    }
}

impl CacheService for Moody<EmbeddedCache> {
    async fn execute(&self, request: &CacheRequest) -> Result<CacheReply, CacheError> {
        self.log.lock().unwrap().push(request.clone());
        if self.pass().await { self.inner.execute(request).await } else { Err(CacheError::Unavailable) }
    }

    fn follow(&self) -> BoxStream<'static, Notice> {
        self.inner.follow()
    }
}
