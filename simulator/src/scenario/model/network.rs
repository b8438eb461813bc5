//! The links between hosts and main servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, Lognormal};
use crate::scenario::units::{Length, Share};

/// The links between hosts and main server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// From a host to the main server.
    pub to_server: Link,
    /// From the main server to a host.
    pub to_host: Link,
    /// How a frame travels: `sealed` with the real cipher, `modelled` with the same size and no cipher.
    pub frames: Frames,
}

/// How a frame travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Frames {
    /// Encrypted and authenticated by the core, as in production.
    #[default]
    Sealed,
    /// Same JSON size and delays, no cipher: for runs of millions of operations.
    Modelled,
}

/// One direction of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Delay of one message.
    pub latency: Distribution,
    /// Share of messages that vanish.
    pub loss: Share,
    /// Share of messages that arrive twice, the second after a delay of its own.
    pub duplicate: Share,
    /// Share of messages held back by `reorder_delay`, so that later ones overtake them.
    pub reorder: Share,
    /// How long a reordered message is held back.
    pub reorder_delay: Length,
    /// Share of messages that are tampered with.
    pub tamper: Share,
    /// What is done to them: one of these, drawn for each.
    #[schemars(length(min = 1))]
    pub tamper_with: Vec<Tamper>,
    /// Share of messages that somebody records and sends once more, unaltered. The answer to a replayed
    /// request goes to whoever replayed it.
    pub replay: Share,
    /// How long after the first sending; any delay of the link comes on top.
    pub replay_after: Length,
}

/// What is done to a message that is tampered with. With modelled frames the first five are only marked, and
/// refused because they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tamper {
    /// One bit of the body is flipped.
    FlipBit,
    /// The end of the frame or of the body is cut off.
    Truncate,
    /// Two blocks of the ciphertext change places.
    SwapBlocks,
    /// Plain text, or a frame without a tag, takes its place.
    Downgrade,
    /// The account, the operation id or the urgency outside the frame is changed. Requests only.
    ChangeOuter,
    /// The version in front of the frame becomes one that nobody speaks.
    UnknownVersion,
    /// An earlier reply to another operation of the same host takes its place. Replies only.
    SwapReply,
}

impl Default for Network {
    fn default() -> Self {
        Self { to_server: Link::default(), to_host: Link::default(), frames: Frames::Sealed }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Distribution::Lognormal(Lognormal {
                median: Length::from_ms(15),
                p99: Length::from_ms(60),
            }),
            loss: Share::ZERO,
            duplicate: Share::ZERO,
            reorder: Share::ZERO,
            reorder_delay: Length::from_ms(100),
            tamper: Share::ZERO,
            tamper_with: vec![Tamper::FlipBit],
            replay: Share::ZERO,
            replay_after: Length::from_ms(200),
        }
    }
}
