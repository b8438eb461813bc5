//! Wakes the engine when applications have committed something: asks the database, soon after it had something new,
//! seldom when it has not.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use super::database::PeerDatabase;
use crate::limits;
use crate::peer_sync::replica::ReplicaInput;
use crate::runtime::driver::replica::ReplicaFront;
use crate::runtime::duration;
use crate::runtime::http::Phase;

/// Until the node closes or its engine has ended.
pub(super) async fn watch(
    database: Arc<dyn PeerDatabase>,
    front: ReplicaFront,
    mut phase: watch::Receiver<Phase>,
) {
    let work = async {
        let mut pause = limits::CHANGE_POLL_MAX;
        loop {
            sleep(duration(pause)).await;
            pause = pause.saturating_mul(2).min(limits::CHANGE_POLL_MAX);
            // A database that is away is asked on; what is written meanwhile is told when it is back.
            let Ok(tables) = database.changed().await else { continue };
            if tables.is_empty() {
                continue;
            }
            pause = limits::CHANGE_POLL_MIN;
            if front.tell(ReplicaInput::LocalChange { tables }).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = phase.wait_for(|phase| *phase >= Phase::Closing) => {}
        () = work => {}
    }
}
