//! What every form of the report says alike: names, units and the counts in their order.

use crate::check::{self, Property};
use crate::latency::{Percentiles, Row};
use crate::recorder::LaneCounts;
use crate::run::{Summary, ms};
use crate::verdict::Judgement;

/// The percentiles shown, with their labels.
pub(super) fn shown(row: &Row) -> [(&'static str, Option<u64>); 5] {
    [
        ("p50", row.p50_us),
        ("p95", row.p95_us),
        ("p99", row.p99_us),
        ("p99.9", row.p999_us),
        ("max", row.max_us),
    ]
}

/// The real servers of a run, with their versions.
pub(super) fn servers(summary: &Summary) -> String {
    let servers = summary.servers.iter().map(|server| format!("{} {}", server.name, server.version));
    servers.collect::<Vec<_>>().join(", ")
}

/// A percentile that falls among operations of which no reply ever came is longer than can be told.
pub(super) const NO_REPLY: &str = "no reply";

/// A percentile in words.
pub(super) fn percentile(value: Option<u64>) -> String {
    value.map_or_else(|| NO_REPLY.to_owned(), ms)
}

/// Whether a lane had operations whose latency counts.
pub(super) fn has_latency(lane: &Percentiles) -> bool {
    lane.measured + lane.censored > 0
}

/// `P14 exactly-once effect`, or the id alone where no check has it.
pub(super) fn property(among_peers: bool, judgement: &Judgement) -> String {
    let id = &judgement.property;
    match judged(among_peers, judgement) {
        Some(property) => format!("{id} {}", property.name),
        None => id.clone(),
    }
}

/// What a property says, where a check has it.
pub(super) fn statement(among_peers: bool, judgement: &Judgement) -> &'static str {
    judged(among_peers, judgement).map_or("", |property| property.statement)
}

/// Hosts and peers have properties of one id that say different things.
fn judged(among_peers: bool, judgement: &Judgement) -> Option<Property> {
    let properties = if among_peers { check::peers::properties() } else { check::properties() };
    properties.into_iter().find(|property| property.id == judgement.property)
}

/// Violations that are counted and not listed.
pub(super) fn unlisted(judgement: &Judgement) -> u64 {
    judgement.violations.saturating_sub(judgement.findings.len() as u64)
}

/// The properties that the scenario demands, and the others.
pub(super) fn parted(summary: &Summary) -> (Vec<&Judgement>, Vec<&Judgement>) {
    summary.properties.iter().partition(|judgement| judgement.demanded)
}

/// A length as its author would write it: `500 ms`, `60 s`.
pub(super) fn length(us: u64) -> String {
    match us {
        us if us > 0 && us.is_multiple_of(1_000_000) => format!("{} s", grouped(us / 1_000_000)),
        us if us < 1_000_000 && us.is_multiple_of(1_000) => format!("{} ms", us / 1_000),
        us => ms(us),
    }
}

/// A moment of the run, to the microsecond, so that it can be found in the history.
pub(super) fn moment(at_us: u64) -> String {
    format!("{}.{:06} s", at_us / 1_000_000, at_us % 1_000_000)
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A way for an operation that was sent to end.
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) means: &'static str,
    pub(super) count: fn(&LaneCounts) -> u64,
}

/// Every way to end, refusal first; with those still open they add up to what was sent.
pub(super) const OUTCOMES: [Outcome; 8] = [
    Outcome { name: "completed", means: "acknowledged", count: |lane| lane.completed },
    Outcome { name: "rejected", means: "refused by the server, without effect", count: |lane| lane.rejected },
    Outcome {
        name: "deadline exceeded",
        means: "no result at the deadline",
        count: |lane| lane.deadline_exceeded,
    },
    Outcome { name: "failed", means: "every attempt failed", count: |lane| lane.failed },
    Outcome { name: "superseded", means: "a newer value took its place", count: |lane| lane.superseded },
    Outcome { name: "displaced", means: "pushed out of a full queue", count: |lane| lane.displaced },
    Outcome { name: "shut down", means: "lost with their host", count: |lane| lane.shut_down },
    Outcome { name: "refused", means: "refused by the session at once", count: |lane| lane.refused },
];

/// Operations of a lane without a result when the run ended.
pub(super) fn open(lane: &LaneCounts) -> u64 {
    let ended: u64 = OUTCOMES.iter().map(|outcome| (outcome.count)(lane)).sum();
    lane.sent.saturating_sub(ended)
}

/// Text without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let lengths = [0, 250, 500_000, 1_500_000, 60_000_000].map(length);
        assert_eq!(lengths, ["0 ms", "0.25 ms", "500 ms", "1.50 s", "60 s"]);
        assert_eq!(moment(1_000_007), "1.000007 s");
    }

    #[test]
    fn an_unknown_property_keeps_its_id() {
        let judgement = |id: &str| Judgement {
            property: id.to_owned(),
            verdict: crate::verdict::Verdict::Pass,
            demanded: true,
            basis: String::new(),
            excused: 0,
            violations: 7,
            findings: Vec::new(),
        };
        assert_eq!(property(false, &judgement("P14")), "P14 exactly-once effect");
        assert_eq!(property(true, &judgement("P1")), "P1 convergence");
        assert_eq!(property(false, &judgement("P999")), "P999");
        assert_eq!(unlisted(&judgement("P14")), 7);
    }

    #[test]
    fn a_terminal_is_told_nothing_but_text() {
        assert_eq!(plain("a\u{1b}[31mb\nc"), "a [31mb c");
    }
}
