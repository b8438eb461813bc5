//! Checks: one property a file, each an online fold over events.
//!
//! A check sees events and nothing else: no engine, no rig, no clock. Its memory is bounded by the
//! number of hosts, keys and operations under way, never by the length of the run. It names the
//! kinds of event without which it can say nothing; in a rig that cannot observe one of them its
//! verdict is unknown, never pass.

mod line;
mod p05_acknowledged;
mod p06_no_phantom;
mod p06_own_vectors;
mod p11_key_order;
mod p14_exactly_once;
mod p16_atomic_batches;
mod p19_critical_deadline;
mod p20_no_inversion;
mod p21_queue_bound;
mod p22_recovery;
mod p23_cache_coherence;
mod p23_updates;
mod p24_single_flight;
mod p25_secrets;
mod p26_envelope;
mod p27_iv_discipline;
mod p28_key_rotation;
mod p29_validation_gate;
mod p30_honesty;
mod p31_one_primary;
pub mod peers;
mod rows;
pub use p22_recovery::Recovery;
pub(crate) use p30_honesty::moment;
#[cfg(test)]
mod testing;

use crate::history::{Event, Kind, OpRef, StateName};
use crate::verdict::{Finding, Judgement, Verdict};

/// A property that is judged from events.
pub trait Check {
    /// Which property.
    fn property(&self) -> Property;

    /// Takes one event; they come in the order of their happening.
    fn observe(&mut self, event: &Event, findings: &mut Findings);

    /// Reads what an event about this host will need, and about this state if it is about one; changes nothing.
    fn warm(&self, _host: u32, _state: Option<&StateName>) -> u64 {
        0
    }

    /// Called once after the last event. Says how much was looked at.
    fn finish(&mut self, findings: &mut Findings) -> Basis;
}

/// A property: its id, its name, and what a check of it needs to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// `P5` and so on.
    pub id: &'static str,
    /// A few words.
    pub name: &'static str,
    /// One sentence.
    pub statement: &'static str,
    /// Without these it is unknown.
    pub needs: &'static [Kind],
}

/// Violations, the first of them in full and all of them counted.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    count: u64,
}

impl Findings {
    /// Records a violation; the message is only made for those that are kept.
    pub fn add(&mut self, at_us: u64, op: Option<OpRef>, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.kept.len() < FINDINGS_KEPT {
            self.kept.push(Finding { at_us, op, message: message() });
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// How much a check looked at: nothing at all decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// How many.
    pub count: u64,
    /// Of what, in words that begin with the number.
    pub words: String,
    /// What would have been a violation and was counted instead, for a reason that the property states.
    pub excused: u64,
}

impl Basis {
    fn new(count: u64, of_what: &str) -> Self {
        Self { count, words: format!("{count} {of_what}"), excused: 0 }
    }

    /// So many more were excused; the words say so if there were any.
    fn excusing(mut self, count: u64, why: &str) -> Self {
        if count > 0 {
            self.words += &format!("; {count} {why}");
        }
        self.excused += count;
        self
    }
}

/// What checks need to know of the scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The properties demanded. Checks that cost something on every operation sit only when they are.
    pub demanded: Vec<String>,
    /// From the asking to the result of a critical operation, in microseconds.
    pub critical_timeout_us: u64,
    /// Misses allowed, in parts per million of critical operations.
    pub critical_miss_ppm_max: u32,
    /// How much a host's clock may run slow, in parts per million: its timeout is that much longer.
    pub drift_ppm: u32,
    /// How late the rig itself may be in handing over arrivals and waking hosts, in microseconds: 0 where it
    /// makes the time, more in real time.
    pub lateness_us_max: u64,
    /// How far the time on a request may lie from the server's clock, in microseconds.
    pub freshness_window_us: u64,
    /// How far a host's clock may lie from the server's at any moment of the run, in microseconds.
    pub clock_off_us_max: u64,
    /// Lifetime of what the cache holds, in microseconds, if it ends.
    pub cache_expiry_us: Option<u64>,
    /// How long the cache may serve a value after a newer one took effect, in microseconds.
    pub stale_reads_us_max: u64,
    /// Slots of a host that only critical operations use.
    pub critical_slots: usize,
    /// Operations that may wait at a host.
    pub queue_max: usize,
    /// How long a critical operation may wait for work that is not critical, in microseconds.
    pub blocking_us_max: u64,
    /// How long the work of a host that is not critical may stand still, in microseconds, if that is bounded.
    pub stall_us_max: Option<u64>,
    /// How often a primary may lose its map, if that is bounded.
    pub primaries_lost_max: Option<u32>,
    /// When goodput has to be back after an overload, if it is stated.
    pub recovery: Option<Recovery>,
    /// Of a scenario among peers.
    pub peers: Option<peers::PeerTerms>,
}

/// Tickets of one stream are consecutive, those of two streams far apart: splitting them keeps runs few.
fn split(ticket: u64) -> (u64, u64) {
    (ticket >> 40, ticket & ((1 << 40) - 1))
}

/// An operation in words, or that there is none.
fn said(op: Option<OpRef>) -> String {
    op.map_or_else(|| "no operation".to_owned(), |op| op.to_string())
}

/// Every check there is. Those of `ALWAYS` judge every run, the others only when they are demanded.
pub fn all(terms: &Terms) -> Vec<Box<dyn Check>> {
    if let Some(terms) = &terms.peers {
        return peers::all(terms);
    }
    vec![
        Box::new(p05_acknowledged::Acknowledged::default()),
        Box::new(p06_no_phantom::NoPhantom::default()),
        Box::new(p06_own_vectors::OwnVectors::default()),
        Box::new(p11_key_order::KeyOrder::default()),
        Box::new(p14_exactly_once::ExactlyOnce::default()),
        Box::new(p16_atomic_batches::AtomicBatches::default()),
        Box::new(p19_critical_deadline::CriticalDeadline::new(terms)),
        Box::new(p20_no_inversion::NoInversion::new(terms)),
        Box::new(p21_queue_bound::QueueBound::new(terms)),
        Box::new(p22_recovery::Recovers::new(terms)),
        Box::new(p23_cache_coherence::CacheCoherence::new(terms)),
        Box::new(p23_updates::Updates::default()),
        Box::new(p24_single_flight::SingleFlight::default()),
        Box::new(p25_secrets::Secrets::default()),
        Box::new(p26_envelope::EnvelopeIntegrity::new(terms)),
        Box::new(p27_iv_discipline::IvDiscipline::default()),
        Box::new(p28_key_rotation::KeyRotation::default()),
        Box::new(p29_validation_gate::ValidationGate::default()),
        Box::new(p30_honesty::Honesty::new(terms)),
        Box::new(p31_one_primary::OnePrimary::new(terms)),
    ]
}

/// The properties in the order of their numbers.
pub fn properties() -> Vec<Property> {
    all(&Terms::default()).iter().map(|check| check.property()).collect()
}

/// Runs every check over one run.
pub struct Jury {
    seats: Vec<Seat>,
    /// Kinds that any check needs.
    needs: u64,
}

struct Seat {
    check: Box<dyn Check>,
    property: Property,
    findings: Findings,
    needs: u64,
    /// Whether it sees only what is told when the run is over.
    is_deferred: bool,
}

impl Jury {
    /// The same, where what happens inside main servers is told when a run is over: checks that need that see
    /// [`observe_late`](Self::observe_late) and nothing else.
    pub fn deferring(terms: &Terms) -> Self {
        let mut jury = Self::new(terms);
        for seat in &mut jury.seats {
            seat.is_deferred = seat.property.needs.iter().any(|kind| INSIDE.contains(kind));
        }
        jury
    }

    /// A jury of the checks that judge every run and of those demanded.
    pub fn new(terms: &Terms) -> Self {
        let sits = |property: &Property| {
            ALWAYS.contains(&property.id) || terms.demanded.iter().any(|id| id == property.id)
        };
        let checks = all(terms).into_iter().map(|check| (check.property(), check));
        let seats = checks.filter(|(property, _)| sits(property)).map(|(property, check)| {
            let needs = property.needs.iter().fold(0, |bits, kind| bits | 1u64 << *kind as u64);
            Seat { check, property, findings: Findings::default(), needs, is_deferred: false }
        });
        let seats: Vec<_> = seats.collect();
        let needs = seats.iter().fold(0, |bits, seat| bits | seat.needs);
        Self { seats, needs }
    }

    /// Shows one event to every check that needs its kind. Says whether one of them found a violation.
    pub fn observe(&mut self, event: &Event) -> bool {
        self.show(event, false)
    }

    /// Reads what an event about this host will need, and about this state if it is about one; changes nothing.
    pub fn warm(&self, host: u32, state: Option<&StateName>) -> u64 {
        self.seats.iter().map(|seat| seat.check.warm(host, state)).fold(0, u64::wrapping_add)
    }

    /// Shows one event to the checks that see only what is told when the run is over, effects included; in the order of
    /// their happening among themselves.
    pub fn observe_late(&mut self, event: &Event) -> bool {
        self.show(event, true)
    }

    fn show(&mut self, event: &Event, late: bool) -> bool {
        let bit = 1u64 << event.what.kind() as u64;
        if self.needs & bit == 0 {
            return false;
        }
        let mut found = false;
        let sees = |seat: &&mut Seat| seat.needs & bit != 0 && seat.is_deferred == late;
        for seat in self.seats.iter_mut().filter(sees) {
            let before = seat.findings.count;
            seat.check.observe(event, &mut seat.findings);
            found |= seat.findings.count > before;
        }
        found
    }

    /// Violations so far.
    pub fn violations(&self) -> u64 {
        self.seats.iter().map(|seat| seat.findings.count).sum()
    }

    /// The verdicts, given what the rig can observe and which properties the scenario demands.
    pub fn finish(self, observable: &[Kind], demanded: &[String]) -> Vec<Judgement> {
        self.seats.into_iter().map(|seat| seat.finish(observable, demanded)).collect()
    }
}

impl Seat {
    fn finish(mut self, observable: &[Kind], demanded: &[String]) -> Judgement {
        let blind: Vec<_> = self.property.needs.iter().filter(|kind| !observable.contains(kind)).collect();
        let Basis { count, words: mut basis, excused } = self.check.finish(&mut self.findings);
        let verdict = match (self.findings.count, blind.is_empty(), count) {
            (0, false, _) => {
                basis = format!("this rig cannot observe {blind:?}");
                Verdict::Unknown
            }
            (0, true, 0) => {
                basis += ": nothing to judge by";
                Verdict::Unknown
            }
            (0, true, _) => Verdict::Pass,
            _ => Verdict::Fail,
        };
        Judgement {
            property: self.property.id.to_owned(),
            verdict,
            demanded: demanded.iter().any(|id| id == self.property.id),
            basis,
            excused,
            violations: self.findings.count,
            findings: self.findings.kept,
        }
    }
}

/// What shows at main servers only.
pub const INSIDE: [Kind; 3] = [Kind::Committed, Kind::Read, Kind::WriteAnswered];
const FINDINGS_KEPT: usize = 5;
/// These judge every run, demanded or not.
const ALWAYS: [&str; 5] = ["P5", "P14", "P19", "P26", "P30"];
