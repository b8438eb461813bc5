//! What sessions of applications see.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 133,
        name: "reads go back",
        what: "Every other read is served from a copy of the database that is up to two seconds old.",
        case: "of our own making, after Terry et al. 1994",
        verbs: "reads",
        breaks: &["P9"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/133-reads-go-back.yaml"),
    },
    Entry {
        number: 134,
        name: "own writes not read",
        what: "Reads are served from a copy of the database that is up to two seconds old, writes go to the database.",
        case: "of our own making, after Terry et al. 1994",
        verbs: "reads",
        breaks: &["P10"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/134-own-writes-not-read.yaml"),
    },
];
