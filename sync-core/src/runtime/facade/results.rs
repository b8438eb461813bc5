//! Results of operations by their ids.

use tokio::time::timeout;

use super::P2pDataSync;
use crate::host_sync::operation::Outcome;
use crate::id::OperationId;
use crate::runtime::driver::host::Progress;
use crate::runtime::duration;
use crate::time::Span;

/// What is known of an operation. The four answers are different on purpose: a result read too early must not
/// look like a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncResult {
    /// Accepted and not ended.
    Pending,
    /// Ended like this.
    Done(Outcome),
    /// Ended, and how is forgotten.
    Expired,
    /// Not an operation of this system.
    Unknown,
}

impl SyncResult {
    /// Whether the main server did it.
    pub fn success(&self) -> bool {
        matches!(self, Self::Done(Outcome::Done(_)))
    }

    /// The payload, if it is done and has one: JSON text.
    pub fn payload(&self) -> Option<&str> {
        match self {
            Self::Done(Outcome::Done(payload)) => payload.as_deref(),
            _ => None,
        }
    }
}

impl P2pDataSync {
    /// What is known of an operation now.
    pub async fn get_sync_result(&self, operation: OperationId) -> SyncResult {
        match self.host.progress(operation).await {
            Ok(progress) => progress.into(),
            Err(_) => SyncResult::Unknown,
        }
    }

    /// Waits for the result of an operation for at most `bound`; [`Span::ZERO`] waits until there is one. What
    /// has not ended by then is [`SyncResult::Pending`], and goes on.
    pub async fn wait_for_sync_result(&self, operation: OperationId, bound: Span) -> SyncResult {
        let wait = self.host.wait(operation);
        let ended = if bound == Span::ZERO {
            wait.await
        } else {
            match timeout(duration(bound), wait).await {
                Ok(ended) => ended,
                Err(_) => return self.get_sync_result(operation).await,
            }
        };
        ended.map_or(SyncResult::Unknown, SyncResult::from)
    }

    /// Waits until `operations_max` more operations have ended, or all that were under way or waiting; gives how
    /// many that were. Operations do not wait for this call: each is sent as soon as it has a slot.
    pub async fn process_sync_queue(&self, operations_max: usize) -> usize {
        self.host.settle(operations_max).await.unwrap_or(0)
    }
}

impl From<Progress> for SyncResult {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Pending => Self::Pending,
            Progress::Done(outcome) => Self::Done(outcome),
            Progress::Expired => Self::Expired,
            Progress::Unknown => Self::Unknown,
        }
    }
}
