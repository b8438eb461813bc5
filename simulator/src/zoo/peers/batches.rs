//! Batches of which something is lost.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 19,
        name: "books kept after a rollback",
        what: "How far a reader has come is kept although the batch was rolled back.",
        case: "Corrosion #307",
        verbs: "a row that an application has locked",
        breaks: &["P15", "P2"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/19-books-kept.yaml"),
    },
    Entry {
        number: 20,
        name: "rollback reported as success",
        what: "The first row that the schema refuses rolls the batch back; success is reported, and the position moves.",
        case: "system B",
        verbs: "a transaction of a parent and its child",
        breaks: &["P2", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/20-rollback-as-success.yaml"),
    },
];
