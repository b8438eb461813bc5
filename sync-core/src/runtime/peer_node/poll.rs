//! Wakes the engine when applications have committed something: asks the database, often while it has something new now
//! and then, seldom when it has not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::database::PeerDatabase;
use crate::limits;
use crate::peer_sync::replica::ReplicaInput;
use crate::runtime::driver::replica::ReplicaFront;
use crate::runtime::duration;
use crate::runtime::http::Phase;
use crate::time::Span;

/// Until the node closes or its engine has ended.
pub(super) async fn watch(
    database: Arc<dyn PeerDatabase>,
    front: ReplicaFront,
    mut phase: watch::Receiver<Phase>,
) {
    let work = async {
        // None as long as nothing was written.
        let mut last_change: Option<Instant> = None;
        loop {
            sleep(duration(pause(last_change.map(|at| span(at.elapsed()))))).await;
            // A database that is away is asked on; what is written meanwhile is told when it is back.
            let Ok(tables) = database.changed().await else { continue };
            if tables.is_empty() {
                continue;
            }
            last_change = Some(Instant::now());
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

/// How long to wait before the database is asked, by how long nothing was written: who writes now and then is heard sooner
/// than the pauses between writes are long.
fn pause(quiet: Option<Span>) -> Span {
    let Some(quiet) = quiet else { return limits::CHANGE_POLL_MAX };
    Span::from_us(quiet.as_us() / QUIET_SHARE).clamp(limits::CHANGE_POLL_MIN, limits::CHANGE_POLL_MAX)
}

/// The pause is this part of the time in which nothing was written.
const QUIET_SHARE: u64 = 16;

fn span(time: Duration) -> Span {
    Span::from_us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_often_while_somebody_writes_and_seldom_when_nobody_does() {
        let after_ms = |quiet: u64| pause(Some(Span::from_ms(quiet))).as_ms();
        assert_eq!([0, 10, 80, 200, 10_000].map(after_ms), [2, 2, 5, 12, 20]);
        assert_eq!(pause(None), limits::CHANGE_POLL_MAX);
        assert_eq!(pause(Some(Span::from_us(u64::MAX))), limits::CHANGE_POLL_MAX);
    }
}
