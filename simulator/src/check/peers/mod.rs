//! Checks of peers that each have a database of their own: one property a file, online folds over events.
//!
//! Their memory is bounded by peers times rows, never by the length of the run.

mod acknowledged;
mod dealt;
#[cfg(test)]
mod healthy;
mod held;
mod outside;
mod p01_convergence;
mod p02_liveness;
mod p03_merge_laws;
mod p04_winner_order;
mod p05_acknowledged;
mod p06_no_phantom;
mod p07_no_resurrection;
mod p08_delete_symmetry;
mod p09_monotonic_reads;
mod p10_own_writes;
mod p11_key_order;
mod p12_causality;
mod p13_clock_contract;
mod p14_exactly_once;
mod p15_cursor;
mod p16_atomic_batches;
mod p17_staleness;
mod p18_convergence_time;
mod p29_strangers;
mod p30_honesty;
mod recorded;
mod sessions;
mod strength;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod visibility;

use std::collections::BTreeMap;

use sync_core::peer_sync::schema::Policy;

use super::{Check, Property};
use crate::history::peers::FinalState;

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
    /// Who wins in each table.
    pub policies: BTreeMap<String, Policy>,
    /// How long a committed write may take to be held by any other peer, in microseconds, if that is stated. Holds
    /// during faults, too.
    pub staleness_us_max: Option<u64>,
    /// Stamps and positions are hidden: peers are judged by what applications write and read.
    pub outside: Option<Outside>,
}

/// What is known of peers whose stamps are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// They may join two versions of a row into a third one. Then what is shown cannot be traced to a write.
    pub joins: bool,
}

/// The properties of peers in the order of their numbers.
pub fn properties() -> Vec<Property> {
    all(&PeerTerms::default()).iter().map(|check| check.property()).collect()
}

/// Every check of peers.
pub fn all(terms: &PeerTerms) -> Vec<Box<dyn Check>> {
    if let Some(Outside { joins }) = terms.outside {
        return outside::all(terms, joins);
    }
    vec![
        Box::new(p01_convergence::Convergence::default()),
        Box::new(p02_liveness::Liveness::new(terms)),
        Box::new(p03_merge_laws::MergeLaws::new(terms)),
        Box::new(p04_winner_order::WinnerOrder::new(terms)),
        Box::new(p05_acknowledged::NothingLost::new(terms)),
        Box::new(p06_no_phantom::NoPhantom::new(terms)),
        Box::new(p07_no_resurrection::NoResurrection::new(terms)),
        Box::new(p08_delete_symmetry::DeleteSymmetry::new(terms)),
        Box::new(p09_monotonic_reads::MonotonicReads::new(terms)),
        Box::new(p10_own_writes::OwnWrites::new(terms)),
        Box::new(p11_key_order::KeyOrder::new(terms)),
        Box::new(p12_causality::Causality::new(terms)),
        Box::new(p13_clock_contract::ClockContract::new(terms)),
        Box::new(p14_exactly_once::ExactlyOnce::new(terms)),
        Box::new(p15_cursor::CursorCompleteness::new(terms)),
        Box::new(p16_atomic_batches::AtomicBatches::new(terms)),
        Box::new(p17_staleness::Staleness::new(terms)),
        Box::new(p18_convergence_time::ConvergenceTime::new(terms)),
        Box::new(p29_strangers::Strangers::new(terms)),
        Box::new(p30_honesty::Honesty::default()),
    ]
}

/// Peers in a sentence, the first few of them.
fn list(peers: &[u32]) -> String {
    let named: Vec<_> = peers.iter().take(LISTED_MAX).map(u32::to_string).collect();
    let more = if peers.len() > LISTED_MAX {
        format!(" and {} more", peers.len() - LISTED_MAX)
    } else {
        String::new()
    };
    named.join(", ") + &more
}

/// What a peer holds, in a sentence.
fn say(state: &FinalState) -> String {
    let tombstone = if state.deleted { "tombstone " } else { "" };
    format!("{tombstone}{} ({})", state.version, state.version.hash)
}

const LISTED_MAX: usize = 5;
