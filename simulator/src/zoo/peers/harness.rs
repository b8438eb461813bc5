//! The harness itself.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    number: 137,
    name: "sessions that wait for the system",
    what: "The generator leaves transactions out while a session has one under way, and does not say so.",
    case: "of our own making: coordinated omission",
    verbs: "slow transactions",
    breaks: &["P30"],
    seeds_max: 100,
    scenario: include_str!("../scenarios/137-sessions-wait.yaml"),
}];
