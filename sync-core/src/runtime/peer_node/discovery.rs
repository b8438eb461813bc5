//! Announcements over UDP: sends the node's own to every discovery port, hands those of others to its engine.
//!
//! A datagram is the documented announcement; with a shared key it carries a `proof` beside it, and one without is left
//! alone before anything follows from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

use super::wire::Keys;
use crate::limits;
use crate::peer_sync::announcement::{Announcement, HostName};
use crate::peer_sync::authentication::Proof;
use crate::peer_sync::replica::ReplicaInput;
use crate::runtime::driver::replica::ReplicaFront;
use crate::runtime::http::Phase;

/// How long to wait when nothing can be received: the interface is gone, say.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// Where announcements go.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    pub(super) addresses: Vec<Ipv4Addr>,
    pub(super) ports: Vec<u16>,
}

/// An announcement as it travels.
#[derive(Serialize)]
struct Datagram<'a> {
    #[serde(flatten)]
    announcement: &'a Announcement,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

#[derive(Deserialize)]
struct WithProof {
    proof: String,
}

/// Sends an announcement everywhere. Nobody is told where it did not go: a network without broadcast is none that peers
/// can be found in, and `STATIC_PEERS` names them there.
pub(super) async fn announce(
    socket: &UdpSocket,
    targets: &Targets,
    keys: &Keys,
    announcement: &Announcement,
) {
    let proof = keys.prove_announcement(announcement).map(|proof| proof.to_string());
    let datagram = serde_json::to_vec(&Datagram { announcement, proof }).unwrap_or_default();
    if datagram.len() > limits::ANNOUNCEMENT_BYTES_MAX {
        return;
    }
    for address in &targets.addresses {
        for port in &targets.ports {
            let _ = socket.send_to(&datagram, SocketAddr::from((*address, *port))).await;
        }
    }
}

/// Hears announcements until the node closes.
pub(super) async fn hear(
    socket: &UdpSocket,
    keys: &Keys,
    front: &ReplicaFront,
    mut phase: watch::Receiver<Phase>,
) {
    // One byte more, so that what is too long can be told from what is not.
    let mut buffer = [0; limits::ANNOUNCEMENT_BYTES_MAX + 1];
    loop {
        let received = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((length, from)) => {
                heard(&buffer[..length], from.ip(), keys, front);
            }
            Err(_) => sleep(RECEIVE_PAUSE).await,
        }
    }
}

/// Hands a datagram to the engine if it is an announcement that is to be heeded, and says whether it is.
pub(super) fn heard(datagram: &[u8], from: IpAddr, keys: &Keys, front: &ReplicaFront) -> bool {
    let Some(announcement) = read(datagram, keys) else { return false };
    let Some(from) = host(from) else { return false };
    // One that is lost to a full mailbox comes again.
    front.try_tell(ReplicaInput::Announced { announcement, from });
    true
}

fn read(datagram: &[u8], keys: &Keys) -> Option<Announcement> {
    let announcement = Announcement::read(datagram)?;
    let proof = match keys.is_set() {
        true => serde_json::from_slice::<WithProof>(datagram).ok()?.proof.parse::<Proof>().ok(),
        false => None,
    };
    keys.heeds(&announcement, proof.as_ref()).then_some(announcement)
}

fn host(from: IpAddr) -> Option<HostName> {
    HostName::new(&from.to_canonical().to_string()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer_sync::announcement::{AnnouncementKind, PeerInfo};
    use crate::peer_sync::authentication::SharedKey;
    use crate::peer_sync::version::NodeId;

    fn announcement() -> Announcement {
        Announcement {
            kind: AnnouncementKind::PeerAnnouncement,
            peer: PeerInfo {
                peer_id: NodeId::new(&"n".repeat(limits::NODE_ID_BYTES_MAX)).unwrap(),
                host: "h".repeat(limits::PEER_HOST_BYTES_MAX),
                port: 8_000,
                last_seen: "2025-01-01T12:00:00.000000Z".to_owned(),
                api_version: "1.0.1".to_owned(),
                status: "active".to_owned(),
            },
        }
    }

    fn datagram(keys: &Keys) -> Vec<u8> {
        let announcement = announcement();
        let proof = keys.prove_announcement(&announcement).map(|proof| proof.to_string());
        serde_json::to_vec(&Datagram { announcement: &announcement, proof }).unwrap()
    }

    fn keys(byte: u8) -> Keys {
        Keys::new(Some(SharedKey::new([byte; 32])))
    }

    #[test]
    fn the_longest_one_fits_with_its_proof() {
        assert!(datagram(&keys(1)).len() <= limits::ANNOUNCEMENT_BYTES_MAX);
    }

    #[test]
    fn with_a_key_only_what_is_proved_is_heeded_and_only_once() {
        let open = Keys::new(None);
        assert_eq!(read(&datagram(&open), &open), Some(announcement()));
        assert_eq!(read(&datagram(&keys(1)), &open), Some(announcement()));
        let ours = keys(1);
        assert_eq!(read(&datagram(&open), &ours), None);
        assert_eq!(read(&datagram(&keys(2)), &ours), None);
        let good = datagram(&keys(1));
        let altered = String::from_utf8(good.clone()).unwrap().replacen("8000", "8001", 1);
        assert_eq!(read(altered.as_bytes(), &ours), None);
        assert_eq!(read(&good, &ours), Some(announcement()));
        assert_eq!(read(&good, &ours), None, "again");
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..1_100)) {
            let _ = (read(&bytes, &keys(1)), read(&bytes, &Keys::new(None)));
        }
    }
}
