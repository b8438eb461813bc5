//! Comparisons and wires that do not see a difference, or make one.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 26,
        name: "digest over stamps",
        what: "Comparisons look at stamps only and nothing recomputes hashes, so a damaged row stays.",
        case: "Riak AAE design",
        verbs: "stored corruption",
        breaks: &["P1", "P6"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/26-digest-over-stamps.yaml"),
    },
    Entry {
        number: 27,
        name: "digest over unordered JSON",
        what: "Each peer writes and hashes the keys of JSON in an order of its own, so equal rows differ for ever.",
        case: "of our own making",
        verbs: "JSON",
        breaks: &["P1", "P6", "P18"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/27-unordered-json.yaml"),
    },
    Entry {
        number: 28,
        name: "repair one way only",
        what: "The peer that compares takes what it lacks and gives nothing.",
        case: "of our own making",
        verbs: "a clock too far ahead, a comparison",
        breaks: &["P2", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/28-repair-one-way.yaml"),
    },
    Entry {
        number: 29,
        name: "floats lose bits",
        what: "Numbers travel as floats of 32 bits.",
        case: "cr-sqlite test comment",
        verbs: "floats",
        breaks: &["P6", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/29-floats-lose-bits.yaml"),
    },
    Entry {
        number: 146,
        name: "damaged rows claimed",
        what: "A peer refuses a row that its source's disk has damaged, and claims to have it.",
        case: "of our own making",
        verbs: "a damaged row, a partition",
        breaks: &["P2", "P5"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/146-damaged-rows-claimed.yaml"),
    },
];
