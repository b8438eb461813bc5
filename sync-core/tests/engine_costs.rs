//! What one operation costs the engines, as exact counts that no noise moves: allocations, and bytes of the
//! bodies. A change that costs more shows here as another number.

#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use support::{Draws, at_us, map};
use sync_core::cache::{CacheReply, CacheRequest, CacheValue};
use sync_core::data_type::SyncDataType;
use sync_core::engine::Engine;
use sync_core::envelope::{HostRing, MasterKey, MasterRing};
use sync_core::host_sync::operation::{Ask, Outcome};
use sync_core::host_sync::policy::Standard;
use sync_core::host_sync::sealed::{Body, SealedHost, SealedServer};
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput};
use sync_core::host_sync::session::{Session, SessionEffect, SessionInput};
use sync_core::host_sync::settings::{ServerSettings, SessionSettings};
use sync_core::id::{AccountId, Token};
use sync_core::store::{Applied, StoreReply, StoreRequest, Verdict};
use sync_core::wire::Kind;

/// Counts what each thread asks for, so that tests beside each other do not disturb the counts.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has nothing left to count with, and nobody who asks.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: hands every call on to the system's allocator unchanged and only counts beside it; the counter is a
// plain number that needs no allocation itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MASTER: &str = "p2p-master:k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ACCOUNT: AccountId = AccountId(2_000_000);
const DATA: &str = "{\"hp\":1200,\"sp\":80,\"position\":{\"x\":101,\"y\":55,\"m\":\"prontera\"}}";
/// More than a session remembers, so that what grows with the first operations has grown.
const WARM_UP: u64 = 5_000;
const MEASURED: u64 = 1_000;

/// Allocations at the four calls that an operation takes, and bytes of its two bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Costs {
    ask: u64,
    request: u64,
    completion: u64,
    answer: u64,
    request_bytes: usize,
    reply_bytes: usize,
}

/// A session and a server that call each other, over a database and a cache that only answer.
struct Line {
    session: Session<SealedHost, Draws, Standard>,
    server: Server<SealedServer, Draws>,
    tickets: u64,
    at_session: Vec<SessionEffect<Body>>,
    at_server: Vec<ServerEffect<Body>>,
}

impl Line {
    fn new() -> Self {
        let master: MasterKey = MASTER.parse().unwrap();
        let host = SealedHost::new(HostRing::new(master.host_key(ACCOUNT), Vec::new()).unwrap());
        let server = SealedServer::new(MasterRing::new(master, Vec::new()).unwrap());
        let draws = Draws::default();
        Self {
            session: Session::new(ACCOUNT, Arc::new(SessionSettings::default()), host, draws, Standard),
            server: Server::new(Arc::new(ServerSettings::default()), server, draws),
            tickets: 0,
            at_session: Vec::new(),
            at_server: Vec::new(),
        }
    }

    /// One operation from the asking to its result, 100 microseconds after the one before.
    fn operation(&mut self, kind: Kind, critical: bool) -> Costs {
        self.tickets += 1;
        let ticket = self.tickets;
        // So far from the start that the number of digits of no counter changes any more.
        let now = at_us(1_000_000_000 + ticket * 100);
        let ask = Ask {
            ticket,
            kind,
            data_type: SyncDataType::PlayerData,
            map: map("prontera"),
            data: DATA.into(),
            critical,
            priority: false,
        };
        let mut costs = Costs::default();

        let before = ALLOCATIONS.get();
        self.session.handle(now, SessionInput::Ask(ask), &mut self.at_session);
        costs.ask = ALLOCATIONS.get() - before;
        let (token, request) = take(&mut self.at_session, |effect| match effect {
            SessionEffect::Send { token, request, .. } => Some((token, request)),
            _ => None,
        });
        costs.request_bytes = request.len();

        let request = ServerInput::Request { token: Token(ticket), request };
        let before = ALLOCATIONS.get();
        self.server.handle(now, request, &mut self.at_server);
        costs.request = ALLOCATIONS.get() - before;
        let completion = take(&mut self.at_server, completion);

        let before = ALLOCATIONS.get();
        self.server.handle(now, completion, &mut self.at_server);
        costs.completion = ALLOCATIONS.get() - before;
        let reply = take(&mut self.at_server, |effect| match effect {
            ServerEffect::Reply { reply, .. } => reply.ok(),
            _ => None,
        });
        costs.reply_bytes = reply.len();

        let answer = SessionInput::Answered { token, answer: Ok(reply), retry_after: None };
        let before = ALLOCATIONS.get();
        self.session.handle(now, answer, &mut self.at_session);
        costs.answer = ALLOCATIONS.get() - before;
        let outcome = take(&mut self.at_session, |effect| match effect {
            SessionEffect::Finished { outcome, .. } => Some(outcome),
            _ => None,
        });
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        costs
    }
}

/// The one effect that is looked for; the others are dropped.
fn take<E, T>(effects: &mut Vec<E>, wanted: impl Fn(E) -> Option<T>) -> T {
    let mut found: Vec<_> = effects.drain(..).filter_map(wanted).collect();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// What the database or the cache answers to the request of an operation.
fn completion(effect: ServerEffect<Body>) -> Option<ServerInput<Body>> {
    match effect {
        ServerEffect::Store { token, request: StoreRequest::ApplyBatch(operations) } => {
            let applied = Applied { verdict: Verdict::Applied { version: 7 }, duplicate: false };
            Some(ServerInput::Stored {
                token,
                answer: Ok(StoreReply::Applied(vec![applied; operations.len()])),
            })
        }
        ServerEffect::Cache { token: Some(token), request: CacheRequest::Get(_) } => {
            let value = CacheValue { version: 7, data: DATA.into() };
            Some(ServerInput::Cached { token, answer: Ok(CacheReply::Value(Some(value))) })
        }
        _ => None,
    }
}

/// All of the measured operations cost the same, and this.
#[track_caller]
fn check(kind: Kind, critical: bool, expected: Costs) {
    let mut line = Line::new();
    for _ in 0..WARM_UP {
        line.operation(kind, critical);
    }
    for measured in 0..MEASURED {
        assert_eq!(line.operation(kind, critical), expected, "operation {measured} after the warm-up");
    }
}

#[test]
fn a_critical_write_has_its_fixed_costs() {
    let expected =
        Costs { ask: 1, request: 5, completion: 3, answer: 0, request_bytes: 540, reply_bytes: 305 };
    check(Kind::SyncTo, true, expected);
}

#[test]
fn a_write_has_its_fixed_costs() {
    let expected =
        Costs { ask: 1, request: 5, completion: 3, answer: 0, request_bytes: 541, reply_bytes: 305 };
    check(Kind::SyncTo, false, expected);
}

#[test]
fn a_read_from_the_cache_has_its_fixed_costs() {
    let expected =
        Costs { ask: 1, request: 2, completion: 4, answer: 2, request_bytes: 541, reply_bytes: 433 };
    check(Kind::SyncFrom, false, expected);
}
