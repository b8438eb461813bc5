//! Who wins: wrong orders of versions.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 1,
        name: "tie keeps local",
        what: "Of two versions with equal stamps each peer keeps its own.",
        case: "Spock #608",
        verbs: "equal stamps",
        breaks: &["P4", "P1", "P3"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/1-tie-keeps-local.yaml"),
    },
    Entry {
        number: 2,
        name: "deletes always lose",
        what: "A delete that meets a row loses, however old that is; where the row is deleted the delete has won.",
        case: "Syncthing #10207",
        verbs: "deletes",
        breaks: &["P4", "P8", "P1"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/2-deletes-lose.yaml"),
    },
    Entry {
        number: 3,
        name: "node ids by a 16-bit hash",
        what: "Equal stamps are decided by a 16-bit checksum of the node ids; where that is equal, too, each keeps its own.",
        case: "Spock #508",
        verbs: "equal stamps, node ids with equal checksums",
        breaks: &["P4", "P1", "P3"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/3-node-ids-hashed.yaml"),
    },
    Entry {
        number: 4,
        name: "the higher node wins",
        what: "The greater node id wins, even with the older stamp.",
        case: "system B",
        verbs: "partition",
        breaks: &["P4", "P5"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/4-higher-node-wins.yaml"),
    },
];
