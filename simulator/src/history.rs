//! What happened, as events: the only thing that checks see.
//!
//! An event carries the world's time in microseconds since the start of the run. Its JSON form, one
//! object a line, is the format of `history.jsonl`; a history from anywhere in this form can be judged.

mod detail;
mod digits;
mod kind;
mod name;
pub mod peers;
mod what;

pub use detail::{End, Judgement, ReadStage, Refusal, Tampering, Update, VectorAt, Way};
pub use kind::Kind;
pub use name::{NotAStateName, NotAnOpRef, OpRef, StateName, WireId};
pub use what::What;

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Microseconds since the start of the run.
    pub at_us: u64,
    /// What happened.
    pub what: What,
}
