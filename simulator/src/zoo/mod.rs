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
        number: 31,
        name: "replayed after restart",
        what: "A host that comes back asks again, under new ids, for what it was asked for last before it died.",
        case: "Electric c2ae8bd",
        verbs: "host crash and restart",
        breaks: &["P6", "P14"],
        seeds_max: 100,
        scenario: include_str!("scenarios/31-replayed-after-restart.yaml"),
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
        number: 33,
        name: "dropped at shutdown",
        what: "What waits when a host shuts down has no result.",
        case: "system A",
        verbs: "orderly end of a host under load",
        breaks: &["P21"],
        seeds_max: 100,
        scenario: include_str!("scenarios/33-dropped-at-shutdown.yaml"),
    },
    Entry {
        number: 34,
        name: "batch partly applied",
        what: "Every tenth transaction of several operations ends half-way: the first half is there, and the answer is an error.",
        case: "of our own making, after batches that end half-way",
        verbs: "transactions of several operations",
        breaks: &["P16"],
        seeds_max: 100,
        scenario: include_str!("scenarios/34-batch-partly-applied.yaml"),
    },
    Entry {
        number: 36,
        name: "overflow drops priority",
        what: "A full queue drops the newest priority operation, whoever comes.",
        case: "system A",
        verbs: "overload of a host",
        breaks: &["P21"],
        seeds_max: 100,
        scenario: include_str!("scenarios/36-overflow-drops-priority.yaml"),
    },
    Entry {
        number: 37,
        name: "no result when displaced",
        what: "An operation that gives way in a full queue has no result.",
        case: "system A",
        verbs: "overload of a host",
        breaks: &["P21"],
        seeds_max: 100,
        scenario: include_str!("scenarios/37-no-result-when-displaced.yaml"),
    },
    Entry {
        number: 38,
        name: "priority last in, first out",
        what: "The newest priority operation goes first.",
        case: "system A",
        verbs: "slow database",
        breaks: &["P20"],
        seeds_max: 100,
        scenario: include_str!("scenarios/38-priority-last-in-first-out.yaml"),
    },
    Entry {
        number: 39,
        name: "one critical at a time",
        what: "A second critical operation is refused while one is open.",
        case: "system A",
        verbs: "concurrent critical operations",
        breaks: &["P19", "P21"],
        seeds_max: 100,
        scenario: include_str!("scenarios/39-one-critical-at-a-time.yaml"),
    },
    Entry {
        number: 40,
        name: "no slot reserved",
        what: "Critical operations wait for the workers that slow normal work holds.",
        case: "system A",
        verbs: "slow database",
        breaks: &["P20"],
        seeds_max: 100,
        scenario: include_str!("scenarios/40-no-slot-reserved.yaml"),
    },
    Entry {
        number: 41,
        name: "no order within a key",
        what: "Workers send operations of one map and type side by side, and nothing downstream knows their order.",
        case: "system A",
        verbs: "reordered messages",
        breaks: &["P11"],
        seeds_max: 100,
        scenario: include_str!("scenarios/41-no-key-order.yaml"),
    },
    Entry {
        number: 42,
        name: "retries without back-off",
        what: "Attempts are given up soon and made again at once, without pause and without budget.",
        case: "metastable failures, Bronson et al. 2021",
        verbs: "overload",
        breaks: &["P22"],
        seeds_max: 100,
        scenario: include_str!("scenarios/42-retries-keep-overload-alive.yaml"),
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
        number: 44,
        name: "success after timeout",
        what: "A reply that comes after the deadline is reported as a success, although the timeout was reported before.",
        case: "of our own making, after system A",
        verbs: "slow database",
        breaks: &["P14", "P19"],
        seeds_max: 100,
        scenario: include_str!("scenarios/44-success-after-timeout.yaml"),
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
        number: 61,
        name: "vectors by order",
        what: "Vectors are taken in the order of the provider's answer, not by their index.",
        case: "statewave #225",
        verbs: "permuted index",
        breaks: &["P6e"],
        seeds_max: 100,
        scenario: include_str!("scenarios/61-vectors-by-order.yaml"),
    },
    Entry {
        number: 62,
        name: "fewer vectors zipped",
        what: "Texts are paired with as many vectors as the provider gave, and nobody counts.",
        case: "js-genai #1207",
        verbs: "fewer vectors",
        breaks: &["P6e"],
        seeds_max: 100,
        scenario: include_str!("scenarios/62-fewer-vectors.yaml"),
    },
    Entry {
        number: 63,
        name: "wrong dimension stored",
        what: "A vector that is too short is filled with zeros and taken.",
        case: "of our own making",
        verbs: "wrong dimension",
        breaks: &["P6e"],
        seeds_max: 100,
        scenario: include_str!("scenarios/63-wrong-dimension.yaml"),
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
