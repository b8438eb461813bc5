//! What a host says of itself, its maps and its players.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::entries::answer;
use super::{P2pDataSync, SyncError};
use crate::data_type::SyncDataType;
use crate::host_sync::hosting::{
    self, AssignmentLine, AssignmentsPayload, MapStatus, Player, Position, PublishedValidation, Report,
};
use crate::host_sync::operation::Ask;
use crate::id::{MapName, OperationId};
use crate::runtime::{duration, wall_clock};
use crate::wire::{Kind, read};

/// What became of one report that was made at its interval.
pub type Reported = Result<Vec<AssignmentLine>, SyncError>;

/// Reports that are made at intervals; ends when dropped.
#[derive(Debug)]
pub struct Reporting {
    task: JoinHandle<()>,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl P2pDataSync {
    /// Tells the main server how this host does and which maps it offers, and brings the parts that it plays, in
    /// the order of the maps' names. A report is also the sign of life: who misses three health checks in a row is
    /// dropped (docs/hosting.md).
    ///
    /// # Errors
    /// When the main server refuses it, or there is no answer.
    pub async fn report(&self, report: &Report) -> Reported {
        let ask = reporting(self.ticket(), report.to_json().into())?;
        let payload = answer(self.host.ask(ask).await?.outcome)?.ok_or(SyncError::Malformed)?;
        let AssignmentsPayload { assignments } =
            read(payload.as_bytes()).map_err(|_| SyncError::Malformed)?;
        Ok(assignments)
    }

    /// Reports every `sync_interval_ms`, at once for the first time: `measure` says what, `told` hears what came of
    /// it. One that takes longer than the interval puts the next one off. Must be called within a tokio runtime.
    pub fn report_at_intervals(
        self: &Arc<Self>,
        mut measure: impl FnMut() -> Report + Send + 'static,
        mut told: impl FnMut(Reported) + Send + 'static,
    ) -> Reporting {
        let system = Arc::clone(self);
        let mut ticks = interval(duration(self.config.sync_interval));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let task = tokio::spawn(async move {
            loop {
                ticks.tick().await;
                let report = measure();
                told(system.report(&report).await);
            }
        });
        Reporting { task }
    }

    /// The player of this host's account enters the map of its position. An account has one player on a map at a time:
    /// what is said of another character there takes the place of the first.
    ///
    /// # Errors
    /// When the player is another account's, or the operation is not accepted; it has no effect then.
    pub async fn player_enters_map(&self, player: &Player) -> Result<OperationId, SyncError> {
        self.own(player.account_id)?;
        self.host.begin(hosting::player_enters(self.ticket(), player)).await.map_err(SyncError::from)
    }

    /// A player moves on its map; in real time, as [`sync_critical_data`](Self::sync_critical_data).
    ///
    /// # Errors
    /// When the operation is not accepted; it has no effect then.
    pub async fn player_moves(&self, position: &Position) -> Result<OperationId, SyncError> {
        let ask = hosting::player_moves(self.ticket(), self.account, position, wall_clock());
        self.host.begin(ask).await.map_err(SyncError::from)
    }

    /// That player leaves a map: what it was when it left, for the map that it goes to.
    ///
    /// # Errors
    /// When the player is another account's, or the operation is not accepted; it has no effect then.
    pub async fn player_leaves_map(&self, player: &Player) -> Result<OperationId, SyncError> {
        self.own(player.account_id)?;
        self.host.begin(hosting::player_leaves(self.ticket(), player)).await.map_err(SyncError::from)
    }

    /// Says how a map is run; in real time, as [`sync_critical_data`](Self::sync_critical_data).
    ///
    /// # Errors
    /// When the host named is another account, or the operation is not accepted; it has no effect then.
    pub async fn sync_map_state(&self, state: &MapStatus) -> Result<OperationId, SyncError> {
        self.own(state.host_id)?;
        self.host.begin(hosting::map_state(self.ticket(), state)).await.map_err(SyncError::from)
    }

    /// Tells what this host found when it validated what happens on its map (specification, "Security Validation");
    /// in real time, as [`sync_critical_data`](Self::sync_critical_data). The main server keeps it as a finding.
    ///
    /// # Errors
    /// When the name can be no map's, or the operation is not accepted; it has no effect then.
    pub async fn sync_security_validation(
        &self,
        map_name: &str,
        validation: PublishedValidation,
        is_valid: bool,
    ) -> Result<OperationId, SyncError> {
        let map = MapName::new(map_name)?;
        let ask = hosting::security_validation(
            self.ticket(),
            self.account,
            map,
            validation,
            is_valid,
            wall_clock(),
        );
        self.host.begin(ask).await.map_err(SyncError::from)
    }
}

/// A report as an operation; it names no map.
pub(super) fn reporting(ticket: u64, data: Arc<str>) -> Result<Ask, SyncError> {
    Ok(Ask {
        ticket,
        kind: Kind::Report,
        data_type: SyncDataType::HostMetrics,
        map: MapName::new("")?,
        data,
        critical: false,
        priority: false,
    })
}
