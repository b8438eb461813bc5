//! Verdicts and exit codes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// The rig cannot observe what it takes to judge it.
    Unknown,
    /// It is violated.
    Fail,
}

impl Verdict {
    /// The worse of two: a failure is a failure whatever else is unknown.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }

    /// The process's exit code: 0 pass, 1 fail, 3 unknown. Invalid input has 2, and precedence over all.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Unknown => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Unknown => "unknown",
            Self::Fail => "FAIL",
        })
    }
}

/// A violation that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// When it was noticed, in microseconds since the start of the run.
    pub at_us: u64,
    /// The operation concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<crate::history::OpRef>,
    /// What is wrong, in a sentence with the figures.
    pub message: String,
}

/// What a check says at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// The property.
    pub property: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Whether the scenario demands it; others are shown and do not count.
    pub demanded: bool,
    /// How much was looked at, in words, or why it is unknown.
    pub basis: String,
    /// What would have been a violation and was counted instead, for a reason that the property states; `basis` says
    /// which.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub excused: u64,
    /// Violations in all.
    pub violations: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
