//! Takes a run's events: shows them to the jury, measures, counts, and keeps the history.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::io::Write;

use rustc_hash::{FxHashMap, FxHasher};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{INSIDE, Jury, Terms};
use crate::history::{End, Event, OpRef, StateName, What};
use crate::latency::Latencies;
use crate::overload::Meter;
use crate::peer_figures::PeerMeter;
use crate::scenario::model::{Expect, HistoryMode};
use crate::virtual_rig::world::Observer;

/// Counts of one lane. planned = unsent + asked; asked = refused + ended + open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaneCounts {
    /// Operations that the workload intended.
    pub planned: u64,
    /// Of those, how many the generator could not hand over.
    pub unsent: u64,
    /// Of those, how many were handed to a session.
    pub sent: u64,
    /// Refused by the session at once.
    pub refused: u64,
    /// Acknowledged.
    pub completed: u64,
    /// Rejected by the server.
    pub rejected: u64,
    /// Without result at their deadline.
    pub deadline_exceeded: u64,
    /// Of those, how many were answered later.
    pub late: u64,
    /// Every attempt failed.
    pub failed: u64,
    /// Replaced by a newer value before they took effect.
    pub superseded: u64,
    /// Pushed out of a full queue.
    pub displaced: u64,
    /// Lost with their host.
    pub shut_down: u64,
}

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Critical operations.
    pub critical: LaneCounts,
    /// All other operations.
    pub normal: LaneCounts,
    /// Attempts.
    pub attempts: u64,
    /// Writes that took effect.
    pub effects: u64,
    /// Operations without a result when the run ended.
    pub open: u64,
}

/// Sees every event of a run.
pub struct Recorder {
    /// The checks.
    pub jury: Jury,
    /// Latencies.
    pub latencies: Latencies,
    /// Counts.
    pub counts: Counts,
    /// Measures the overload that the scenario speaks of, if it does.
    pub overload: Option<Meter>,
    /// Measures a run among peers.
    pub peers: Option<PeerMeter>,
    /// The history.
    pub history: History,
}

/// The history as far as it is kept.
pub struct History {
    mode: HistoryMode,
    /// The lines kept: all, or those of operations at fault.
    text: Vec<u8>,
    hasher: FxHasher,
    events: u64,
    recent: Recent,
}

/// The latest events of each operation, so that those of one that turns out to be at fault can still be kept.
#[derive(Default)]
struct Recent {
    lines: FxHashMap<OpRef, Vec<Vec<u8>>>,
    order: VecDeque<OpRef>,
    at_fault: FxHashMap<OpRef, ()>,
}

/// Operations whose events are remembered until they are known not to be at fault.
const RECENT_MAX: usize = 100_000;

impl Recorder {
    /// A recorder for a run under these terms.
    pub fn new(terms: &Terms, mode: HistoryMode) -> Self {
        Self {
            jury: Jury::new(terms),
            // A run that keeps no history is one of millions of operations, where every table counts.
            latencies: if mode == HistoryMode::None { Latencies::default() } else { Latencies::with_types() },
            counts: Counts::default(),
            overload: None,
            peers: terms.peers.as_ref().map(PeerMeter::new),
            history: History {
                mode,
                text: Vec::new(),
                hasher: FxHasher::default(),
                events: 0,
                recent: Recent::default(),
            },
        }
    }
}

impl Recorder {
    /// The same, with latencies by type whatever is kept of the history.
    #[must_use]
    pub fn with_types(self) -> Self {
        Self { latencies: Latencies::with_types(), ..self }
    }

    /// The same, with a jury that is told when the run is over what happened inside main servers ([`late`](Self::late)).
    #[must_use]
    pub fn deferring(self, terms: &Terms) -> Self {
        Self { jury: Jury::deferring(terms), ..self }
    }

    /// Takes an event that is told when the run is over, see [`Jury::observe_late`]. Effects are in the history already.
    pub fn late(&mut self, event: &Event) {
        let at_fault = self.jury.observe_late(event);
        if INSIDE.contains(&event.what.kind()) {
            self.history.keep(event, at_fault);
        }
    }

    /// The same, with what these expectations need measured.
    #[must_use]
    pub fn measuring(self, expect: &Expect) -> Self {
        Self { overload: expect.overload.as_ref().map(Meter::new), ..self }
    }
}

impl Observer for Recorder {
    fn warm(&self, host: u32, state: Option<&StateName>) -> u64 {
        self.jury.warm(host, state)
    }

    fn event(&mut self, event: Event) {
        self.counts.observe(&event);
        self.latencies.observe(&event);
        if let Some(peers) = &mut self.peers {
            peers.observe(&event);
        }
        if let Some(overload) = &mut self.overload {
            overload.observe(&event);
        }
        let at_fault = self.jury.observe(&event);
        self.history.keep(&event, at_fault);
    }
}

impl Counts {
    fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Asked { critical, .. } => {
                let lane = self.lane(*critical);
                lane.planned += 1;
                lane.sent += 1;
            }
            What::Unsent { critical, .. } => {
                let lane = self.lane(*critical);
                lane.planned += 1;
                lane.unsent += 1;
            }
            What::Refused { critical, .. } => self.lane(*critical).refused += 1,
            What::Sent { .. } => self.attempts += 1,
            What::Applied { .. } => self.effects += 1,
            What::Finished { critical, end, .. } => {
                let lane = self.lane(*critical);
                match end {
                    End::Done => lane.completed += 1,
                    End::Rejected => lane.rejected += 1,
                    End::DeadlineExceeded => lane.deadline_exceeded += 1,
                    End::Failed => lane.failed += 1,
                    End::Superseded => lane.superseded += 1,
                    End::Displaced => lane.displaced += 1,
                    End::ShutDown => lane.shut_down += 1,
                }
            }
            What::Late { critical, .. } => self.lane(*critical).late += 1,
            What::Settled { open } => self.open = *open,
            _ => {}
        }
    }

    fn lane(&mut self, critical: bool) -> &mut LaneCounts {
        if critical { &mut self.critical } else { &mut self.normal }
    }

    /// Operations of both lanes that the workload intended.
    pub fn planned(&self) -> u64 {
        self.critical.planned + self.normal.planned
    }
}

impl History {
    /// Events seen.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines kept, as JSON.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// A hash over every line of a full history; none when it was not written.
    pub fn digest(&self) -> Option<String> {
        (self.mode == HistoryMode::Full).then(|| format!("{:016x}", self.hasher.finish()))
    }

    fn keep(&mut self, event: &Event, at_fault: bool) {
        self.events += 1;
        match self.mode {
            HistoryMode::None => {}
            HistoryMode::Full => {
                let start = self.text.len();
                write_line(event, &mut self.text);
                self.hasher.write(&self.text[start..]);
            }
            HistoryMode::FailingKeys => {
                let mut line = Vec::new();
                write_line(event, &mut line);
                match event.what.op() {
                    // What concerns no operation is little and gives the frame.
                    None => self.text.extend(line),
                    Some(op) => self.recent.keep(op, line, at_fault, &mut self.text),
                }
            }
        }
    }
}

impl Recent {
    fn keep(&mut self, op: OpRef, line: Vec<u8>, at_fault: bool, text: &mut Vec<u8>) {
        if self.at_fault.contains_key(&op) {
            text.extend(line);
            return;
        }
        if at_fault {
            for earlier in self.lines.remove(&op).unwrap_or_default() {
                text.extend(earlier);
            }
            text.extend(line);
            self.at_fault.insert(op, ());
            return;
        }
        let lines = self.lines.entry(op).or_default();
        if lines.is_empty() {
            self.order.push_back(op);
        }
        lines.push(line);
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.lines.remove(&oldest);
        }
    }
}

fn write_line(event: &Event, out: &mut Vec<u8>) {
    // Plain data into memory: neither serialising nor writing can fail.
    let written = serde_json::to_writer(&mut *out, event);
    debug_assert!(written.is_ok());
    let written = out.write_all(b"\n");
    debug_assert!(written.is_ok());
}
