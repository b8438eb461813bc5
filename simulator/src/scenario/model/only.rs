//! Scenarios that are for one rig alone.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one rig that a scenario is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// Which.
    pub rig: OnlyRig,
    /// Why the other cannot carry it out, in a sentence: whoever asks for that is shown it.
    pub because: String,
}

/// A rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnlyRig {
    /// The deterministic one.
    Virtual,
    /// Real servers and processes.
    Live,
}

impl fmt::Display for OnlyRig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Virtual => "virtual",
            Self::Live => "live",
        })
    }
}
