//! What is said of a run among peers, as labels and lines.

use std::collections::BTreeSet;

use super::facts;
use crate::history::peers::DecidedBy;
use crate::peer_figures::{
    Convergence, HealedFrom, NamedConflict, PeerFigures, Receiver, SetAsideBy, Traffic,
};
use crate::run::{ms, thousandths};

/// The figures, each with its label.
pub(super) fn lines(figures: &PeerFigures) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    lines.push((
        "converged",
        match &figures.convergence {
            Some(convergence) => converged(convergence),
            None => "no: peers did not come to hold the same".to_owned(),
        },
    ));
    lines.push(("messages", traffic(&figures.traffic)));
    if figures.reconciliation.messages > 0 {
        lines.push(("compared", format!("of these {}", traffic(&figures.reconciliation))));
    }
    let copies: Vec<u64> =
        figures.receivers.iter().filter_map(|receiver| receiver.copies_thousandths).collect();
    if let (Some(least), Some(most)) = (copies.iter().min(), copies.iter().max()) {
        lines
            .push(("copies", format!("{} to {} for each receiver", thousandths(*least), thousandths(*most))));
        lines.extend(not_new(&figures.receivers).map(|line| ("", line)));
    }
    if let Some(slowest) = figures.receivers.iter().max_by_key(|receiver| receiver.visible_after.p99_us) {
        lines.push(("visible after", visible(slowest)));
    }
    let decided =
        figures.decided_by.iter().map(|(by, count)| format!("{} by {}", facts::grouped(*count), word(*by)));
    let decided: Vec<_> = decided.collect();
    lines.push((
        "conflicts",
        match figures.conflicts {
            0 => "none".to_owned(),
            count => format!("{} at peers: {}", facts::grouped(count), decided.join(", ")),
        },
    ));
    for conflict in named(&figures.first_conflicts) {
        let NamedConflict { row, winner, loser, by, peer, at_us } = conflict;
        let came = match by {
            DecidedBy::Combined => format!("{winner} and {loser} are joined"),
            by => format!("{winner} beats {loser} by {}", word(*by)),
        };
        let line = format!("{row}: {came}, at peer {peer}, {}", facts::moment(*at_us));
        lines.push(("", line));
    }
    if figures.set_aside > 0 {
        let why = figures.set_aside_by.iter().map(|(by, count)| {
            let count = facts::grouped(*count);
            match by {
                SetAsideBy::NaturalKey => format!("{count} by a natural key"),
                SetAsideBy::Cascaded => format!("{count} with a parent (cascade)"),
                SetAsideBy::Restricted => format!("{count} for want of a parent"),
            }
        });
        let why = why.collect::<Vec<_>>().join(", ");
        let (times, back) = (facts::grouped(figures.set_aside), facts::grouped(figures.brought_back));
        lines.push(("set aside", format!("{times} times at a peer: {why}; {back} times brought back")));
        for aside in figures.first_set_aside.iter().take(3) {
            let because = match aside.by {
                SetAsideBy::NaturalKey => "has the natural key",
                SetAsideBy::Cascaded => "is deleted, and it goes, too",
                SetAsideBy::Restricted => "is not there",
            };
            let (peer, at) = (aside.peer, facts::moment(aside.at_us));
            lines.push(("", format!("{}: {} {because}, at peer {peer}, {at}", aside.row, aside.winner)));
        }
    }
    if figures.aborted > 0 {
        let count = facts::grouped(figures.aborted);
        lines.push(("aborted", format!("{count} transactions of applications, which wrote nothing")));
        for abort in figures.first_aborted.iter().take(3) {
            let at = facts::moment(abort.at_us);
            lines.push(("", format!("{}: {}, {at}", abort.op, abort.why)));
        }
    }
    if figures.databases_replaced > 0 {
        let line = format!("{} databases, by others", facts::grouped(figures.databases_replaced));
        lines.push(("replaced", line));
    }
    if !figures.refusals.is_empty() {
        let told: Vec<_> = figures
            .refusals
            .iter()
            .map(|(why, times)| format!("{} for {why}", facts::grouped(*times)))
            .collect();
        lines.push(("refused", format!("{}, as peers told", told.join(", "))));
    }
    if figures.removed > 0 {
        let (removed, back) = (facts::grouped(figures.removed), facts::grouped(figures.readmitted));
        lines.push(("removed", format!("{removed} times a peer by another, {back} times taken on again")));
    }
    lines
}

/// What became of rows that were sent and did not take effect; none where all did.
fn not_new(receivers: &[Receiver]) -> Option<String> {
    let sum = |of: fn(&Receiver) -> u64| receivers.iter().map(of).sum::<u64>();
    let [sent, new] = [sum(|receiver| receiver.rows_sent), sum(|receiver| receiver.rows_new)];
    let [held, beaten] = [sum(|receiver| receiver.rows_held), sum(|receiver| receiver.rows_beaten)];
    let refused = sum(|receiver| receiver.rows_refused);
    let parts = [
        (held, "were held already"),
        (beaten, "were beaten by what was held"),
        (refused, "were refused"),
        (sent.saturating_sub(new + held + beaten + refused), "were lost or not taken in"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", facts::grouped(count)))
        .collect();
    let (new, sent) = (facts::grouped(new), facts::grouped(sent));
    (!parts.is_empty()).then(|| format!("of {sent} rows sent {new} were new, {}", parts.join(", ")))
}

fn converged(convergence: &Convergence) -> String {
    let Convergence { from, took_us, bytes, repaired_rows, bytes_per_row } = *convergence;
    let from = match from {
        HealedFrom::Fault => "the last fault",
        HealedFrom::Writing => "the end of writing",
    };
    if took_us == 0 {
        return format!("at once: no peer lacked anything after {from}");
    }
    let per_row = bytes_per_row.map(|bytes| format!(", {} a row", size(bytes))).unwrap_or_default();
    let (bytes, rows) = (size(bytes), facts::grouped(repaired_rows));
    format!("{} after {from}, with {bytes} for {rows} rows{per_row}", ms(took_us))
}

fn visible(receiver: &Receiver) -> String {
    let row = &receiver.visible_after;
    if facts::shown(row).iter().all(|(_, value)| value.is_none()) {
        return "nothing was seen to come to another peer".to_owned();
    }
    let figures = facts::shown(row).map(|(label, value)| match value {
        Some(_) => format!("{label} {}", facts::percentile(value)),
        None => format!("{label} never"),
    });
    format!("{}  at peer {}, the slowest", figures.join("  "), receiver.peer)
}

fn traffic(traffic: &Traffic) -> String {
    let Traffic { messages, bytes, rows } = *traffic;
    format!("{} with {} and {} rows", facts::grouped(messages), size(bytes), facts::grouped(rows))
}

/// The first of each reason, and three at least.
fn named(conflicts: &[NamedConflict]) -> impl Iterator<Item = &NamedConflict> {
    let mut reasons = BTreeSet::new();
    conflicts
        .iter()
        .enumerate()
        .filter(move |(place, conflict)| reasons.insert(conflict.by) || *place < 3)
        .map(|it| it.1)
}

const fn word(by: DecidedBy) -> &'static str {
    match by {
        DecidedBy::Stamp => "the later stamp",
        DecidedBy::Node => "the greater node id",
        DecidedBy::Hash => "the greater hash",
        DecidedBy::Created => "the earlier insert",
        DecidedBy::Priority => "the node's priority",
        DecidedBy::Combined => "joining both",
        DecidedBy::Resolver => "a resolver of the team's own",
    }
}

/// Bytes with what precision helps.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
