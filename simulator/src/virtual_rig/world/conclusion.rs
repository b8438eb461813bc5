//! The end of a run: what is left, and how much happened.

use sync_core::store::Content;

use super::{Observer, World};
use crate::check;
use crate::history::{StateName, What};
use crate::plan::Plan;
use crate::virtual_rig::manners::ProviderCalls;
use crate::virtual_rig::provider::Provider;
use crate::virtual_rig::services::{value_digest, written_op};
use crate::virtual_rig::variant::Variant;

/// Figures of a run that no event carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFigures {
    /// Length of the run in simulated microseconds.
    pub simulated_us: u64,
    /// Events that the kernel took.
    pub kernel_events: u64,
    /// Those that only wake somebody up; none is counted among peers.
    pub wake_ups: WakeUps,
    /// Bytes of HTTP bodies sent.
    pub bytes_sent: u64,
    /// Messages published to subscribers.
    pub published: u64,
    /// How often the embedding provider was asked; `None` without one.
    pub provider: Option<ProviderCalls>,
    /// What the database held at the end.
    pub content: Content,
}

/// Events that are scheduled for the case that nothing else happens before, and mean nothing when it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeUps {
    /// How many were scheduled.
    pub scheduled: u64,
    /// How many of them the kernel took before the run was over.
    pub taken: u64,
    /// How far ahead all of them together, in simulated microseconds.
    pub ahead_us: u64,
}

impl<V: Variant, O: Observer> World<V, O> {
    /// Reports the final states and recounts the plan.
    pub(in crate::virtual_rig) fn conclude(
        mut self,
        plan: &Plan,
        content: Content,
        published: u64,
    ) -> (O, RunFigures) {
        self.observe(What::Settled { open: self.open_operations });
        self.conclude_search(&content);
        self.observe_vectors(&content);
        for (key, row) in &content.states {
            self.observe(What::FinalState {
                key: StateName(key.clone()),
                version: row.version,
                op: written_op(&row.data),
                id: row.operation.into(),
                value: self.judges_values.then(|| value_digest(&row.data)),
            });
        }
        for ((account, incarnation), session) in &content.sessions {
            self.observe(What::FinalSession {
                account: account.0,
                incarnation: incarnation.0,
                applied: session.applied.runs().collect(),
            });
        }
        for (host, (arrivals, moments)) in (0..).zip(plan.count_arrivals(check::moment)) {
            if arrivals > 0 {
                self.observe(What::Planned { host, arrivals, moments });
            }
        }
        let figures = RunFigures {
            simulated_us: self.queue.now_us(),
            kernel_events: self.queue.processed(),
            wake_ups: self.wake_ups,
            bytes_sent: self.bytes_sent,
            published,
            provider: self.provider.as_ref().map(Provider::calls),
            content,
        };
        (self.observer, figures)
    }
}
