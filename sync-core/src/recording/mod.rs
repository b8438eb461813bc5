//! Recordings: what went into engines, what they drew and what came out, so that a run can be repeated bit for
//! bit without any server.
//!
//! An engine reads no clock and draws nothing of its own, so its inputs, the moments at which they were taken
//! from its mailbox and its draws decide everything. [`Recorder`] writes them down, [`Recording::replay`] hands them to
//! fresh engines and compares every effect.
//!
//! # Format
//! Lines of JSON, each `{"sum": .., "n": .., "<kind>": {..}}`. `n` counts the lines from 1; `sum` is 16 hex
//! digits over the rest of the line (FNV-1a of 64 bits), and may be left out by a person who edits
//! a recording. The kinds, in the order of their appearance:
//!
//! - `header`, the first line: a [`Header`].
//! - `engine`: an [`EngineHeader`] and the draws of the engine's construction. Engines are numbered from 0 in the
//!   order of these lines; a restarted one is a new engine.
//! - `call`: `engine`; `mono_us` and `wall_us`, the moment; `input`, the input or `"wake"`; `draws`, a list of
//!   `[purpose, value]`; `effects`, a list of 128-bit digests of the effects' JSON in hex, or of the effects.
//! - `end`, the last line: how many `engines` and `calls` there were. It is missing when the process was killed.
//!
//! A frame is text where it is UTF-8 and `{"base64": ".."}` where it is not. Integers are exact, also above 2^53.
//! A recording holds the application's data in clear, and no key: of keys it has fingerprints.

mod entropy;
pub mod frame;
mod keys;
mod line;
mod reader;
mod recorder;
mod replay;
mod tape;

use serde::{Deserialize, Serialize};

use crate::entropy::Purpose;
use crate::envelope::{HostRing, MasterRing};
use crate::host_sync::settings::{ServerSettings, SessionSettings};
use crate::id::AccountId;
use crate::limits;

pub use entropy::{DrawLog, RecordedEntropy, ReplayEntropy};
pub use keys::{KeyBag, KeyError, SealedParts};
pub use line::digest;
pub use reader::{Recording, RecordingError};
pub use recorder::{EngineIndex, NotedInput, Recorder};
pub use replay::{Difference, Parts, Replayed, What};
pub use tape::{Tap, Tape};

/// Version of the format that is written and read.
pub const FORMAT: u32 = 1;

/// What holds for a whole recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// In which form messages travelled: `sealed` for the [envelope](crate::envelope), else whatever the rig
    /// calls a form of its own.
    pub frames: String,
    /// In which form effects are kept.
    pub effects: EffectForm,
    /// The seed from which the rig's keys derive, if they do: then a replay needs no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rig_seed: Option<u64>,
    /// The planted defect of the engines, by its number in the simulator's zoo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defect: Option<u32>,
}

/// How much of an effect is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectForm {
    /// 128 bits of SHA-256 over its JSON: enough to tell that a replay differs.
    #[default]
    Digest,
    /// Its JSON: a difference can be shown from both sides.
    Full,
}

/// What an engine was made of, but for its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineHeader {
    /// Its name for people.
    pub name: String,
    /// Which engine, with its settings.
    pub kind: EngineKind,
    /// Its keys, the one that seals first; empty where frames are not sealed.
    pub keys: Vec<KeyMark>,
}

/// The engines that can be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// A [`Session`](crate::host_sync::session::Session).
    Session {
        /// Whose session.
        account: AccountId,
        /// Its settings.
        settings: SessionSettings,
    },
    /// A [`Server`](crate::host_sync::server::Server).
    Server {
        /// Which part of the main server, from 0.
        shard: u32,
        /// Its settings.
        settings: ServerSettings,
    },
}

/// Tells a key from others without giving it away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyMark {
    /// Its id.
    pub id: String,
    /// Its fingerprint, 16 hex digits: see [`HostKey::fingerprint`](crate::envelope::HostKey::fingerprint).
    pub fingerprint: String,
}

impl KeyMark {
    /// The keys of a host.
    pub fn host(ring: &HostRing) -> Vec<Self> {
        ring.keys().map(|key| Self { id: key.id().to_string(), fingerprint: key.fingerprint() }).collect()
    }

    /// The keys of a main server.
    pub fn server(ring: &MasterRing) -> Vec<Self> {
        ring.keys().map(|key| Self { id: key.id().to_string(), fingerprint: key.fingerprint() }).collect()
    }
}

impl std::fmt::Display for KeyMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` with the fingerprint {}", self.id, self.fingerprint)
    }
}

impl EngineKind {
    /// A setting that no configuration allows, if there is one: a damaged recording must not make an engine
    /// that overflows.
    fn out_of_range(&self) -> Option<&'static str> {
        let Self::Session { settings, .. } = self else { return None };
        let within = |number: usize, max: u64| number as u64 <= max;
        [
            ("queue_max", within(settings.queue_max, limits::QUEUE_MAX)),
            ("workers", within(settings.workers, limits::WORKERS_MAX)),
            ("critical_slots", within(settings.critical_slots, limits::CRITICAL_SLOTS_MAX)),
            ("results_kept", within(settings.results_kept, limits::RESULTS_KEPT as u64)),
        ]
        .into_iter()
        .find_map(|(name, fits)| (!fits).then_some(name))
    }
}

/// One draw: what it was for, and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw(pub Purpose, pub u64);

/// How much a recording holds, or how much of it was replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Engines, restarted ones counted again.
    pub engines: u64,
    /// Calls of `handle` and `wake`.
    pub calls: u64,
    /// Operations that applications asked sessions for.
    pub operations: u64,
    /// Requests that reached servers.
    pub requests: u64,
    /// Effects.
    pub effects: u64,
}
