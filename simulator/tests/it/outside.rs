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
use simulator::verdict::{Judgement, Verdict};
use simulator::virtual_rig::clock::NodeClock;
use simulator::virtual_rig::outside::{Order, Outgoing, SeenWrite};
use simulator::virtual_rig::variant::{Sealed, Variant as _, WorldKeys};
use simulator::virtual_rig::world::{RunFigures, World};
use sync_core::cache::MemoryCache;
use sync_core::embedding::EmbedError;
use sync_core::engine::Engine;
use sync_core::envelope::KeyUse;
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
    /// Whether what is retired goes on opening.
    never_retires: bool,
}

/// What came of a request: the reply, and what took effect.
type Answered = (Result<Body, (TransportError, Option<sync_core::time::Span>)>, Vec<SeenWrite>);

impl Instant {
    fn new(draws: Draws, never_retires: bool) -> Self {
        let codec = Sealed.server_codec(&WorldKeys::rotating(draws, ROTATIONS));
        let engine = Server::new(Arc::new(ServerSettings::default()), codec, SimEntropy::new(draws, 0, 0));
        let (store, cache) = (MemoryStore::default(), MemoryCache::default());
        Self { engine, store, cache, down: false, never_retires }
    }

    fn use_keys(&mut self, now_us: u64, keys: KeyUse) {
        let opens = if self.never_retires {
            vec!["world".parse().unwrap(), "world-1".parse().unwrap(), keys.seals]
        } else {
            keys.opens
        };
        let now = NodeClock::new(0, 0).now(now_us);
        self.engine.handle(now, ServerInput::UseKeys(KeyUse { opens, ..keys }), &mut Vec::new());
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

fn run(plan: &Plan, never_retires: bool) -> (Recorder, RunFigures, Vec<Order>) {
    let terms = Terms {
        demanded: plan.world.expect.properties.clone(),
        freshness_window_us: plan.world.main_server.freshness_window.span().as_us(),
        critical_timeout_us: 500_000,
        critical_miss_ppm_max: 1_000_000,
        drift_ppm: 50,
        lateness_us_max: 1_000,
        ..Terms::default()
    };
    let recorder = Recorder::new(&terms, HistoryMode::Full);
    let mut world = World::outside(plan, Sealed, recorder, None);
    let mut server = Instant::new(Draws::new(plan.seed), never_retires);
    // Keys on their way to the server, and the word that it has them on the way back.
    let (mut keys, mut taken) = (None, None);
    let (mut now_us, mut orders) = (0, Vec::new());
    while !world.is_over() {
        // Real time is always a little late.
        now_us = world.next_us().map_or(now_us + 1_000, |due| due.max(now_us) + 137);
        world.advance(now_us);
        if let Some((_, keys)) = keys.take_if(|(due_us, _)| *due_us <= now_us) {
            server.use_keys(now_us, keys);
            taken = Some(now_us + 150_000);
        }
        if taken.take_if(|due_us| *due_us <= now_us).is_some() {
            world.keys_taken();
        }
        for order in world.take_orders() {
            match order {
                Order::Begin { .. } => server.down = true,
                Order::End { .. } => {
                    server.down = false;
                    world.restarted("main server");
                }
                Order::UseKeys(names) => {
                    assert!(keys.is_none() && taken.is_none(), "one step after the other");
                    keys = Some((now_us + 150_000, names));
                    continue;
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
    let (recorder, figures, orders) = run(&plan, false);
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
        Order::UseKeys(_) => false,
    };
    assert_eq!(orders.len(), 2);
    assert!(orders.iter().all(crash));
}

const ROTATION: &str = "
name: rotation
about: Keys are replaced twice at a server that takes its time.
duration: 12s
settle: 60s
topology: { hosts: 8, maps: 2 }
network: { to_server: { replay: 5%, replay_after: 1s } }
workload:
  - name: players
    arrivals: { poisson: 8/s }
    mix: [ { type: PLAYER_POSITION, critical: true }, { type: PLAYER_DATA, kind: sync_from } ]
faults:
  - { at: 1s, for: 3s, inject: { rotate_keys: { prepare: 100ms } } }
  - { at: 6s, for: 3s, inject: { rotate_keys: { left_behind: { only: [7] } } } }
expect: { properties: [P5, P14, P27, P28, P30], critical_miss_ratio_max: 100% }
";
const ROTATIONS: usize = 2;

#[test]
fn keys_are_replaced_step_by_step_at_a_server_outside_that_takes_its_time() {
    let plan = Plan::new(&Scenario::parse("test", ROTATION.as_bytes()).unwrap(), 1);
    let failed = |never_retires| {
        let (recorder, ..) = run(&plan, never_retires);
        let text = String::from_utf8(recorder.history.text().to_vec()).unwrap();
        let steps = text.lines().filter(|line| line.contains("\"keys\":{\"seals\"")).count();
        assert_eq!(steps, 6, "announced, in use, retired: twice");
        let judged = recorder.jury.finish(simulator::virtual_rig::OBSERVABLE, &plan.world.expect.properties);
        let known = |judgement: &Judgement| !judgement.demanded || judgement.verdict != Verdict::Unknown;
        assert!(judged.iter().all(known), "{judged:#?}");
        let failed = judged.into_iter().filter(|judgement| judgement.verdict == Verdict::Fail);
        failed.map(|judgement| judgement.property).collect::<Vec<_>>()
    };
    assert_eq!(failed(false), Vec::<String>::new());
    assert_eq!(failed(true), ["P28"]);
}

#[test]
fn an_answer_that_comes_twice_or_to_nobody_is_ignored() {
    let plan = Plan::new(&Scenario::parse("test", SCENARIO.as_bytes()).unwrap(), 3);
    let terms = Terms { critical_timeout_us: 500_000, drift_ppm: 50, ..Terms::default() };
    let recorder = Recorder::new(&terms, HistoryMode::None);
    let mut world = World::outside(&plan, Sealed, recorder, None);
    while world.take_outgoing().is_empty() {
        let due_us = world.next_us().unwrap();
        world.advance(due_us);
    }
    assert_eq!(world.open_exchanges(), 1);
    for _ in 0..2 {
        world.answered(0, Err((TransportError::TimedOut, None)));
        assert_eq!(world.open_exchanges(), 0);
    }
    world.answered(77, Ok(b"nonsense".to_vec()));
}
