//! Who is talked to.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 140,
        name: "nobody tells two of one name apart",
        what: "Whoever answers to a node id is taken for the peer of that name, although the first one is still there.",
        case: "system B: a configuration file in the repository gives every clone the same node id",
        verbs: "a machine under the name of another",
        breaks: &["P29", "P15"],
        seeds_max: 20,
        scenario: include_str!("../scenarios/140-two-of-one-name.yaml"),
    },
    Entry {
        number: 141,
        name: "versions are not compared",
        what: "Everybody is talked to, whatever version it speaks; an old peer drops a field that it does not know.",
        case: "a rolling upgrade in which version 2 tells deletions in a field of their own",
        verbs: "mixed versions of the protocol",
        breaks: &["P15", "P29"],
        seeds_max: 20,
        scenario: include_str!("../scenarios/141-versions-not-compared.yaml"),
    },
];
