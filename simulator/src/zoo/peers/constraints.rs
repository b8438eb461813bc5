//! References and natural keys.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 35,
        name: "collision stalls",
        what: "A natural key that is taken makes a batch fail, now and whenever it comes again.",
        case: "Spock limitations",
        verbs: "colliding natural keys",
        breaks: &["P2", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/35-collision-stalls.yaml"),
    },
    Entry {
        number: 66,
        name: "set aside on each side",
        what: "A parent deleted at one peer and a child inserted at another: each side sets aside what comes, for ever.",
        case: "of our own making",
        verbs: "parent delete against child insert",
        breaks: &["P1", "P2", "P15"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/66-set-aside-on-each-side.yaml"),
    },
    Entry {
        number: 67,
        name: "keys pair by pair",
        what: "Of two rows with one natural key the lesser is thrown away when it comes second, and kept when it comes first.",
        case: "of our own making",
        verbs: "colliding natural keys",
        breaks: &["P1", "P2"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/67-keys-pair-by-pair.yaml"),
    },
    Entry {
        number: 144,
        name: "references ignored",
        what: "No peer looks at references: children of deleted parents stay, and no parent comes back.",
        case: "of our own making",
        verbs: "parent delete against child insert",
        breaks: &["P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/144-references-ignored.yaml"),
    },
    Entry {
        number: 145,
        name: "natural keys ignored",
        what: "No peer looks at natural keys: all rows that have one show.",
        case: "of our own making",
        verbs: "colliding natural keys",
        breaks: &["P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/145-natural-keys-ignored.yaml"),
    },
];
