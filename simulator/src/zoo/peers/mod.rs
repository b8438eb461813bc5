//! Defects among peers that have a database each: a list for each subject.

mod batches;
mod clocks;
mod constraints;
mod deletes;
mod delivery;
mod detection;
mod harness;
mod identities;
mod order;
mod repair;
mod sessions;
mod upkeep;

use super::Entry;

/// The lists.
pub(super) const LISTS: &[&[Entry]] = &[
    order::ENTRIES,
    clocks::ENTRIES,
    detection::ENTRIES,
    batches::ENTRIES,
    delivery::ENTRIES,
    deletes::ENTRIES,
    repair::ENTRIES,
    constraints::ENTRIES,
    upkeep::ENTRIES,
    sessions::ENTRIES,
    identities::ENTRIES,
    harness::ENTRIES,
];
