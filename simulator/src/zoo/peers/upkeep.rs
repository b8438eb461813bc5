//! Positions, members and pauses.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 64,
        name: "never readmitted",
        what: "A peer that misses one heartbeat is removed, and never taken on again.",
        case: "of our own making",
        verbs: "a partition, announcements",
        breaks: &["P2"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/64-never-readmitted.yaml"),
    },
    Entry {
        number: 65,
        name: "position by sequence",
        what: "A position is a number: a transaction that began early and commits late is skipped.",
        case: "of our own making, after Airbyte #9668",
        verbs: "a late commit",
        breaks: &["P15", "P2"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/65-position-by-sequence.yaml"),
    },
    Entry {
        number: 68,
        name: "old life goes on",
        what: "A database that was set back goes on under numbers that its readers have seen.",
        case: "of our own making",
        verbs: "a restored copy",
        breaks: &["P15", "P2"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/68-old-life-goes-on.yaml"),
    },
    Entry {
        number: 135,
        name: "relays tell nobody",
        what: "What came from others travels on with the next regular round only.",
        case: "of our own making",
        verbs: "a relay",
        breaks: &["P17"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/135-relays-tell-nobody.yaml"),
    },
    Entry {
        number: 136,
        name: "no end of pauses",
        what: "Each failure makes the next pause four times as long, so peers stay apart long after the heal.",
        case: "of our own making",
        verbs: "a long partition",
        breaks: &["P18"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/136-no-end-of-pauses.yaml"),
    },
];
