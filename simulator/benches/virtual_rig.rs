//! Speed and memory of the virtual rig, as ratios to a floor measured in the same run.
//!
//! ```text
//! cargo bench -p simulator --bench virtual_rig
//! ```
//!
//! The floor is a bare binary heap with as many events of the same size as the modelled run had, with delays of the
//! same distributions taken from a table, and nothing else: no hosts, no decisions, no checks. Wake-ups, of which
//! most mean nothing when they are due, lie ahead in it as long as the run's did on average, so that it is as deep as a
//! heap of the run's events. What remains above it is what sessions, server, codec, store, cache, checks and
//! latency histograms cost; the kernel's own queue is faster than the floor's.
//!
//! Optional arguments: hosts (10000), seconds (60), rounds (3). It exits 1 if a bound is exceeded or a run fails.

#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use mimalloc::MiMalloc;
use simulator::check::Terms;
use simulator::distribution::{Sampler, exponential_us};
use simulator::draw::{Draws, Label};
use simulator::plan::Plan;
use simulator::recorder::Recorder;
use simulator::run::{Summary, run};
use simulator::scenario::Scenario;
use simulator::scenario::model::{Distribution, HistoryMode, Lognormal};
use simulator::scenario::units::Length;
use simulator::verdict::Verdict;
use simulator::virtual_rig::variant::Sealed;
use simulator::virtual_rig::world::{EVENT_BYTES, WakeUps, World};
use slab::Slab;

/// Counts bytes in use while it is told to: two atomic additions an allocation would be paid by the rig alone.
struct Counting;

static IS_ON: AtomicBool = AtomicBool::new(false);
static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the program's allocator unchanged and only counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_ON.load(Ordering::Relaxed) {
            IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        }
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if IS_ON.load(Ordering::Relaxed) {
            IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn scenario(hosts: u64, seconds: u64, frames: &str) -> Scenario {
    let text = format!(
        "
name: benchmark
about: Many hosts at a steady rate.
duration: {seconds}s
topology: {{ hosts: {hosts}, maps: 100 }}
main_server: {{ freshness_window: 5s }}
network: {{ frames: {frames} }}
workload:
  - name: players
    arrivals: {{ poisson: 10/s }}
    mix:
      - {{ type: PLAYER_POSITION, critical: true, weight: 4 }}
      - {{ type: PLAYER_DATA, weight: 2 }}
      - {{ type: QUEST_PROGRESS, weight: 2 }}
      - {{ type: CHAT_MESSAGE, weight: 2 }}
expect: {{ properties: [P5, P14, P19, P30], critical_miss_ratio_max: 1% }}
history: none
"
    );
    Scenario::parse("benchmark", text.as_bytes()).unwrap_or_else(|found| panic!("{}", found[0]))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed().as_secs_f64())
}

fn rig(hosts: u64, seconds: u64, frames: &str) -> (Summary, WakeUps, f64) {
    let plan = Plan::new(&scenario(hosts, seconds, frames), 1);
    let (result, wall) = timed(|| run(&plan));
    (result.summary, result.figures.wake_ups, wall)
}

/// The events of a run, with nothing behind them.
struct Bare {
    /// Arrivals, each of which schedules the one after it and a request.
    arrivals: u64,
    /// Requests, each of which schedules its reply.
    attempts: u64,
    wake_ups: WakeUps,
    /// Commits, answers of the database, updates of the cache.
    others: u64,
    /// As many are taken as the run took; what still lies ahead then stays, as in the run.
    taken: u64,
}

impl Bare {
    fn of(summary: &Summary, wake_ups: WakeUps) -> Self {
        let (arrivals, attempts) = (summary.counts.planned(), summary.counts.attempts);
        let taken = summary.kernel_events;
        let others = taken.saturating_sub(arrivals + 2 * attempts + wake_ups.taken);
        Self { arrivals, attempts, wake_ups, others, taken }
    }
}

/// Events in a heap, as the kernel kept them before it had a wheel: the heap orders places in a table.
struct BareHeap<E> {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    events: Slab<E>,
    scheduled: u64,
    deepest: usize,
}

impl<E> BareHeap<E> {
    const PLACE_BITS: u32 = 24;

    fn schedule(&mut self, at_us: u64, event: E) {
        let place = self.events.insert(event) as u64;
        self.heap.push(Reverse((at_us, self.scheduled << Self::PLACE_BITS | place)));
        self.scheduled += 1;
    }

    fn pop(&mut self) -> Option<(u64, E)> {
        self.deepest = self.deepest.max(self.heap.len());
        let Reverse((at_us, key)) = self.heap.pop()?;
        Some((at_us, self.events.remove((key & ((1 << Self::PLACE_BITS) - 1)) as usize)))
    }
}

/// The same events through a bare heap: how many were taken, how many lay ahead at most, and how long it took.
fn floor(hosts: u64, bare: &Bare) -> ((u64, usize), f64) {
    const DELAYS: usize = 1 << 16;
    let draws = Draws::new(1);
    let lognormal = |median, p99| {
        Sampler::new(&Distribution::Lognormal(Lognormal {
            median: Length::from_ms(median),
            p99: Length::from_ms(p99),
        }))
    };
    let table = |sampler: &Sampler| -> Vec<u64> {
        (0..DELAYS as u64).map(|n| sampler.at(draws.bits(Label::Latency, 0, n))).collect()
    };
    let exponential = |mean_us: f64| -> Vec<u64> {
        (0..DELAYS as u64).map(|n| exponential_us(mean_us, draws.bits(Label::Arrival, 0, n))).collect()
    };
    let (link, database) = (table(&lognormal(15, 60)), table(&lognormal(3, 15)));
    let gaps = exponential(100_000.0);
    let WakeUps { scheduled, ahead_us, .. } = bare.wake_ups;
    let waits = exponential(ahead_us as f64 / scheduled.max(1) as f64);

    timed(|| {
        #[derive(Clone, Copy)]
        enum Kind {
            Arrival,
            Request,
            Other,
            Reply,
        }
        /// As large as an event of the rig, which carries its message.
        type Event = (Kind, [u64; EVENT_BYTES / 8 - 1]);
        let mut message = [0; EVENT_BYTES / 8 - 1];
        let mut event = |kind| {
            message[0] = u64::wrapping_add(message[0], 1);
            (kind, message)
        };
        let mut queue: BareHeap<Event> =
            BareHeap { heap: BinaryHeap::new(), events: Slab::new(), scheduled: 0, deepest: 0 };
        let mut next = 0usize;
        let mut delay = |table: &[u64]| {
            next = next.wrapping_add(0x9e37_79b9) & (DELAYS - 1);
            table[next]
        };
        for _ in 0..hosts {
            queue.schedule(delay(&gaps), event(Kind::Arrival));
        }
        let (mut to_come, mut sent) = (bare.arrivals.saturating_sub(hosts), 0);
        let (mut wake_ups_owed, mut others_owed) = (0, 0);
        let mut taken = 0;
        while taken < bare.taken
            && let Some((now, (kind, message))) = queue.pop()
        {
            taken += 1;
            black_box(message);
            match kind {
                Kind::Arrival => {
                    if to_come > 0 {
                        to_come -= 1;
                        queue.schedule(now + delay(&gaps), event(Kind::Arrival));
                    }
                    sent += bare.attempts;
                    while sent >= bare.arrivals {
                        sent -= bare.arrivals;
                        queue.schedule(now + delay(&link), event(Kind::Request));
                    }
                    wake_ups_owed += scheduled;
                    while wake_ups_owed >= bare.arrivals {
                        wake_ups_owed -= bare.arrivals;
                        queue.schedule(now + delay(&waits), event(Kind::Other));
                    }
                }
                Kind::Request => {
                    queue.schedule(now + delay(&database) + delay(&link), event(Kind::Reply));
                    others_owed += bare.others;
                    while others_owed >= bare.attempts {
                        others_owed -= bare.attempts;
                        queue.schedule(now + delay(&database), event(Kind::Other));
                    }
                }
                Kind::Other | Kind::Reply => {}
            }
        }
        (taken, queue.deepest)
    })
}

/// Bytes in use by a world of so many hosts of which none has done anything.
fn idle_bytes(hosts: u64) -> usize {
    let mut scenario = scenario(hosts, 1, "sealed");
    scenario.workload.clear();
    let plan = Plan::new(&scenario, 1);
    let terms = Terms { critical_timeout_us: 500_000, ..Terms::default() };
    IS_ON.store(true, Ordering::Relaxed);
    let before = IN_USE.load(Ordering::Relaxed);
    let world = World::new(&plan, Sealed, Recorder::new(&terms, HistoryMode::None));
    let bytes = IN_USE.load(Ordering::Relaxed).wrapping_sub(before);
    drop(black_box(world));
    IS_ON.store(false, Ordering::Relaxed);
    bytes
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let at = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let (hosts, seconds, rounds) = (at(0, 10_000), at(1, 60), at(2, 3));
    println!(
        "{hosts} hosts, 10 operations a second each, {seconds} simulated seconds, {rounds} rounds, checks on, history off"
    );
    let (mut sealed_ratios, mut modelled_ratios) = (Vec::new(), Vec::new());
    let mut passed = true;
    for round in 1..=rounds {
        let (modelled, wake_ups, modelled_wall) = rig(hosts, seconds, "modelled");
        let ((events, deepest), floor_wall) = floor(hosts, &Bare::of(&modelled, wake_ups));
        let (sealed, _, sealed_wall) = rig(hosts, seconds, "sealed");
        assert_eq!(modelled.bytes_sent, sealed.bytes_sent, "modelled frames have the size of sealed ones");
        assert_eq!(modelled.counts, sealed.counts, "the cipher changes nothing but its cost");
        passed &= modelled.verdict == Verdict::Pass && sealed.verdict == Verdict::Pass;
        let operations = modelled.counts.planned();
        println!(
            "round {round}: {operations} operations, verdict {} / {}; events {} in the rig, {events} in the floor, \
             of which at most {deepest} at once",
            modelled.verdict, sealed.verdict, modelled.kernel_events
        );
        let line = |name: &str, wall: f64| {
            println!(
                "  {name:9} {wall:7.2} s  {:6.3} us an operation  {:5.2} million operations a second  ratio {:5.2}",
                wall * 1e6 / operations as f64,
                operations as f64 / wall / 1e6,
                wall / floor_wall
            );
        };
        line("floor", floor_wall);
        line("modelled", modelled_wall);
        line("sealed", sealed_wall);
        modelled_ratios.push(modelled_wall / floor_wall);
        sealed_ratios.push(sealed_wall / floor_wall);
    }
    let (few, many) = (idle_bytes(1_000), idle_bytes(10_000));
    let bounded = |what: &str, is: f64, bound: f64, rest: &str| {
        let kept = is <= bound;
        println!("{what}: {is:.2} (at most {bound}{rest}){}", if kept { "" } else { "  EXCEEDED" });
        kept
    };
    let kept = [
        bounded("sealed to floor, median", median(sealed_ratios), 23.0, ", aim 9"),
        bounded("modelled to floor, median", median(modelled_ratios), 9.0, ", aim 2.3"),
        bounded("bytes of an idle host", many.saturating_sub(few) as f64 / 9_000.0, 2_048.0, ""),
    ];
    if !passed {
        println!("a run did not pass");
    }
    if passed && kept.iter().all(|kept| *kept) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
