//! Which host runs which map: what hosts measure, how they are compared, and what they send of it.
//!
//! Whatever must be decided at once (who becomes the primary of a map, whose epoch ends) is decided by
//! the store, see [`crate::store::hosting`]. Here is what goes in: metrics and their score, the report that
//! carries them, and the data in the published formats that a host sends about its map and its players.

mod metrics;
mod player;
mod report;

pub use metrics::{HostMetrics, MetricsOutOfRange};
pub use player::{
    MapStatus, Player, Position, PublishedValidation, map_state, player_enters, player_leaves, player_moves,
    security_validation,
};
pub use report::{AssignmentLine, AssignmentsPayload, InvalidReport, Report};
