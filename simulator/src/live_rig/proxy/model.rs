//! What a link is told, and what it tells. The same types travel between the two processes as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::scenario::model::Distribution;

/// A link to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Its name; unique within a proxy.
    pub name: String,
    /// Where connections lead.
    pub upstream: SocketAddr,
}

/// How a link treats what passes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// What clients send.
    pub to_upstream: Flow,
    /// What the upstream answers.
    pub to_client: Flow,
    /// New connections are reset as soon as they are there; open ones go on.
    pub refuse_new: bool,
}

/// What happens to bytes of one direction, in each connection. The default passes them on as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flow {
    /// How long bytes are on their way; drawn for each chunk as it is read. Bytes that are under way keep
    /// their delay when this changes. Also the end of a stream takes its time.
    pub latency: Option<Distribution>,
    /// At most so many bytes a second, from 1, in each connection.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// Bytes wait, and flow on when this ends.
    pub stall: bool,
    /// Bytes vanish, the end of a stream as well. A connection that lost any is reset when this ends, since
    /// a stream never continues past a hole.
    pub blackhole: bool,
    /// Writes of at most so many bytes, from 1, with a pause of a millisecond after each.
    pub slice_bytes: Option<u32>,
    /// Chance that a byte has one bit flipped, in parts per million, at most 1,000,000.
    pub corrupt_ppm: u32,
    /// Chance that bytes which came together break their connection instead of going on: it is reset both
    /// ways, in parts per million, at most 1,000,000.
    pub reset_ppm: u32,
}

/// What passed a link since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkStatistics {
    /// Connections that came, refused ones included.
    pub connections: u64,
    /// Connections that are open.
    pub open: u64,
    /// Connections that were reset at once, by `refuse_new` or because the upstream took none.
    pub refused: u64,
    /// Bytes written to the upstream.
    pub bytes_to_upstream: u64,
    /// Bytes written to clients.
    pub bytes_to_client: u64,
    /// Bytes among them with a flipped bit.
    pub bytes_corrupted: u64,
    /// Bytes that vanished.
    pub bytes_lost: u64,
}

impl Behaviour {
    /// Both directions alike.
    pub fn both(flow: Flow) -> Self {
        Self { to_upstream: flow.clone(), to_client: flow, refuse_new: false }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for flow in [&self.to_upstream, &self.to_client] {
            if flow.bandwidth_bytes_per_s == Some(0) {
                return Err("a bandwidth is at least 1 byte a second; `stall` stops everything".to_owned());
            }
            if flow.slice_bytes == Some(0) {
                return Err("a slice has at least 1 byte".to_owned());
            }
            if flow.corrupt_ppm.max(flow.reset_ppm) > 1_000_000 {
                return Err("a chance is at most 1,000,000 parts per million".to_owned());
            }
        }
        Ok(())
    }
}

/// What the proxy is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) links: Vec<LinkSpec>,
}

/// The first line of the proxy: where each link listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ready {
    pub(super) listening: BTreeMap<String, SocketAddr>,
}

/// One line to the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) link: String,
    pub(super) verb: Verb,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verb {
    Set(Behaviour),
    Cut,
    Reset,
    SetUpstream(SocketAddr),
    Statistics,
}

/// One line from the proxy for each line to it, in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Done,
    Statistics(LinkStatistics),
    Refused(String),
}
