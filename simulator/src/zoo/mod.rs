//! The zoo: broken variants of the core, each modelled on a public case, to show that the checks see them.
//!
//! A defect lives outside the core: a policy that decides wrongly, a codec that skips a step, a
//! database that answers too early, a generator that leaves out. It is chosen at run time by its
//! number, and the whole zoo is one variant of the world.

pub mod hunt;
mod planted;

pub use planted::Planted;

/// A defect that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u32,
    /// A few words.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The public case it is modelled on.
    pub case: &'static str,
    /// Verbs that it takes to show.
    pub verbs: &'static str,
    /// Properties expected to catch it; it counts as caught when one of them fails.
    pub breaks: &'static [&'static str],
    /// Seeds within which it must be caught.
    pub seeds_max: u64,
    /// The scenario in which it shows, a file of `simulator/src/zoo/scenarios`.
    pub scenario: &'static str,
}

/// Whether an entry can be planted in the live rig: those that sit at a host, in the generator, or in how the
/// database is used. The main server there is the core's own program.
pub fn is_plantable_live(number: u32) -> bool {
    matches!(number, 30 | 32 | 43 | 130)
}

/// Every entry.
pub const ENTRIES: &[Entry] = &[
    Entry {
        number: 30,
        name: "retry under a new id",
        what: "An attempt after the first travels under a new operation id, so the server applies it again.",
        case: "FoundationDB commit_unknown_result",
        verbs: "reply lost after commit",
        breaks: &["P14"],
        seeds_max: 100,
        scenario: include_str!("scenarios/30-retry-under-new-id.yaml"),
    },
    Entry {
        number: 32,
        name: "acknowledged before durable",
        what: "The database answers 200 ms before what it answered is durable, and loses it in a crash.",
        case: "NATS, Jepsen",
        verbs: "abrupt crash and restart of the database",
        breaks: &["P5"],
        seeds_max: 100,
        scenario: include_str!("scenarios/32-acknowledged-before-durable.yaml"),
    },
    Entry {
        number: 43,
        name: "deadline from dequeue",
        what: "The deadline of a critical operation counts from the sending, so waiting in the queue is free.",
        case: "of our own making, after system A",
        verbs: "overload, slow database",
        breaks: &["P19"],
        seeds_max: 100,
        scenario: include_str!("scenarios/43-deadline-from-dequeue.yaml"),
    },
    Entry {
        number: 50,
        name: "no MAC",
        what: "Frames are opened without verifying their tag.",
        case: "system A",
        verbs: "tampered bytes",
        breaks: &["P26"],
        seeds_max: 100,
        scenario: include_str!("scenarios/50-no-mac.yaml"),
    },
    Entry {
        number: 51,
        name: "constant IV",
        what: "A host seals every message with the same initialisation vector.",
        case: "Spring Security CVE-2020-5408",
        verbs: "none",
        breaks: &["P27"],
        seeds_max: 100,
        scenario: include_str!("scenarios/51-constant-iv.yaml"),
    },
    Entry {
        number: 52,
        name: "key used as IV",
        what: "A host takes half of its key for the initialisation vector.",
        case: "Dynomite #591",
        verbs: "none",
        breaks: &["P27"],
        seeds_max: 100,
        scenario: include_str!("scenarios/52-key-as-iv.yaml"),
    },
    Entry {
        number: 53,
        name: "padding oracle",
        what: "A frame whose padding is wrong is refused with another status than one whose tag is.",
        case: "CVE-2020-8911",
        verbs: "tampered bytes",
        breaks: &["P26"],
        seeds_max: 100,
        scenario: include_str!("scenarios/53-padding-oracle.yaml"),
    },
    Entry {
        number: 54,
        name: "outer fields not bound",
        what: "The operation id and the urgency outside the frame are believed, whatever was sealed.",
        case: "system A",
        verbs: "changed outer fields",
        breaks: &["P26"],
        seeds_max: 100,
        scenario: include_str!("scenarios/54-outer-not-bound.yaml"),
    },
    Entry {
        number: 55,
        name: "plaintext reply accepted",
        what: "A host takes a reply that is no frame for plain text.",
        case: "system A",
        verbs: "downgrade",
        breaks: &["P26"],
        seeds_max: 100,
        scenario: include_str!("scenarios/55-plaintext-reply.yaml"),
    },
    Entry {
        number: 56,
        name: "replay accepted",
        what: "The main server does not look at the time of a request.",
        case: "of our own making",
        verbs: "replay after the freshness window",
        breaks: &["P26"],
        seeds_max: 100,
        scenario: include_str!("scenarios/56-replay-accepted.yaml"),
    },
    Entry {
        number: 57,
        name: "retired key still opens",
        what: "The main server goes on opening what is sealed with a key that was retired.",
        case: "of our own making",
        verbs: "rotation of keys",
        breaks: &["P28"],
        seeds_max: 100,
        scenario: include_str!("scenarios/57-retired-key.yaml"),
    },
    Entry {
        number: 58,
        name: "another host's account accepted",
        what: "The key of any host opens a request, and the account outside the frame is believed.",
        case: "system A",
        verbs: "changed outer fields",
        breaks: &["P26"],
        seeds_max: 100,
        scenario: include_str!("scenarios/58-another-account.yaml"),
    },
    Entry {
        number: 59,
        name: "secret in an error message",
        what: "Why a request is rejected is told with the host's key.",
        case: "of our own making",
        verbs: "clock skew",
        breaks: &["P25"],
        seeds_max: 100,
        scenario: include_str!("scenarios/59-secret-in-error.yaml"),
    },
    Entry {
        number: 130,
        name: "generator that waits for the system",
        what: "The load generator leaves arrivals out while a host has many operations under way, and does not say so.",
        case: "of our own making: coordinated omission",
        verbs: "slow database",
        breaks: &["P30"],
        seeds_max: 100,
        scenario: include_str!("scenarios/130-generator-waits.yaml"),
    },
    Entry {
        number: 131,
        name: "counted IV",
        what: "A host counts its initialisation vectors: none comes again, and each can be foretold.",
        case: "of our own making, after Rogaway 2004",
        verbs: "none",
        breaks: &["P27"],
        seeds_max: 100,
        scenario: include_str!("scenarios/131-counted-iv.yaml"),
    },
];

/// The entry with this number.
pub fn entry(number: u32) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.number == number)
}

/// The variant of the world with this defect.
pub fn planted(number: u32) -> Option<Planted> {
    entry(number).map(|entry| Planted::new(entry.number))
}
