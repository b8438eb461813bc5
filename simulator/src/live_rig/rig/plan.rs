//! What a plan means for this rig.

use sync_core::host_sync::settings::ServerSettings;

use super::{LiveRig, LiveRunError};
use crate::live_rig::Service;
use crate::plan::{Action, Plan};
use crate::scenario::model::{Crash, Frames, Injection, Process};
use crate::zoo;

impl LiveRig {
    pub(super) fn cannot(&self, plan: &Plan) -> Result<(), LiveRunError> {
        let no = |why: &str| Err(LiveRunError::Cannot(why.to_owned()));
        if let Some(peers) = &plan.world.peers {
            return match super::super::peers::cannot(plan, peers) {
                Some(why) => no(&why),
                None if !self.keeps_commit_moments => no(
                    "the PostgreSQL that was given does not keep the moments of commits (track_commit_timestamp)",
                ),
                None => Ok(()),
            };
        }
        if plan.world.network.frames == Frames::Modelled {
            return no("`frames: modelled` are for the virtual rig: real servers open sealed frames only");
        }
        if plan.defect.is_some_and(|defect| !zoo::is_plantable_live(defect)) {
            return no("this defect sits in a part that the live rig runs unchanged");
        }
        if plan.world.topology.subscribers.is_some() {
            return no(
                "`topology.subscribers` is for the virtual rig: live, published updates are held against rows",
            );
        }
        for action in &plan.actions {
            let Action::Inject(_, fault) = action else { continue };
            let service = match &fault.inject {
                Injection::CutNotifications(_) => {
                    return no(
                        "`inject: cut_notifications` is for the virtual rig: live, cut the connections of the cache",
                    );
                }
                Injection::Crash(Crash::Database) | Injection::Freeze(Process::Database) => Service::Postgres,
                Injection::Crash(Crash::Cache) | Injection::Freeze(Process::Cache) => Service::Redis,
                _ => continue,
            };
            if !self.servers.can_kill(service) {
                return no("a server that was given by its address cannot be killed or frozen");
            }
        }
        Ok(())
    }
}

pub(super) fn settings(plan: &Plan) -> ServerSettings {
    crate::virtual_rig::world::server_settings(&plan.world)
}

/// What a reader has to know of this rig.
pub(super) fn notes(plan: &Plan) -> Vec<String> {
    let crashes = plan.actions.iter().any(|action| match action {
        Action::Inject(_, fault) => {
            matches!(&fault.inject, Injection::Crash(crash) if !matches!(crash, Crash::Hosts(_)))
        }
        _ => false,
    });
    let crash = "crashes are kill -9 of processes: this shows what the loss of a process does, not what the loss of \
                 power does";
    let unheard = "faults of this plan may lose published messages: whether all critical writes were published is not \
                   judged";
    let notes = [(crashes, crash), (may_lose_messages(plan), unheard)];
    notes.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note.to_owned()).collect()
}

/// Whether a fault of this plan concerns what a main server needs to start.
pub(super) fn disturbs_services(plan: &Plan) -> bool {
    plan.actions.iter().any(|action| match action {
        Action::Inject(_, fault) => match &fault.inject {
            Injection::Database(_) | Injection::Cache(_) => true,
            Injection::Crash(crash) => matches!(crash, Crash::Database | Crash::Cache),
            Injection::Freeze(process) => *process != Process::MainServer,
            Injection::Connection(connection) => connection.to != Process::MainServer,
            _ => false,
        },
        _ => false,
    })
}

/// Whether a fault of this plan can take messages with it: any that concerns a process or what connects
/// processes. A commit whose answer was lost is repeated, and a repeat publishes nothing.
pub(super) fn may_lose_messages(plan: &Plan) -> bool {
    plan.actions.iter().any(|action| match action {
        Action::Inject(_, fault) => !matches!(
            fault.inject,
            Injection::Partition(_)
                | Injection::Degrade(_)
                | Injection::ClockStep(_)
                | Injection::ShutDown(_)
                | Injection::RotateKeys(_)
                | Injection::Move(_)
                | Injection::Embedding(_)
                | Injection::Crash(Crash::Hosts(_))
        ),
        _ => false,
    })
}
