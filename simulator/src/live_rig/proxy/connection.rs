//! One connection: both its directions, and its end.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::flow::{Broken, Direction, pass};
use super::link::{Counts, Keys, State};

/// Passes bytes both ways until both sides are done, one of them breaks, or the link ends its connections.
pub(super) async fn run(
    mut client: TcpStream,
    mut upstream: TcpStream,
    watch: watch::Receiver<State>,
    began: &State,
    keys: Keys,
    counts: &Counts,
) {
    // Slices and small answers leave at once. A socket that refuses this only waits longer.
    let _ = client.set_nodelay(true);
    let _ = upstream.set_nodelay(true);
    let end = {
        let (client_reads, client_writes) = client.split();
        let (upstream_reads, upstream_writes) = upstream.split();
        let to_upstream = Direction { watch: watch.clone(), keys, counts, is_to_client: false };
        let to_client = Direction { watch: watch.clone(), keys, counts, is_to_client: true };
        let both = async {
            tokio::try_join!(
                pass(client_reads, upstream_writes, to_upstream),
                pass(upstream_reads, client_writes, to_client)
            )
        };
        tokio::select! {
            done = both => match done {
                // Both ends have been passed on.
                Ok(_) => None,
                Err(Broken) => Some(true),
            },
            by_reset = over(watch, began.generation) => Some(by_reset),
        }
    };
    if let Some(by_reset) = end {
        self::end(client, by_reset);
        self::end(upstream, by_reset);
    }
}

/// Waits until the connections of a generation are to end; whether by a reset.
pub(super) async fn over(mut watch: watch::Receiver<State>, generation: u64) -> bool {
    match watch.wait_for(|state| state.generation != generation).await {
        Ok(state) => state.ended_by_reset,
        Err(_) => true,
    }
}

/// Ends one side, by a reset or in order.
pub(super) fn end(stream: TcpStream, by_reset: bool) {
    if by_reset {
        reset(stream);
    } else {
        tokio::spawn(close(stream));
    }
}

/// Closes with RST: what was not sent is thrown away.
pub(super) fn reset(stream: TcpStream) {
    // A socket that refuses is closed in order, which is the next best.
    let _ = stream.set_zero_linger();
}

/// Closes with FIN. What the peer still sends is read and thrown away for a while, because a close with
/// unread bytes would be a reset.
async fn close(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut scratch = [0; 4_096];
        while stream.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(DRAIN, drain).await;
}

const DRAIN: Duration = Duration::from_secs(2);
