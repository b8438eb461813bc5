//! What of all that happens a person who looks after the node wants to read.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::complain;
use crate::peer_sync::events::{ReplicaEvent, RoundFailure};
use crate::runtime::driver::replica::Told;
use crate::runtime::peer_node::database::PeerDatabase;

/// Writes a line.
pub(super) fn log(line: &dyn std::fmt::Display) {
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
    complain(&format_args!("{now} peer-node: {line}"));
}

/// Writes what happens until `end` is dropped, and all that had happened by then; `database` knows why it did not do what it was
/// asked for.
pub(super) async fn follow(
    mut events: Receiver<Arc<Told>>,
    database: Arc<dyn PeerDatabase>,
    mut end: oneshot::Receiver<()>,
) {
    loop {
        let told = tokio::select! {
            biased;
            told = events.recv() => told,
            _ = &mut end => return,
        };
        match told {
            Ok(told) => {
                if let Some(line) = line(&told.event, || database.trouble()) {
                    log(&line);
                }
            }
            Err(RecvError::Lagged(count)) => log(&format_args!("{count} events were not logged")),
            Err(RecvError::Closed) => return,
        }
    }
}

/// None for what happens all the time.
fn line(event: &ReplicaEvent, trouble: impl FnOnce() -> Option<String>) -> Option<String> {
    Some(match event {
        ReplicaEvent::Started { node, incarnation } => format!("{node} works; its database is {incarnation}"),
        ReplicaEvent::PeerJoined { peer, address } => format!("{peer} at {address} is a peer"),
        ReplicaEvent::PeerSuspected { peer } => format!("{peer} does not answer"),
        ReplicaEvent::PeerRecovered { peer } => format!("{peer} answers again"),
        ReplicaEvent::PeerMoved { peer, address } => format!("{peer} is at {address} now"),
        ReplicaEvent::PeerLeft { peer, reason } => format!("{peer} is no peer any more: {reason:?}"),
        ReplicaEvent::PeerRefused { address, reason } => format!("{address} is no peer: {reason}"),
        ReplicaEvent::NodeIdTwice { node, address } => {
            format!("{address} has the name {node}, too: give each node a NODE_NAME of its own")
        }
        ReplicaEvent::RoundFailed { peer, reason } => {
            let trouble = (*reason == RoundFailure::Store).then(trouble).flatten();
            format!("round with {peer} failed: {}", trouble.as_deref().unwrap_or(why(*reason)))
        }
        ReplicaEvent::SetBack { incarnation } => {
            format!("the database is older than what peers have read of it; its new life is {incarnation}")
        }
        ReplicaEvent::RowCorrupt { row } => format!("{row} is corrupt; peers are asked for it"),
        ReplicaEvent::RowRepaired { row, peer } => format!("{row} is repaired by the copy of {peer}"),
        ReplicaEvent::TooFarAhead { row, peer, ahead } => {
            format!("{row} of {peer} lies {ahead} in the future and is refused: set the clocks")
        }
        ReplicaEvent::RowRefused { row, peer, reason } => format!("{row} of {peer} is refused: {reason}"),
        _ => return None,
    })
}

/// Why a round ended early.
fn why(reason: RoundFailure) -> &'static str {
    match reason {
        RoundFailure::NoAnswer => "it does not answer",
        RoundFailure::Busy => "it has too much to do",
        RoundFailure::Refused => "it refused",
        RoundFailure::Nonsense => "what it answered was none to the question",
        RoundFailure::Store => "the database did not do what it was asked for",
        RoundFailure::SetBack => "the database was set back; a new life begins",
        RoundFailure::Contended => "applications changed the rows again and again",
        RoundFailure::Cancelled => "it left, or synchronisation was switched off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_sync::version::NodeId;

    #[test]
    fn a_round_that_the_database_ended_says_why() {
        let failed = |reason| {
            let peer = NodeId::new("b").expect("a name");
            let told = ReplicaEvent::RoundFailed { peer, reason };
            line(&told, || Some("a column is missing".to_owned())).expect("it is told")
        };
        assert_eq!(failed(RoundFailure::Store), "round with b failed: a column is missing");
        assert_eq!(failed(RoundFailure::NoAnswer), "round with b failed: it does not answer");
    }
}
