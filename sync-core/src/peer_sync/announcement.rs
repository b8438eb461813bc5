//! Where a peer can be reached, and how it says so: the datagram that discovery sends, and the form in which peers
//! are listed.
//!
//! Nothing announced is believed: it names an address, and who answers there decides (see
//! [`Hello`](super::message::Hello)).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::version::NodeId;
use crate::limits;
use crate::time::Timestamp;

/// A host and a port. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerAddress {
    /// A name or an IP address.
    pub host: HostName,
    /// The port.
    pub port: u16,
}

/// The name or address of a machine. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HostName(Arc<str>);

/// The text cannot name a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a host has 1 to {} characters out of `A-Z a-z 0-9 _ - . : [ ] %`", limits::PEER_HOST_BYTES_MAX)]
pub struct InvalidHostName;

impl HostName {
    /// Checks length and characters: what it becomes part of is a URL.
    pub fn new(name: &str) -> Result<Self, InvalidHostName> {
        let allowed =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'[' | b']' | b'%');
        if name.is_empty() || name.len() > limits::PEER_HOST_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(InvalidHostName);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

impl PeerAddress {
    /// From a host's name and a port.
    pub fn new(host: &str, port: u16) -> Result<Self, InvalidHostName> {
        Ok(Self { host: HostName::new(host)?, port })
    }

    /// Another port of the same host.
    pub fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }
}

impl fmt::Display for PeerAddress {
    /// `host:port`; an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_str();
        if host.contains(':') && !host.starts_with('[') {
            write!(f, "[{host}]:{}", self.port)
        } else {
            write!(f, "{host}:{}", self.port)
        }
    }
}

/// The datagram by which a peer says that it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AnnouncementKind,
    /// Who.
    pub peer: PeerInfo,
}

/// The kind of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnouncementKind {
    /// The only one.
    PeerAnnouncement,
}

/// A peer as announcements and the list of peers show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its node id.
    pub peer_id: NodeId,
    /// Where it says that it is. An announcement is answered to where it came from, whatever this says.
    pub host: String,
    /// The port of its documented endpoints.
    pub port: u16,
    /// When it was last heard of, see [`iso_text`].
    pub last_seen: String,
    /// The version of its interface.
    pub api_version: String,
    /// `active`, or what else is known of it.
    pub status: String,
}

impl Announcement {
    /// Reads a datagram; none if it is too long or something else.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        if datagram.len() > limits::ANNOUNCEMENT_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(datagram).ok()
    }
}

/// A moment in ISO 8601, in UTC and with microseconds: `2025-01-01T12:00:00.000000Z`.
pub fn iso_text(at: Timestamp) -> String {
    let (seconds, us) = (at.as_us() / 1_000_000, at.as_us() % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date, counted in eras of 400 years from March 1st of the year 0.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{us:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_in_utc() {
        let check = |seconds: u64, expected: &str| {
            assert_eq!(iso_text(Timestamp::from_us(seconds * 1_000_000 + 7)), expected);
        };
        check(0, "1970-01-01T00:00:00.000007Z");
        check(951_782_399, "2000-02-28T23:59:59.000007Z");
        check(951_782_400, "2000-02-29T00:00:00.000007Z");
        check(1_735_732_800, "2025-01-01T12:00:00.000007Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000007Z");
    }

    #[test]
    fn an_announcement_has_the_documented_form() {
        let text = r#"{"type":"peer_announcement","peer":{"peer_id":"node2-uuid","host":"192.168.1.100","port":8010,
            "last_seen":"2025-01-01T12:00:00","api_version":"1.0.1","status":"active","more":[1]}}"#;
        let announcement = Announcement::read(text.as_bytes()).unwrap();
        assert_eq!(announcement.peer.peer_id.as_str(), "node2-uuid");
        assert_eq!(announcement.peer.port, 8010);
        assert!(serde_json::to_string(&announcement).unwrap().starts_with(r#"{"type":"peer_announcement","#));
    }

    #[test]
    fn what_is_no_announcement_is_left_alone() {
        for wrong in ["", "{}", "[]", r#"{"type":"other","peer":{}}"#, r#"{"type":"peer_announcement"}"#] {
            assert_eq!(Announcement::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Announcement::read(&vec![b' '; limits::ANNOUNCEMENT_BYTES_MAX + 1]), None);
        assert!(PeerAddress::new("a/b", 1).is_err() && PeerAddress::new("", 1).is_err());
        assert_eq!(PeerAddress::new("::1", 8000).unwrap().to_string(), "[::1]:8000");
    }
}
