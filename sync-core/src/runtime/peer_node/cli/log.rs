//! What of all that happens a person who looks after the node wants to read.

use tokio::sync::broadcast::error::RecvError;

use super::complain;
use crate::peer_sync::events::ReplicaEvent;
use crate::runtime::driver::replica::ReplicaFront;

/// Writes a line.
pub(super) fn log(line: &dyn std::fmt::Display) {
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
    complain(&format_args!("{now} peer-node: {line}"));
}

/// Writes what happens until the node has ended.
pub(super) async fn follow(front: ReplicaFront) {
    let mut events = front.follow();
    loop {
        match events.recv().await {
            Ok(told) => {
                if let Some(line) = line(&told.event) {
                    log(&line);
                }
            }
            Err(RecvError::Lagged(count)) => log(&format_args!("{count} events were not logged")),
            Err(RecvError::Closed) => return,
        }
    }
}

/// None for what happens all the time.
fn line(event: &ReplicaEvent) -> Option<String> {
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
        ReplicaEvent::RoundFailed { peer, reason } => format!("round with {peer} failed: {reason:?}"),
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
