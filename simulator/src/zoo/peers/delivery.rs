//! How rows arrive: whole transactions, once.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        number: 138,
        name: "transactions cut by pages",
        what: "A page ends after two rows, wherever transactions end; what is left comes with the next.",
        case: "of our own making",
        verbs: "transactions of several rows",
        breaks: &["P16"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/138-transactions-cut.yaml"),
    },
    Entry {
        number: 139,
        name: "merged again",
        what: "What a peer has merged takes effect once more behind the next merge, whatever is there by then.",
        case: "of our own making, after FoundationDB commit_unknown_result",
        verbs: "none",
        breaks: &["P14"],
        seeds_max: 100,
        scenario: include_str!("../scenarios/139-merged-again.yaml"),
    },
    Entry {
        number: 147,
        name: "the rest untold",
        what: "A page does not say which rows of its transactions it leaves out, as the reader has them already; who reads that reader sees a part.",
        case: "of our own making",
        verbs: "transactions that share a row, relays",
        breaks: &["P16"],
        seeds_max: 5,
        scenario: include_str!("../scenarios/147-the-rest-untold.yaml"),
    },
];
