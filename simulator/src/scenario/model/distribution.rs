//! How long things take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::units::Length;

/// A distribution of delays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Always the same.
    Constant(Length),
    /// Evenly between two bounds.
    Uniform(Uniform),
    /// Exponential.
    Exponential(Exponential),
    /// Log-normal, the usual shape of network and database latency.
    Lognormal(Lognormal),
}

/// Evenly between two bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uniform {
    /// Shortest delay.
    pub min: Length,
    /// Longest delay.
    pub max: Length,
}

/// Exponential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// Mean delay.
    pub mean: Length,
}

/// Log-normal by two of its percentiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lognormal {
    /// Half of the delays are shorter.
    pub median: Length,
    /// 99 of 100 delays are shorter; at least `median`.
    pub p99: Length,
}
