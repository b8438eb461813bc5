//! Deletes that are forgotten, not passed on, or undone.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 21,
        name: "no tombstones",
        what: "A delete leaves nothing behind, so whoever still has the row brings it back.",
        case: "system B",
        verbs: "deletes, a comparison",
        breaks: &["P7", "P2", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/21-no-tombstones.yaml"),
    },
    Entry {
        number: 22,
        name: "purged at once",
        what: "Tombstones go before every peer has seen them, and nobody is told what was purged.",
        case: "go-fast-note-sync #9",
        verbs: "a peer that is away, deletes, purges",
        breaks: &["P7", "P2", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/22-purged-at-once.yaml"),
    },
    Entry {
        number: 23,
        name: "concurrent deletes stop",
        what: "Where a delete meets another of the same row, neither is passed on to a third peer.",
        case: "Corrosion #352",
        verbs: "overlapping deletes, a peer that is away",
        breaks: &["P15", "P2"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/23-concurrent-deletes-stop.yaml"),
    },
    Entry {
        number: 24,
        name: "re-insert lost",
        what: "A row that was deleted and inserted again stays deleted where the delete comes first.",
        case: "cr-sqlite c13d6f00",
        verbs: "delete and re-insert",
        breaks: &["P8", "P4", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/24-re-insert-lost.yaml"),
    },
    Entry {
        number: 25,
        name: "revived by repair",
        what: "A comparison brings back rows whose tombstones are purged.",
        case: "Riak ReapErase",
        verbs: "a peer away longer than tombstones are kept",
        breaks: &["P7"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/25-revived-by-repair.yaml"),
    },
];
