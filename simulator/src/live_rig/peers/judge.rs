//! What came of a run: its history, shown to the checks.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::peer_sync::row::RowId;
use sync_core::store::Content as HostContent;

use super::facts::Fact;
use super::history::{Commits, Telling};
use super::mesh::Sent;
use super::stage::Struck;
use super::told::Told;
use super::{OBSERVABLE, plan};
use crate::check;
use crate::history::peers::{FinalState, HeldRow, PeerWhat};
use crate::history::{Event, What};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::run::{Ran, RunResult, ServerVersion, Threshold, conclude, terms};
use crate::verdict::Verdict;
use crate::virtual_rig::world::{Observer as _, RunFigures, WakeUps};

/// What the run came to, before it is told.
pub(super) struct Carried {
    pub(super) start_us: u64,
    pub(super) length_us: u64,
    pub(super) stock: Vec<HeldRow>,
    pub(super) told: Vec<Told>,
    pub(super) sent: Vec<Sent>,
    pub(super) struck: Struck,
    pub(super) open: u64,
    pub(super) late_us_max: u64,
    pub(super) ends: Vec<Vec<(RowId, FinalState)>>,
    pub(super) facts: Vec<Vec<Fact>>,
    pub(super) committed: Vec<Commits>,
}

/// Puts the history together, shows it to the checks, and says what came of the run.
pub(super) fn judge(
    plan: &Plan,
    carried: Carried,
    versions: Vec<ServerVersion>,
    (count, isolated): (u32, bool),
) -> RunResult {
    let Carried { start_us, length_us, stock, told, sent, struck, open, late_us_max, ends, facts, committed } =
        carried;
    let bytes_sent =
        sent.iter().map(|(_, what)| if let PeerWhat::Sent { bytes, .. } = what { *bytes } else { 0 }).sum();
    let telling = Telling { start_us, peers: count, stock, told, facts, sent, committed };
    let mut recorder = Recorder::new(&terms(plan), plan.world.history);
    let events = telling.events();
    let kernel_events = events.len() as u64;
    let end_us = events.last().map_or(length_us, |last| last.at_us.max(length_us));
    events.into_iter().for_each(|event| recorder.event(event));
    let mut observe = |what| recorder.event(Event { at_us: end_us, what });
    observe(What::Settled { open });
    for (row, states) in final_rows(ends) {
        for (holds, nodes) in states {
            observe(What::Peer(PeerWhat::FinalRow { row: row.clone(), nodes, holds }));
        }
    }
    for (host, (arrivals, moments)) in (0..).zip(plan.count_arrivals(check::moment)) {
        if arrivals > 0 {
            observe(What::Planned { host, arrivals, moments });
        }
    }
    let figures = RunFigures {
        simulated_us: end_us,
        kernel_events,
        wake_ups: WakeUps::default(),
        bytes_sent,
        published: 0,
        provider: None,
        content: HostContent::default(),
    };
    let mut thresholds = vec![lateness(late_us_max)];
    thresholds.extend(struck.offences.into_iter().map(offence));
    let ran = Ran {
        rig: "live",
        observable: OBSERVABLE.to_vec(),
        servers: versions,
        notes: plan::notes(plan, isolated),
        thresholds,
        secrets: Vec::new(),
    };
    conclude(plan, recorder, figures, &ran)
}

/// What a row ends as, and which peers hold that.
type Contents = Vec<(Option<FinalState>, Vec<u32>)>;

/// For each row its different states, none for nothing, and the peers in each.
fn final_rows(ends: Vec<Vec<(RowId, FinalState)>>) -> BTreeMap<RowId, Contents> {
    let count = ends.len() as u32;
    let mut rows: BTreeMap<RowId, Contents> = BTreeMap::new();
    for (peer, held) in (0..).zip(ends) {
        for (row, state) in held {
            let states = rows.entry(row).or_default();
            match states.iter_mut().find(|(other, _)| other.as_ref() == Some(&state)) {
                Some((_, peers)) => peers.push(peer),
                None => states.push((Some(state), vec![peer])),
            }
        }
    }
    for states in rows.values_mut() {
        let told: BTreeSet<u32> = states.iter().flat_map(|(_, peers)| peers.iter().copied()).collect();
        let others: Vec<u32> = (0..count).filter(|peer| !told.contains(peer)).collect();
        if !others.is_empty() {
            states.push((None, others));
        }
    }
    rows
}

/// Whether the rig kept up with the plan. If not, nothing is shown by the run.
fn lateness(late_us_max: u64) -> Threshold {
    Threshold {
        figure: "lateness of the rig itself".to_owned(),
        bound: format!("{} ms", LATENESS_US_MAX / 1_000),
        actual: format!("{} ms", late_us_max / 1_000),
        verdict: if late_us_max > LATENESS_US_MAX { Verdict::Unknown } else { Verdict::Pass },
    }
}

fn offence(actual: String) -> Threshold {
    Threshold {
        figure: "starts and ends of peers".to_owned(),
        bound: "in order".to_owned(),
        actual,
        verdict: Verdict::Fail,
    }
}

/// How late the rig itself may be in handing over a transaction.
const LATENESS_US_MAX: u64 = 1_000_000;
