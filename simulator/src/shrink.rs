//! Makes a failing plan small: the fewest actions that still show the same failure.
//!
//! Delta debugging (Zeller and Hildebrandt 2002) over a plan whose generator lines are written out: groups of actions
//! are left out, large ones first, for as long as the same property or figure fails. Since every draw is keyed by
//! what it decides, what stays behaves as it did. The search is deterministic: the same plan shrinks to the same plan.

use std::collections::BTreeMap;

use crate::own_resolvers::OwnResolvers;
use crate::plan::{Act, Action, Ask, Plan};
use crate::run::{Summary, run_with};
use crate::scenario::model::{Clocks, HistoryMode, Links, Peers, Scenario, Statement};
use crate::scenario::units::{Length, Share};
use crate::verdict::Verdict;

/// Runs that a search takes at most, unless it is told otherwise.
pub const RUNS_MAX: u64 = 2_000;
/// Actions that a plan to be shrunk may have once it is written out.
pub const ACTIONS_MAX: usize = 1_000_000;

/// What came of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The smaller plan, which fails in the same way.
    pub plan: Plan,
    /// The property or figure that fails.
    pub what: String,
    /// What the check says of the smaller plan.
    pub finding: String,
    /// Actions of the plan as it was, written out.
    pub actions_before: usize,
    /// Runs it took.
    pub runs: u64,
    /// Whether no further action can be left out; otherwise the runs were used up first.
    pub minimal: bool,
}

/// Why a plan was not shrunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotShrunk {
    /// Nothing fails.
    #[error("the plan does not fail")]
    NothingFails,
    /// Not what was asked for.
    #[error("the plan does not fail in `{}`{}", .asked.escape_debug(), others(.failing))]
    NotInThis {
        /// The property or figure that was asked for.
        asked: String,
        /// What fails.
        failing: Vec<String>,
    },
    /// Too many actions.
    #[error("the plan has {0} actions when it is written out; at most {ACTIONS_MAX} can be shrunk")]
    TooLarge(usize),
}

fn others(failing: &[String]) -> String {
    if failing.is_empty() {
        ", nor in anything else".to_owned()
    } else {
        format!(", but in {}", failing.join(", "))
    }
}

/// Shrinks a plan that fails in `what`, or in the first thing that fails: a demanded property before one that is not.
pub fn shrink(plan: &Plan, what: Option<&str>, runs_max: u64) -> Result<Shrunk, NotShrunk> {
    shrink_with(plan, &OwnResolvers::default(), what, runs_max)
}

/// The same with these resolvers.
pub fn shrink_with(
    plan: &Plan,
    own: &OwnResolvers,
    what: Option<&str>,
    runs_max: u64,
) -> Result<Shrunk, NotShrunk> {
    let arrivals: u64 = plan.count_arrivals(|_, _| 0).iter().map(|(arrivals, _)| arrivals).sum();
    if arrivals > ACTIONS_MAX as u64 {
        return Err(NotShrunk::TooLarge(usize::try_from(arrivals).unwrap_or(usize::MAX)));
    }
    let expanded = plan.expand();
    let first = run_with(&quiet(&expanded), own).summary;
    let failing = failures(&first);
    let asked_for = |name: &str| what.is_none_or(|what| what == name);
    let Some((what, finding)) = failing.iter().find(|(name, _)| asked_for(name)).cloned() else {
        let failing = failing.into_iter().map(|(name, _)| name).collect();
        return Err(what.map_or(NotShrunk::NothingFails, |asked| NotShrunk::NotInThis {
            asked: asked.to_owned(),
            failing,
        }));
    };
    let actions_before = expanded.actions.len();
    let mut search = Search { own: own.clone(), plan: expanded, what, finding, runs: 1, runs_max };
    let groups = search.by_host();
    search.reduce(groups);
    search.one_by_one();
    search.simplify();
    let minimal = search.one_by_one();
    let Search { mut plan, what, finding, runs, .. } = search;
    plan.world.history = HistoryMode::Full;
    Ok(Shrunk { plan, what, finding, actions_before, runs, minimal })
}

/// Every property and figure that failed, demanded properties first, with what is said of it.
fn failures(summary: &Summary) -> Vec<(String, String)> {
    let mut failed: Vec<_> =
        summary.properties.iter().filter(|judgement| judgement.verdict == Verdict::Fail).collect();
    failed.sort_by_key(|judgement| !judgement.demanded);
    let properties = failed.into_iter().map(|judgement| {
        let finding = judgement.findings.first().map(|finding| finding.message.clone());
        (judgement.property.clone(), finding.unwrap_or_default())
    });
    let figures = summary.thresholds.iter().filter(|threshold| threshold.verdict == Verdict::Fail).map(|t| {
        let finding = format!("{}: {}, bound {}", t.figure, t.actual, t.bound);
        (t.figure.clone(), finding)
    });
    properties.chain(figures).collect()
}

fn quiet(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.world.history = HistoryMode::None;
    plan
}

/// A plan that fails, and the way to a smaller one.
struct Search {
    own: OwnResolvers,
    plan: Plan,
    what: String,
    finding: String,
    runs: u64,
    runs_max: u64,
}

impl Search {
    /// Takes the candidate if it fails in the same way.
    fn accept(&mut self, candidate: Plan) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let failing = failures(&run_with(&quiet(&candidate), &self.own).summary);
        let Some((_, finding)) = failing.into_iter().find(|(name, _)| *name == self.what) else {
            return false;
        };
        self.plan = candidate;
        self.finding = finding;
        true
    }

    /// Each host's operations together; each fault by itself.
    fn by_host(&self) -> Vec<Vec<Action>> {
        let mut hosts: BTreeMap<u32, Vec<Action>> = BTreeMap::new();
        let mut groups = Vec::new();
        for action in &self.plan.actions {
            match action {
                Action::Ask(ask) => hosts.entry(ask.op.host).or_default().push(action.clone()),
                Action::Act(act) => hosts.entry(act.op.host).or_default().push(action.clone()),
                other => groups.push(vec![other.clone()]),
            }
        }
        groups.extend(hosts.into_values());
        groups
    }

    /// Every action by itself, until none of them can be left out. Says whether that was reached.
    fn one_by_one(&mut self) -> bool {
        loop {
            let before = self.plan.actions.len();
            // By time: what comes after the failure is then left out in a few steps.
            let mut groups: Vec<_> = self.plan.actions.iter().map(|action| vec![action.clone()]).collect();
            groups.sort_by_key(|group| group.first().map(moment_us));
            self.reduce(groups);
            if self.runs >= self.runs_max {
                return false;
            }
            if self.plan.actions.len() == before {
                return true;
            }
        }
    }

    /// Leaves out groups of actions: from half of them at once down to one by one.
    fn reduce(&mut self, mut groups: Vec<Vec<Action>>) {
        let mut size = groups.len().div_ceil(2);
        while size > 0 && self.runs < self.runs_max {
            // From the end: what is late is seldom the cause.
            let mut end = groups.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let kept: Vec<_> = groups[..start].iter().chain(&groups[end..]).cloned().collect();
                if self.accept(self.with(&kept)) {
                    groups = kept;
                }
                end = start;
            }
            size /= 2;
        }
    }

    /// The plan with these actions only, in the order of a plan.
    fn with(&self, groups: &[Vec<Action>]) -> Plan {
        let mut actions: Vec<_> = groups.iter().flatten().cloned().collect();
        actions.sort_by_key(|action| match action {
            Action::Ask(ask) => (0, ask.at_us, u64::from(ask.op.host), ask.op.ticket),
            Action::Act(act) => (0, act.at_us, u64::from(act.op.host), act.op.ticket),
            Action::Generate(number, _) | Action::Transact(number, _) => (1, u64::from(*number), 0, 0),
            Action::Inject(number, _) => (2, u64::from(*number), 0, 0),
        });
        Plan { actions, ..self.plan.clone() }
    }

    /// Takes away what the world has beyond the plain one, as far as the failure stays.
    fn simplify(&mut self) {
        let hosts = self.plan.actions.iter().filter_map(|action| match action {
            Action::Ask(Ask { op, .. }) | Action::Act(Act { op, .. }) => Some(op.host + 1),
            _ => None,
        });
        let hosts = hosts.max().unwrap_or(1);
        let rows = self.rows_named();
        let last_us = self.plan.actions.iter().map(ends_us).max().unwrap_or(0);
        let steps: [&dyn Fn(&mut Scenario); 12] = [
            // A host's account and map follow from its number: only hosts past the last one go. So with peers.
            &|world| world.topology.hosts = hosts.min(world.topology.hosts),
            &among_peers(|peers| peers.count = hosts.clamp(2, peers.count.max(2))),
            &among_peers(|peers| peers.rows.clear()),
            &among_peers(|peers| peers.rows.values_mut().for_each(|count| *count = rows.min(*count))),
            &among_peers(|peers| peers.links = Links::default()),
            &among_peers(|peers| {
                let link = &mut peers.network;
                (link.loss, link.duplicate, link.reorder) = (Share::ZERO, Share::ZERO, Share::ZERO);
            }),
            &|world| world.duration = Length::from_us(world.duration.span().as_us().min(last_us + 1_000_000)),
            &|world| world.network.to_server.loss = Share::ZERO,
            &|world| world.network.to_host.loss = Share::ZERO,
            &|world| {
                for link in [&mut world.network.to_server, &mut world.network.to_host] {
                    (link.duplicate, link.reorder) = (Share::ZERO, Share::ZERO);
                }
            },
            &|world| world.clocks = Clocks::default(),
            &|world| (world.database.failures, world.cache.failures) = (Share::ZERO, Share::ZERO),
        ];
        for step in steps {
            let mut candidate = self.plan.clone();
            step(&mut candidate.world);
            if candidate.world != self.plan.world && fits(&candidate, &self.own) {
                self.accept(candidate);
            }
        }
    }

    /// How many rows of a table there have to be for all that statements name to be there.
    fn rows_named(&self) -> u32 {
        let bodies = self.plan.actions.iter().filter_map(|action| match action {
            Action::Act(act) => Some(&act.body.statements),
            _ => None,
        });
        let row = |statement: &Statement| match statement {
            Statement::Put(put) => put.row,
            Statement::Delete(name) | Statement::Read(name) => name.row,
        };
        bodies.flatten().map(|statement| row(statement).saturating_add(1)).max().unwrap_or(0)
    }
}

/// A change of a world of peers.
fn among_peers(change: impl Fn(&mut Peers)) -> impl Fn(&mut Scenario) {
    move |world| world.peers.iter_mut().for_each(&change)
}

/// Whether the plan's text form can be read back: a fault must lie within the duration, say.
fn fits(plan: &Plan, own: &OwnResolvers) -> bool {
    Plan::parse_for(own, "shrunk", plan.to_text().as_bytes()).is_ok()
}

fn moment_us(action: &Action) -> u64 {
    match action {
        Action::Ask(ask) => ask.at_us,
        Action::Act(act) => act.at_us,
        Action::Generate(_, workload) => workload.from.span().as_us(),
        Action::Transact(_, transactions) => transactions.from.as_us(),
        Action::Inject(_, fault) => fault.at.span().as_us(),
    }
}

fn ends_us(action: &Action) -> u64 {
    match action {
        Action::Inject(_, fault) => moment_us(action) + fault.lasts.map_or(0, |lasts| lasts.span().as_us()),
        _ => moment_us(action),
    }
}
