//! A world whose main server lies outside, with a main server of this process in its place: instant, and
//! with the time of the test.

#![allow(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::sync::Arc;

use simulator::check::Terms;
use simulator::draw::{Draws, SimEntropy};
use simulator::history::{OpRef, StateName};
use simulator::plan::Plan;
use simulator::recorder::Recorder;
use simulator::scenario::Scenario;
use simulator::scenario::model::{HistoryMode, Injection};
use simulator::verdict::Verdict;
use simulator::virtual_rig::clock::NodeClock;
use simulator::virtual_rig::outside::{Order, Outgoing, SeenWrite};
use simulator::virtual_rig::variant::{Sealed, Variant as _, WorldKeys};
use simulator::virtual_rig::world::{RunFigures, World};
use sync_core::cache::MemoryCache;
use sync_core::embedding::EmbedError;
use sync_core::engine::Engine;
use sync_core::host_sync::operation::TransportError;
use sync_core::host_sync::sealed::{Body, SealedServer};
use sync_core::host_sync::server::{Server, ServerEffect, ServerInput};
use sync_core::host_sync::settings::ServerSettings;
use sync_core::id::Token;
use sync_core::store::{MemoryStore, StoreReply, StoreRequest, Verdict as StoreVerdict};

const SCENARIO: &str = "
name: outside
about: A world whose main server lies outside.
duration: 5s
settle: 60s
topology: { hosts: 8, maps: 2 }
clocks: { skew: 100ms, drift_ppm: 50 }
network:
  to_server: { loss: 2%, duplicate: 3%, reorder: 3% }
  to_host: { loss: 2%, duplicate: 3% }
workload:
  - name: players
    arrivals: { poisson: 8/s }
    mix:
      - { type: PLAYER_POSITION, critical: true }
      - { type: PLAYER_DATA }
      - { type: CHAT_MESSAGE }
      - { type: PLAYER_DATA, kind: sync_from }
faults:
  - { at: 2s, for: 1s, inject: { crash: main_server } }
  - { at: 3500ms, for: 500ms, inject: { partition: { hosts: { first: 2 } } } }
expect: { properties: [P5, P14, P30] }
";

/// A main server without delays.
struct Instant {
    engine: Server<SealedServer, SimEntropy>,
    store: MemoryStore,
    cache: MemoryCache,
    down: bool,
}

/// What came of a request: the reply, and what took effect.
type Answered = (Result<Body, (TransportError, Option<sync_core::time::Span>)>, Vec<SeenWrite>);

impl Instant {
    fn new(draws: Draws) -> Self {
        let codec = Sealed.server_codec(&WorldKeys::new(draws));
        let engine = Server::new(Arc::new(ServerSettings::default()), codec, SimEntropy::new(draws, 0, 0));
        Self { engine, store: MemoryStore::default(), cache: MemoryCache::default(), down: false }
    }

    fn answer(&mut self, now_us: u64, request: Body) -> Answered {
        if self.down {
            return (Err((TransportError::Unreachable, None)), Vec::new());
        }
        let now = NodeClock::new(0, 0).now(now_us);
        let (mut effects, mut seen, mut answer) = (Vec::new(), Vec::new(), None);
        self.engine.handle(now, ServerInput::Request { token: Token(1), request }, &mut effects);
        while let Some(effect) = effects.pop() {
            let input = match effect {
                ServerEffect::Reply { reply, .. } => {
                    answer = Some(reply.map_err(|status| (TransportError::Status(status.code()), None)));
                    continue;
                }
                ServerEffect::Follow => continue,
                ServerEffect::Store { token, request } => {
                    let reply = self.store.execute(&request);
                    seen.extend(writes(&request, &reply));
                    ServerInput::Stored { token, answer: Ok(reply) }
                }
                ServerEffect::Embed { token, .. } => {
                    ServerInput::Embedded { token, answer: Err(EmbedError::NotConfigured) }
                }
                ServerEffect::Cache { token, request } => {
                    let reply = self.cache.execute(now.wall, &request);
                    let Some(token) = token else { continue };
                    ServerInput::Cached { token, answer: Ok(reply) }
                }
            };
            self.engine.handle(now, input, &mut effects);
        }
        (answer.expect("an instant answer"), seen)
    }
}

fn writes(request: &StoreRequest, reply: &StoreReply) -> Vec<SeenWrite> {
    let (StoreRequest::ApplyBatch(operations), StoreReply::Applied(applied)) = (request, reply) else {
        return Vec::new();
    };
    let took_effect = operations.iter().zip(applied).filter_map(|(operation, applied)| {
        let (StoreVerdict::Applied { version }, false) = (applied.verdict, applied.duplicate) else {
            return None;
        };
        let (_, op) = operation.data.split_once("\"w\":\"").expect("a value of the harness");
        let op: OpRef = op.split_once('"').unwrap().0.parse().unwrap();
        Some(SeenWrite {
            op,
            id: operation.operation,
            data_type: operation.data_type,
            map: operation.map.clone(),
            key: operation.state_key().map(StateName),
            version,
        })
    });
    took_effect.collect()
}

fn run(plan: &Plan) -> (Recorder, RunFigures, Vec<Order>) {
    let terms = Terms {
        critical_timeout_us: 500_000,
        critical_miss_ppm_max: 1_000_000,
        drift_ppm: 50,
        lateness_us_max: 1_000,
        ..Terms::default()
    };
    let recorder = Recorder::new(&terms, HistoryMode::Full);
    let mut world = World::outside(plan, Sealed, recorder, None);
    let mut server = Instant::new(Draws::new(plan.seed));
    let (mut now_us, mut orders) = (0, Vec::new());
    while !world.is_over() {
        // Real time is always a little late.
        now_us = world.next_us().map_or(now_us + 1_000, |due| due.max(now_us) + 137);
        world.advance(now_us);
        for order in world.take_orders() {
            match order {
                Order::Begin { .. } => server.down = true,
                Order::End { .. } => {
                    server.down = false;
                    world.restarted("main server");
                }
            }
            orders.push(order);
        }
        for Outgoing { exchange, request, .. } in world.take_outgoing() {
            let (answer, seen) = server.answer(now_us, request);
            seen.into_iter().for_each(|write| world.seen(write));
            world.answered(exchange, answer);
        }
    }
    let (recorder, figures) = world.finish(plan, server.store.content(), 0);
    (recorder, figures, orders)
}

#[test]
fn hosts_and_faults_are_those_of_the_virtual_world_and_the_checks_hold() {
    let plan = Plan::new(&Scenario::parse("test", SCENARIO.as_bytes()).unwrap(), 3);
    let (recorder, figures, orders) = run(&plan);
    let virtually = simulator::run::run(&plan);
    assert_eq!(recorder.counts.planned(), virtually.summary.counts.planned());
    assert_eq!(recorder.counts.open, 0);
    assert!(recorder.counts.attempts > recorder.counts.planned(), "losses and a crash made retries");
    assert!(figures.simulated_us < 65_000_000);
    let demanded = plan.world.expect.properties.clone();
    for judgement in recorder.jury.finish(simulator::virtual_rig::OBSERVABLE, &demanded) {
        if judgement.demanded {
            assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
        }
    }
    // The partition concerns hosts only and stays inside.
    let crash = |order: &Order| match order {
        Order::Begin { number, injection } | Order::End { number, injection } => {
            *number == 0 && matches!(injection, Injection::Crash(_))
        }
    };
    assert_eq!(orders.len(), 2);
    assert!(orders.iter().all(crash));
}

#[test]
fn an_answer_that_comes_twice_or_to_nobody_is_ignored() {
    let plan = Plan::new(&Scenario::parse("test", SCENARIO.as_bytes()).unwrap(), 3);
    let terms = Terms { critical_timeout_us: 500_000, drift_ppm: 50, ..Terms::default() };
    let recorder = Recorder::new(&terms, HistoryMode::None);
    let mut world = World::outside(&plan, Sealed, recorder, None);
    while world.take_outgoing().is_empty() {
        world.advance(world.next_us().unwrap());
    }
    assert_eq!(world.open_exchanges(), 1);
    for _ in 0..2 {
        world.answered(0, Err((TransportError::TimedOut, None)));
        assert_eq!(world.open_exchanges(), 0);
    }
    world.answered(77, Ok(b"nonsense".to_vec()));
}
