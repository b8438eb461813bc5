//! What a tap sees of a live shard is enough to repeat it, bit for bit and without any server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::live_support::*;
use sync_core::cache::CacheRequest;
use sync_core::engine::Engine;
use sync_core::entropy::{Entropy, Purpose};
use sync_core::envelope::MasterRing;
use sync_core::host_sync::operation::Outcome;
use sync_core::host_sync::sealed::{Body, SealedServer};
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::limits;
use sync_core::runtime::driver::shards::{Instruments, ShardEngine};
use sync_core::runtime::driver::{EmbeddedCache, EmbeddedDatabase, Tap};
use sync_core::runtime::entropy::OsEntropy;
use sync_core::runtime::main_server::Parts;
use sync_core::time::Now;

type Draw = (Purpose, u64, u64, u64);
type Call = (Now, Option<ServerInput<Body>>, Vec<ServerEffect<Body>>);

/// Calls and draws of one shard.
#[derive(Clone, Default)]
struct Tape {
    calls: Arc<Mutex<Vec<Call>>>,
    draws: Arc<Mutex<VecDeque<Draw>>>,
}

struct Recorded(Tape, OsEntropy);
struct Replayed(Tape);

impl Entropy for Recorded {
    fn draw(&mut self, purpose: Purpose, entity: u64, ordinal: u64) -> u64 {
        let drawn = self.1.draw(purpose, entity, ordinal);
        self.0.draws.lock().unwrap().push_back((purpose, entity, ordinal, drawn));
        drawn
    }
}

impl Entropy for Replayed {
    fn draw(&mut self, purpose: Purpose, entity: u64, ordinal: u64) -> u64 {
        let (p, e, o, drawn) = self.0.draws.lock().unwrap().pop_front().unwrap();
        assert_eq!((p, e, o), (purpose, entity, ordinal));
        drawn
    }
}

impl<E: Entropy> Tap<ShardEngine<E>> for Tape {
    fn call(&mut self, now: Now, input: Option<&ServerInput<Body>>, effects: &[ServerEffect<Body>]) {
        self.calls.lock().unwrap().push((now, input.cloned(), effects.to_vec()));
    }
}

struct Tapes(Vec<Tape>);

impl Instruments for Tapes {
    type Entropy = Recorded;
    type Tap = Tape;

    fn shard(&mut self, shard: usize, _: &ServerSettings) -> (Recorded, Tape) {
        (Recorded(self.0[shard].clone(), OsEntropy::new()), self.0[shard].clone())
    }
}

#[test]
fn a_live_run_is_repeated_from_its_calls_and_draws() {
    run(async {
        let tapes = vec![Tape::default(), Tape::default()];
        let cache = Moody::<EmbeddedCache>::new(Mood::Well);
        let parts = Parts::new(EmbeddedDatabase::default(), Arc::clone(&cache));
        let parts = parts.instrumented(Tapes(tapes.clone()));
        // A window of a second, so that the engines are also woken, to forget old names.
        let more = "worker_threads = 2\nfreshness_window_ms = 1000";
        let server = start_with(more, parts).await;
        let hosts: Vec<_> = (0..8).map(|account| host(&server, account, "")).collect();
        for ticket in 0..10 {
            let writes = hosts.iter().map(|host| write(host, 2 * ticket, "{}"));
            for outcome in futures_util::future::join_all(writes).await {
                assert_eq!(outcome, Outcome::Done(None));
            }
            let reads = hosts.iter().map(|host| read(host, 2 * ticket + 1));
            for outcome in futures_util::future::join_all(reads).await {
                assert_eq!(outcome, payload(ticket + 1, "{}"), "a host reads what it wrote");
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(1_300)).await;
        let counters = server.shutdown().await.counters;
        assert_eq!(counters.requests, 160);

        let mut started: Vec<CacheRequest> = Vec::new();
        for tape in &tapes {
            let settings = ServerSettings {
                batches_in_flight_max: limits::SHARD_BATCHES_MAX,
                exchanges_max: ServerSettings::default().exchanges_max / 2,
                ..server_config(more).server_settings()
            };
            let codec = SealedServer::new(MasterRing::new(MASTER.parse().unwrap(), Vec::new()).unwrap());
            let mut engine = Server::new(Arc::new(settings), codec, Replayed(tape.clone()));
            let calls = tape.calls.lock().unwrap().clone();
            let handled =
                calls.iter().filter(|(_, input, _)| matches!(input, Some(ServerInput::Request { .. })));
            assert!(handled.count() > 0, "both shards had accounts");
            assert!(calls.iter().any(|(_, input, _)| input.is_none()), "the shard was woken");
            assert!(calls.windows(2).all(|pair| pair[0].0.monotonic <= pair[1].0.monotonic));
            for (now, input, effects) in calls {
                let mut again = Vec::new();
                match input {
                    Some(input) => engine.handle(now, input, &mut again),
                    None => {
                        assert!(engine.next_wakeup().is_some_and(|due| due <= now.monotonic), "woken early");
                        engine.wake(now, &mut again);
                    }
                }
                assert_eq!(again, effects);
                started.extend(again.into_iter().filter_map(|effect| match effect {
                    ServerEffect::Cache { request, .. } => Some(request),
                    _ => None,
                }));
            }
            assert!(tape.draws.lock().unwrap().is_empty(), "every draw was made again");
        }
        // The cache was asked in the order in which each engine asked.
        let mut log = cache.log();
        for tape in &tapes {
            let calls = tape.calls.lock().unwrap();
            let mut rest = log.iter();
            for request in
                calls.iter().flat_map(|(_, _, effects)| effects).filter_map(|effect| match effect {
                    ServerEffect::Cache { request, .. } => Some(request),
                    _ => None,
                })
            {
                assert!(rest.any(|logged| logged == request), "out of order: {request:?}");
            }
        }
        assert_eq!(log.len(), started.len());
        log.retain(|request| !started.contains(request));
        assert!(log.is_empty());
    });
}
