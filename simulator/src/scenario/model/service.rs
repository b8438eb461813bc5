//! What a main server leans on: a database, a cache, an embedding provider.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, Lognormal};
use crate::scenario::units::{Length, Rate, Share};

/// A database or a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// From the request to its commit.
    pub latency: Distribution,
    /// From the commit to the answer's arrival.
    #[serde(default = "default_answer")]
    pub answer: Length,
    /// Share of requests answered with an error and without effect.
    #[serde(default)]
    pub failures: Share,
    /// Operations that it can carry out in a time, one after the other; those beyond wait in the order of their
    /// coming, before `latency`. Without bound when absent. In the live rig database and
    /// cache have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Rate>,
}

pub(super) fn default_database() -> Service {
    Service {
        latency: Distribution::Lognormal(Lognormal { median: Length::from_ms(3), p99: Length::from_ms(15) }),
        answer: default_answer(),
        failures: Share::ZERO,
        capacity: None,
    }
}

pub(super) fn default_cache() -> Service {
    Service {
        latency: Distribution::Constant(Length::from_us(300)),
        answer: default_answer(),
        failures: Share::ZERO,
        capacity: None,
    }
}

fn default_answer() -> Length {
    Length::from_us(200)
}
