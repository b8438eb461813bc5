//! Plans: what a scenario and a seed come to, as readable text that can be carried out again.
//!
//! A plan is a world and a list of actions, each with a name of its own. It may hold generator
//! lines, which stand for the operations they generate; [`Plan::expand`] writes those out. Carrying
//! out a plan and its expansion gives the same history, and leaving one action out leaves every
//! draw of the others as it was.

mod text;

pub(crate) use text::FILE_BYTES_MAX;

use crate::arrivals::{Arrival, Generator, TICKET_STREAM_BIT, holds};
use crate::draw::Draws;
use crate::history::OpRef;
use crate::scenario::TracedAsk;
use crate::scenario::model::{Fault, MixEntry, Scenario, Statement, Transactions, Workload};
use crate::transactions::TransactionStream;
use serde::{Deserialize, Serialize};

pub use text::PlanError;

/// A world and what is done in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Seed of every draw.
    pub seed: u64,
    /// The planted defect, by its number in the zoo.
    pub defect: Option<u32>,
    /// The world, without workload and faults: those are actions.
    pub world: Scenario,
    /// What is done.
    pub actions: Vec<Action>,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Operations arrive; the number is the workload's place in the scenario and part of their names.
    Generate(u32, Workload),
    /// One operation arrives.
    Ask(Ask),
    /// Transactions arrive at peers; the number is the stream's place in the scenario and part of their names.
    Transact(u32, Transactions),
    /// One transaction arrives at a peer.
    Act(Act),
    /// Something goes wrong; the number is its place in the scenario.
    Inject(u32, Fault),
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Its name.
    pub op: OpRef,
    /// Its intended moment.
    pub at_us: u64,
    /// What it is.
    pub entry: MixEntry,
}

/// One transaction at a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// Its name; the host is the peer.
    pub op: OpRef,
    /// Its intended moment.
    pub at_us: u64,
    /// What it is.
    pub body: Body,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// In which session of its peer.
    pub session: u32,
    /// From the last statement to the commit, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open_us: u64,
    /// Its statements.
    #[serde(rename = "do")]
    pub statements: Vec<Statement>,
}

impl Plan {
    /// The plan of a scenario under a seed.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut world = scenario.clone();
        let workloads = std::mem::take(&mut world.workload);
        let traces = std::mem::take(&mut world.traces);
        // Their operations are written out, in streams of their own behind those of the workloads.
        let traced = (workloads.len() as u64..).zip(traces).flat_map(|(stream, trace)| {
            let mut ordinals = vec![0; scenario.topology.hosts as usize];
            trace.operations.into_iter().filter_map(move |TracedAsk { host, at_us, entry }| {
                let ordinal = ordinals.get_mut(host as usize)?;
                let ticket = stream << TICKET_STREAM_BIT | *ordinal;
                *ordinal += 1;
                Some(Action::Ask(Ask { op: OpRef { host, ticket }, at_us, entry }))
            })
        });
        let transactions = std::mem::take(&mut world.transactions);
        let steps = std::mem::take(&mut world.steps);
        // In a stream of their own behind those that are drawn.
        let stream = transactions.len() as u64;
        let mut ordinals = std::collections::BTreeMap::<u32, u64>::new();
        let stepped = steps.into_iter().map(move |step| {
            let ordinal = ordinals.entry(step.peer).or_default();
            let op = OpRef { host: step.peer, ticket: stream << TICKET_STREAM_BIT | *ordinal };
            *ordinal += 1;
            let open_us = step.open_for.as_us();
            let body = Body { session: step.session, open_us, statements: step.statements };
            Action::Act(Act { op, at_us: step.at.as_us(), body })
        });
        let faults = std::mem::take(&mut world.faults);
        let actions = (0..)
            .zip(workloads)
            .map(|(number, workload)| Action::Generate(number, workload))
            .chain(traced)
            .chain((0..).zip(transactions).map(|(number, stream)| Action::Transact(number, stream)))
            .chain(stepped)
            .chain((0..).zip(faults).map(|(number, fault)| Action::Inject(number, fault)))
            .collect();
        Self { seed, defect: None, world, actions }
    }

    /// The same plan with every generator line written out.
    #[must_use]
    pub fn expand(&self) -> Self {
        let mut actions = Vec::new();
        for action in &self.actions {
            match action {
                Action::Generate(number, workload) => {
                    let mut asks = Vec::new();
                    self.each_arrival(*number, workload, |generator, arrival| {
                        let entry = generator.entry(Draws::new(self.seed), arrival.op).clone();
                        asks.push(Ask { op: arrival.op, at_us: arrival.at_us, entry });
                    });
                    asks.sort_by_key(|ask| (ask.at_us, ask.op));
                    actions.extend(asks.into_iter().map(Action::Ask));
                }
                Action::Transact(number, transactions) => {
                    let mut acts = Vec::new();
                    let stream = TransactionStream::new(transactions, self.world.duration.as_us());
                    self.each_transaction(*number, transactions, |arrival| {
                        let body = stream.body(Draws::new(self.seed), arrival.op);
                        acts.push(Act { op: arrival.op, at_us: arrival.at_us, body });
                    });
                    acts.sort_by_key(|act| (act.at_us, act.op));
                    actions.extend(acts.into_iter().map(Action::Act));
                }
                other => actions.push(other.clone()),
            }
        }
        Self { actions, ..self.clone() }
    }

    /// Counts every arrival of the plan, apart from any run: for each host the number and the hash
    /// of their moments.
    pub fn count_arrivals(&self, moment: impl Fn(u64, u64) -> u64) -> Vec<(u64, u64)> {
        let mut hosts = vec![(0u64, 0u64); self.participants() as usize];
        let mut count = |op: OpRef, at_us: u64| {
            if let Some((arrivals, moments)) = hosts.get_mut(op.host as usize) {
                *arrivals += 1;
                *moments = moments.wrapping_add(moment(op.ticket, at_us));
            }
        };
        for action in &self.actions {
            match action {
                Action::Generate(number, workload) => {
                    self.each_arrival(*number, workload, |_, arrival| count(arrival.op, arrival.at_us));
                }
                Action::Ask(ask) => count(ask.op, ask.at_us),
                Action::Transact(number, transactions) => {
                    self.each_transaction(*number, transactions, |arrival| count(arrival.op, arrival.at_us));
                }
                Action::Act(act) => count(act.op, act.at_us),
                Action::Inject(..) => {}
            }
        }
        hosts
    }

    /// Hosts, or peers.
    pub fn participants(&self) -> u32 {
        self.world.peers.as_ref().map_or(self.world.topology.hosts, |peers| peers.count)
    }

    fn each_transaction(&self, number: u32, transactions: &Transactions, mut each: impl FnMut(Arrival)) {
        let draws = Draws::new(self.seed);
        let generator = Generator::of_transactions(transactions, self.world.duration.as_us());
        for peer in (0..self.participants()).filter(|peer| holds(&transactions.peers, *peer)) {
            let mut stream = generator.stream(draws, number, peer);
            while let Some(arrival) = generator.next(draws, &mut stream) {
                each(arrival);
            }
        }
    }

    fn each_arrival(&self, number: u32, workload: &Workload, mut each: impl FnMut(&Generator, Arrival)) {
        let draws = Draws::new(self.seed);
        let generator = Generator::new(workload, self.world.duration.span().as_us());
        for host in (0..self.world.topology.hosts).filter(|host| holds(&workload.hosts, *host)) {
            let mut stream = generator.stream(draws, number, host);
            while let Some(arrival) = generator.next(draws, &mut stream) {
                each(&generator, arrival);
            }
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
