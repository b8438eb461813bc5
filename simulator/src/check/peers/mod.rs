//! Checks of peers that each have a database of their own: one property a file, online folds over events.
//!
//! Their memory is bounded by peers times rows, never by the length of the run.

use super::Check;

/// What the checks need to know of a scenario among peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTerms {
    /// Peers.
    pub count: u32,
    /// How far ahead of a peer's clock a stamp may lie that it accepts, in microseconds.
    pub stamp_ahead_us_max: u64,
    /// How soon after the last fault everything acknowledged must be everywhere, in microseconds.
    pub converge_within_us: u64,
    /// Rows of a transaction that travel and commit whole.
    pub transaction_rows_max: usize,
    /// Tables whose rows go by the last writer by row: only there does the greater version win.
    pub last_writer_tables: Vec<String>,
    /// Tables with another policy under which one of two versions still wins whole (first writer, priority of nodes).
    /// Tables of neither list may join two versions into a third: their versions are not compared.
    pub one_wins_tables: Vec<String>,
    /// How long a committed write may take to be held by any other peer, in microseconds, if that is stated. Holds
    /// during faults, too.
    pub staleness_us_max: Option<u64>,
}

/// Every check of peers.
pub fn all(_terms: &PeerTerms) -> Vec<Box<dyn Check>> {
    vec![]
}
