//! Defects among peers, each a variant of their world; a file for each subject.

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

use crate::virtual_rig::peers::AnyVariant;

/// The variant with the defect of this number.
pub(in crate::zoo) fn variant(number: u32) -> Option<AnyVariant> {
    order::variant(number)
        .or_else(|| clocks::variant(number))
        .or_else(|| delivery::variant(number))
        .or_else(|| detection::variant(number))
        .or_else(|| batches::variant(number))
        .or_else(|| deletes::variant(number))
        .or_else(|| repair::variant(number))
        .or_else(|| constraints::variant(number))
        .or_else(|| upkeep::variant(number))
        .or_else(|| sessions::variant(number))
        .or_else(|| identities::variant(number))
        .or_else(|| harness::variant(number))
}
