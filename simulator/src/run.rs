//! One run from plan to result.

mod provider;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync_core::recording::Tape;

use crate::check::peers::{Outside, PeerTerms};
use crate::check::{Recovery, Terms};
use crate::draw::Draws;
use crate::history::{Event, Kind, What};
use crate::latency::{Latencies, Percentiles, TypePercentiles};
use crate::own_engine::PeerEngines;
use crate::own_resolvers::OwnResolvers;
use crate::peer_figures::{PeerFigures, PeerMeter};
use crate::peer_schema::schema;
use crate::plan::{Action, Plan};
use crate::recorder::{Counts, Recorder};
use crate::scenario::model::{Fault, Figure, Frames, HistoryMode, Injection, Peers, Scenario};
use crate::verdict::{Judgement, Verdict};
use crate::virtual_rig::OBSERVABLE;
use crate::virtual_rig::peers::own::{self, OwnWorld};
use crate::virtual_rig::peers::{Healthy, PeerVariant, PeerWorld};
use crate::virtual_rig::rotation::rotations;
use crate::virtual_rig::search::{Named, canaries, is_demanded};
use crate::virtual_rig::variant::{Modelled, Sealed, Variant, WorldKeys};
use crate::virtual_rig::world::{Observer as _, RunFigures, World};
use crate::zoo;
use sync_core::limits;
use sync_core::peer_sync::schema::{Policy, Table};

/// What came of a run. Everything in it follows from the plan: nothing depends on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Version of this format.
    pub format: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// What it shows.
    pub about: String,
    /// Seed of every draw.
    pub seed: u64,
    /// The planted defect, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defect: Option<u32>,
    /// Where it ran: `virtual` or `live`.
    pub rig: String,
    /// The real servers it ran against; none in the virtual rig.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerVersion>,
    /// What a reader has to know to judge the result rightly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The worst of what is demanded.
    pub verdict: Verdict,
    /// The critical timeout.
    pub critical_timeout_us: u64,
    /// What the checks say.
    pub properties: Vec<Judgement>,
    /// What came of the bounds.
    pub thresholds: Vec<Threshold>,
    /// How many operations of which kind.
    pub counts: Counts,
    /// How long critical operations took.
    pub critical: Percentiles,
    /// How long all others took.
    pub normal: Percentiles,
    /// The same for each lane and type; none for a run that keeps no history.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_type: Vec<TypePercentiles>,
    /// What a run among peers cost and came to; none for one of hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<PeerFigures>,
    /// Length of the run in simulated time; in the live rig, in real time.
    pub simulated_us: u64,
    /// Events that the kernel took.
    pub kernel_events: u64,
    /// Bytes of HTTP bodies sent.
    pub bytes_sent: u64,
    /// Messages published to subscribers of critical updates.
    pub published: u64,
    /// Events of the history.
    pub history_events: u64,
    /// Hash over the full history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_digest: Option<String>,
}

/// A server and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerVersion {
    /// What it is, such as `PostgreSQL`.
    pub name: String,
    /// As it says itself.
    pub version: String,
}

/// A figure and its bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// Which figure.
    pub figure: String,
    /// Its bound, in words with a unit.
    pub bound: String,
    /// What it was.
    pub actual: String,
    /// Whether it kept the bound.
    pub verdict: Verdict,
}

/// A run that came to no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The rig: `virtual` or `live`.
    pub rig: String,
    /// The planted defect, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defect: Option<u32>,
    /// Always [`Verdict::Unknown`].
    pub verdict: Verdict,
    /// Why it came to none.
    pub why: String,
}

impl Undecided {
    /// Of this plan.
    pub fn new(plan: &Plan, rig: &str, why: String) -> Self {
        Self {
            scenario: plan.world.name.clone(),
            seed: plan.seed,
            rig: rig.to_owned(),
            defect: plan.defect,
            verdict: Verdict::Unknown,
            why,
        }
    }
}

/// A run with all that is written about it.
pub struct RunResult {
    /// What came of it.
    pub summary: Summary,
    /// The history as far as it is kept, one JSON object a line.
    pub history: Vec<u8>,
    /// Latencies in full.
    pub latencies: Latencies,
    /// Figures that no event carries, and the final content.
    pub figures: RunFigures,
    /// The folder in which the run was recorded, if it was: moved into the run's own when that is written.
    pub recording: Option<PathBuf>,
}

impl RunResult {
    /// Whether another run gave the same, byte for byte.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.summary == other.summary
            && self.history == other.history
            && self.figures == other.figures
            && self.latencies.to_hgrm() == other.latencies.to_hgrm()
    }
}

/// Carries a plan out in the virtual rig.
pub fn run(plan: &Plan) -> RunResult {
    run_with(plan, &OwnResolvers::default())
}

/// The same with these resolvers.
pub fn run_with(plan: &Plan, own: &OwnResolvers) -> RunResult {
    run_recorded(plan, own, None)
}

/// The same, with every call of an engine written down if there is a tape.
pub fn run_recorded(plan: &Plan, own: &OwnResolvers, tape: Option<Tape>) -> RunResult {
    if let Some(peers) = &plan.world.peers {
        return match plan.defect.and_then(zoo::planted_among_peers) {
            Some(planted) => run_peers(plan, peers, own, planted),
            None => run_peers(plan, peers, own, Healthy),
        };
    }
    match (plan.defect.and_then(zoo::planted), plan.world.network.frames) {
        (Some(planted), _) => run_in(plan, planted, tape),
        (None, Frames::Sealed) => run_in(plan, Sealed, tape),
        (None, Frames::Modelled) => run_in(plan, Modelled, tape),
    }
}

fn run_peers<V: PeerVariant>(plan: &Plan, peers: &Peers, own: &OwnResolvers, variant: V) -> RunResult {
    let recorder = Recorder::new(&terms(plan), plan.world.history);
    let (recorder, figures) = PeerWorld::new(plan, peers, own, variant, recorder).run(plan);
    conclude(plan, recorder, figures, &Ran::virtually())
}

/// Carries a plan of peers out with own engines, and judges it from the outside. None if the plan has no peers; whether
/// such engines can carry it out says [`own::cannot`].
pub fn run_own(plan: &Plan, engines: &dyn PeerEngines) -> Option<RunResult> {
    let peers = plan.world.peers.as_ref()?;
    let mut terms = terms(plan);
    if let Some(terms) = &mut terms.peers {
        terms.outside = Some(Outside { joins: engines.joins_versions() });
        // Nobody's versions are compared.
        terms.last_writer_tables.clear();
        terms.one_wins_tables.clear();
        terms.policies.clear();
    }
    let recorder = Recorder::new(&terms, plan.world.history);
    let (recorder, figures) = OwnWorld::new(plan, peers, engines, recorder).run(plan);
    let notes = vec!["the peers have an engine of their own and are judged from the outside".to_owned()];
    let ran = Ran { observable: own::OBSERVABLE.to_vec(), notes, ..Ran::virtually() };
    Some(conclude(plan, recorder, figures, &ran))
}

fn peer_terms(scenario: &Scenario, peers: &Peers) -> PeerTerms {
    let converge_within = scenario.expect.converge_within.unwrap_or(scenario.settle);
    let schema = schema(peers).ok();
    let tables = |test: fn(&Policy) -> bool| {
        let tables = schema.iter().flat_map(|schema| schema.tables()).filter(|table| test(&table.policy));
        tables.map(|table| table.name.as_str().to_owned()).collect()
    };
    let of = |table: &Table| (table.name.as_str().to_owned(), table.policy.clone());
    PeerTerms {
        count: peers.count,
        stamp_ahead_us_max: peers.stamp_ahead_max.as_us(),
        converge_within_us: converge_within.as_us(),
        transaction_rows_max: limits::TRANSACTION_ROWS_MAX,
        last_writer_tables: tables(|policy| *policy == Policy::LastWriterByRow),
        one_wins_tables: tables(|policy| matches!(policy, Policy::FirstWriter | Policy::NodePriority(_))),
        policies: schema.iter().flat_map(|schema| schema.tables()).map(of).collect(),
        staleness_us_max: scenario.expect.staleness_max.map(|bound| bound.as_us()),
        outside: None,
    }
}

fn run_in<V: Variant>(plan: &Plan, variant: V, tape: Option<Tape>) -> RunResult {
    let recorder = Recorder::new(&terms(plan), plan.world.history).measuring(&plan.world.expect);
    let (recorder, figures) = World::recorded(plan, variant, recorder, tape).run(plan);
    conclude(plan, recorder, figures, &Ran::virtually())
}

/// Where and how a plan was carried out.
pub(crate) struct Ran {
    pub(crate) rig: &'static str,
    pub(crate) observable: Vec<Kind>,
    pub(crate) servers: Vec<ServerVersion>,
    pub(crate) notes: Vec<String>,
    /// Further figures with a bound, judged whether or not the scenario demands them.
    pub(crate) thresholds: Vec<Threshold>,
    /// Secrets that the rig has beside the keys of the plan.
    pub(crate) secrets: Vec<Named>,
}

impl Ran {
    fn virtually() -> Self {
        Self {
            rig: "virtual",
            observable: OBSERVABLE.to_vec(),
            servers: Vec::new(),
            notes: Vec::new(),
            thresholds: Vec::new(),
            secrets: Vec::new(),
        }
    }
}

pub(crate) fn terms(plan: &Plan) -> Terms {
    let scenario = &plan.world;
    let cache_expiry_us = Some(scenario.main_server.cache_expiry.span().as_us()).filter(|us| *us > 0);
    Terms {
        demanded: scenario.expect.properties.clone(),
        critical_timeout_us: scenario.hosts.critical_timeout.span().as_us(),
        critical_miss_ppm_max: scenario.expect.critical_miss_ratio_max.ppm(),
        drift_ppm: scenario.clocks.drift_ppm,
        lateness_us_max: 0,
        freshness_window_us: scenario.main_server.freshness_window.span().as_us(),
        clock_off_us_max: clock_off_us_max(plan),
        cache_expiry_us,
        stale_reads_us_max: scenario
            .expect
            .stale_reads_max
            .map_or(cache_expiry_us.unwrap_or(u64::MAX), |bound| bound.span().as_us()),
        critical_slots: scenario.hosts.critical_slots as usize,
        queue_max: scenario.hosts.max_queue_size as usize,
        blocking_us_max: scenario.expect.critical_blocking_max.map_or(0, |bound| bound.span().as_us()),
        stall_us_max: scenario.expect.normal_stall_max.map(|bound| bound.span().as_us()),
        primaries_lost_max: scenario.expect.primaries_lost_max,
        peers: scenario.peers.as_ref().map(|peers| peer_terms(scenario, peers)),
        recovery: scenario.expect.recovery.as_ref().map(|recovery| Recovery {
            from_us: recovery.overload_ends.as_us() + recovery.within.as_us(),
            goodput_ppm_min: recovery.goodput_min.ppm(),
            latency_us_max: recovery.latency_max.as_us(),
        }),
    }
}

/// How far a host's clock may get from the world's: offset, drift and steps together.
fn clock_off_us_max(plan: &Plan) -> u64 {
    let scenario = &plan.world;
    let length_us = scenario.duration.span().as_us() + scenario.settle.span().as_us();
    let drift_us = u128::from(length_us) * u128::from(scenario.clocks.drift_ppm) / 1_000_000;
    let steps = plan.actions.iter().filter_map(|action| match action {
        Action::Inject(_, Fault { inject: Injection::ClockStep(step), .. }) => Some(step.by),
        _ => None,
    });
    let steps_us: u64 = steps.map(|by| by.as_us().unsigned_abs()).sum();
    scenario.clocks.skew.span().as_us() + u64::try_from(drift_us).unwrap_or(u64::MAX / 4) + steps_us
}

/// Judges what was recorded.
pub(crate) fn conclude(plan: &Plan, recorder: Recorder, figures: RunFigures, ran: &Ran) -> RunResult {
    let scenario = &plan.world;
    let recorder = search_history(plan, recorder, figures.simulated_us, &ran.secrets);
    let Recorder { jury, latencies, counts, overload, peers, history } = recorder;
    let peers = peers.map(PeerMeter::finish);
    // Modelled frames are refused when altered because the model says so: that shows nothing.
    let modelled = scenario.network.frames == Frames::Modelled;
    let observable: Vec<_> =
        ran.observable.iter().copied().filter(|kind| !(modelled && *kind == Kind::Judged)).collect();
    let properties = jury.finish(&observable, &scenario.expect.properties);
    let (critical, normal) = (latencies.critical.percentiles(), latencies.normal.percentiles());
    let mut thresholds = vec![at_rest(scenario, &counts)];
    thresholds.extend(ran.thresholds.iter().cloned());
    thresholds.extend(overload.map(|overload| overload.threshold()));
    thresholds.extend(peers.iter().filter_map(|peers| copies(scenario, peers)));
    thresholds
        .extend(scenario.expect.provider.iter().flat_map(|bounds| provider::judge(bounds, figures.provider)));
    for (figure, bound) in &scenario.expect.at_most {
        thresholds.push(threshold(*figure, bound.span().as_us(), &critical, &normal));
    }
    let verdict = properties
        .iter()
        .filter(|judgement| judgement.demanded)
        .map(|judgement| judgement.verdict)
        .chain(thresholds.iter().map(|threshold| threshold.verdict))
        .fold(Verdict::Pass, Verdict::and);
    let summary = Summary {
        format: 1,
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        seed: plan.seed,
        defect: plan.defect,
        rig: ran.rig.to_owned(),
        servers: ran.servers.clone(),
        notes: ran.notes.clone(),
        verdict,
        critical_timeout_us: scenario.hosts.critical_timeout.span().as_us(),
        properties,
        thresholds,
        counts,
        critical,
        normal,
        by_type: latencies.types(),
        peers,
        simulated_us: figures.simulated_us,
        kernel_events: figures.kernel_events,
        bytes_sent: figures.bytes_sent,
        published: figures.published,
        history_events: history.events(),
        history_digest: history.digest(),
    };
    let text = if scenario.history == HistoryMode::None { Vec::new() } else { history.text().to_vec() };
    RunResult { summary, history: text, latencies, figures, recording: None }
}

/// Looks for the run's secrets in the history as it is kept.
fn search_history(plan: &Plan, mut recorder: Recorder, at_us: u64, secrets: &[Named]) -> Recorder {
    if is_demanded(plan) && !recorder.history.text().is_empty() {
        let keys = WorldKeys::rotating(Draws::new(plan.seed), rotations(plan));
        let seen = canaries(plan, &keys, secrets).seen_in(recorder.history.text()).map(str::to_owned);
        let place = "history".to_owned();
        recorder.event(Event { at_us, what: What::CanariesSought { place: place.clone(), texts: 1 } });
        if let Some(secret) = seen {
            recorder.event(Event { at_us, what: What::CanarySeen { place, secret, op: None } });
        }
    }
    recorder
}

/// Always judged: once the faults are over, everything comes to an end within the bound.
fn at_rest(scenario: &Scenario, counts: &Counts) -> Threshold {
    Threshold {
        figure: "at rest after heal".to_owned(),
        bound: format!("within {}", scenario.settle),
        actual: match counts.open {
            0 => "yes".to_owned(),
            open => format!("{open} operations without result"),
        },
        verdict: if counts.open == 0 { Verdict::Pass } else { Verdict::Fail },
    }
}

/// The most copies that any peer received of a row for each that it needed, where the scenario bounds them.
fn copies(scenario: &Scenario, peers: &PeerFigures) -> Option<Threshold> {
    let bound = scenario.expect.copies_max?;
    let most = peers.receivers.iter().filter_map(|receiver| receiver.copies_thousandths).max();
    let (actual, verdict) = match most {
        Some(most) if most <= bound.per_mille() => (thousandths(most), Verdict::Pass),
        Some(most) => (thousandths(most), Verdict::Fail),
        None => ("no row was needed".to_owned(), Verdict::Unknown),
    };
    Some(Threshold {
        figure: "copies for each receiver".to_owned(),
        bound: format!("at most {bound}"),
        actual,
        verdict,
    })
}

/// A ratio in thousandths as a person reads it.
pub fn thousandths(ratio: u64) -> String {
    format!("{}.{:03}x", ratio / 1_000, ratio % 1_000)
}

fn threshold(figure: Figure, bound_us: u64, critical: &Percentiles, normal: &Percentiles) -> Threshold {
    let (name, lane, value) = match figure {
        Figure::CriticalP50 => ("critical p50", critical, critical.corrected.p50_us),
        Figure::CriticalP95 => ("critical p95", critical, critical.corrected.p95_us),
        Figure::CriticalP99 => ("critical p99", critical, critical.corrected.p99_us),
        Figure::CriticalP999 => ("critical p99.9", critical, critical.corrected.p999_us),
        Figure::NormalP50 => ("normal p50", normal, normal.corrected.p50_us),
        Figure::NormalP95 => ("normal p95", normal, normal.corrected.p95_us),
        Figure::NormalP99 => ("normal p99", normal, normal.corrected.p99_us),
        Figure::NormalP999 => ("normal p99.9", normal, normal.corrected.p999_us),
    };
    let (actual, verdict) = match value {
        Some(us) if us <= bound_us => (ms(us), Verdict::Pass),
        Some(us) => (ms(us), Verdict::Fail),
        None if lane.measured + lane.censored == 0 => ("nothing measured".to_owned(), Verdict::Unknown),
        None => ("longer than every deadline (censored)".to_owned(), Verdict::Fail),
    };
    Threshold { figure: name.to_owned(), bound: format!("at most {}", ms(bound_us)), actual, verdict }
}

/// Microseconds as milliseconds with what precision helps.
pub fn ms(us: u64) -> String {
    match us {
        1..10 => format!("{us} us"),
        0..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}
