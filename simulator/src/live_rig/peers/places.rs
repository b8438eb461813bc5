//! Where peers and the links between them are: addresses of this machine's loopback network.
//!
//! Every peer listens on an address of its own, at the same ports as all others. The link from one peer to another is a
//! further address: who connects there reaches the other peer, and is seen there under the address of the link back. So a
//! peer finds another only through its link, whoever told it of that, and needs to know nothing of proxies.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use sync_core::peer_sync::announcement::PeerAddress;

use crate::live_rig::LiveError;

/// The addresses of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// The second byte of every address.
    network: u8,
    /// The documented endpoints.
    pub(super) api_port: u16,
    /// Peers' questions.
    pub(super) p2p_port: u16,
    /// Announcements.
    pub(super) discovery_port: u16,
}

impl Places {
    /// Draws a network and ports that nobody uses.
    ///
    /// # Errors
    /// When there are none.
    pub(super) fn find() -> Result<Self, LiveError> {
        let mut fault = String::new();
        for _ in 0..DRAWS_MAX {
            let mut drawn = [0; 8];
            getrandom::fill(&mut drawn).map_err(|_| LiveError::Randomness)?;
            let port = |place: usize| {
                let number = u16::from_le_bytes([drawn[place], drawn[place + 1]]);
                PORTS.start + number % (PORTS.end - PORTS.start)
            };
            // Not 127.0, where everything else is.
            let network = 1 + drawn[0] % 254;
            let places = Self { network, api_port: port(2), p2p_port: port(4), discovery_port: port(6) };
            match places.probe() {
                Ok(()) => return Ok(places),
                Err(error) => fault = error.to_string(),
            }
        }
        Err(LiveError::Mesh(format!("no free addresses among 127.1.0.0 to 127.254.255.255: {fault}")))
    }

    /// Where a peer listens.
    pub(super) fn of(&self, peer: u32) -> Ipv4Addr {
        self.link(peer, peer)
    }

    /// Where one peer reaches another.
    pub(super) fn link(&self, from: u32, to: u32) -> Ipv4Addr {
        Ipv4Addr::new(127, self.network, byte(from), byte(to))
    }

    /// The same, as peers name it.
    pub(super) fn peer_address(&self, from: u32, to: u32) -> Option<PeerAddress> {
        PeerAddress::new(&self.link(from, to).to_string(), self.api_port).ok()
    }

    fn probe(&self) -> std::io::Result<()> {
        let (own, link) = (self.of(0), self.link(0, 1));
        for port in [self.api_port, self.p2p_port] {
            TcpListener::bind((own, port))?;
            TcpListener::bind((link, port))?;
        }
        if self.api_port == self.p2p_port {
            return Err(std::io::Error::other("two ports that are one"));
        }
        UdpSocket::bind((own, self.discovery_port)).map(|_| ())
    }
}

/// The peer that an address of a link leads to.
pub(super) fn peer_at(address: &PeerAddress) -> Option<u32> {
    let ip: Ipv4Addr = address.host.as_str().parse().ok()?;
    ip.octets()[3].checked_sub(1).map(u32::from)
}

/// Where a socket listens.
pub(super) fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

fn byte(peer: u32) -> u8 {
    // Validated: a scenario has at most 200 peers.
    u8::try_from(peer + 1).unwrap_or(u8::MAX)
}

/// Below the ports that Linux hands out to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const DRAWS_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_where_it_leads() {
        let places = Places { network: 7, api_port: 20_001, p2p_port: 20_002, discovery_port: 20_003 };
        assert_eq!(places.of(0).to_string(), "127.7.1.1");
        assert_eq!(places.link(0, 2).to_string(), "127.7.1.3");
        assert_eq!(peer_at(&places.peer_address(4, 2).unwrap()), Some(2));
        assert_eq!(peer_at(&PeerAddress::new("localhost", 1).unwrap()), None);
    }
}
