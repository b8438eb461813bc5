//! `p2psim zoo`.

use clap::Args;

use super::stopwatch::Stopwatch;
use super::{Format, INVALID, complain, program, say};
use crate::verdict::Verdict;
use crate::zoo::hunt::{Hunt, healthy, hunt, shrink_catch, shrinks_to_max};
use crate::zoo::{self, Entry, entry};

/// Plant defects in the core and show that the checks catch them.
///
/// Each entry is hunted seed after seed until a property that it breaks fails; the healthy core runs
/// beside it at the same seeds and must be silent: it fails no property, keeps the scenario's bounds, and the properties
/// that the entry breaks come to a verdict.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Numbers of entries; all when absent.
    numbers: Vec<u32>,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds tried for each entry, at most its own budget.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Also run the healthy core over so many seeds of every entry's scenario: there must be no finding.
    #[arg(long, default_value_t = 0, value_name = "SEEDS")]
    healthy: u64,
    /// Also shrink every catch: it fails when it takes more than ten actions, overload excepted.
    #[arg(long)]
    shrink: bool,
    /// How results are shown.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let mut entries: Vec<&Entry> = Vec::new();
    for number in &arguments.numbers {
        match entry(*number) {
            Some(entry) => entries.push(entry),
            None => {
                complain(&format!(
                    "error: the zoo has no entry {number}\n  = help: `p2psim list --zoo` shows them"
                ));
                return INVALID;
            }
        }
    }
    if entries.is_empty() {
        entries = zoo::entries();
    }
    let mut verdict = Verdict::Pass;
    let mut hunts = Vec::new();
    for entry in entries {
        let stopwatch = Stopwatch::start();
        let mut hunt = match hunt(entry, arguments.seed, arguments.seeds) {
            Ok(hunt) => hunt,
            Err(message) => {
                complain(&message);
                return INVALID;
            }
        };
        match healthy(entry, arguments.seed, arguments.healthy) {
            Ok(healthy) => hunt.beside(healthy),
            Err(message) => {
                complain(&message);
                return INVALID;
            }
        }
        if arguments.shrink
            && let Err(message) = shrink_catch(entry, &mut hunt)
        {
            complain(&format!("error: zoo {} cannot be shrunk: {message}", entry.number));
            return INVALID;
        }
        verdict = verdict.and(hunt.verdict());
        if arguments.format == Format::Text {
            show(entry, &hunt, stopwatch.seconds());
        }
        hunts.push(hunt);
    }
    match arguments.format {
        Format::Json => say(&serde_json::to_string_pretty(&hunts).unwrap_or_default()),
        Format::Text => {
            let caught = hunts.iter().filter(|hunt| hunt.verdict() == Verdict::Pass).count();
            say(&format!("{caught} of {} entries caught with the healthy core silent", hunts.len()));
            if let Some(missed) = hunts.iter().find(|hunt| hunt.verdict() != Verdict::Pass) {
                say("repeat with:");
                say(&format!(
                    "{} zoo {} --seed {} --seeds {} --healthy {}{}",
                    program(),
                    missed.number,
                    arguments.seed,
                    arguments.seeds,
                    arguments.healthy,
                    if arguments.shrink { " --shrink" } else { "" }
                ));
            }
        }
    }
    verdict.exit_code()
}

fn show(entry: &Entry, hunt: &Hunt, seconds: f64) {
    say(&format!("{:4} {} ({})", entry.number, entry.name, entry.case));
    match hunt.caught_at_seed {
        Some(seed) => say(&format!(
            "     caught by {} at seed {seed}, {} seed{} tried, {seconds:.2} s\n     {}",
            hunt.caught_by.join(", "),
            hunt.seeds,
            if hunt.seeds == 1 { "" } else { "s" },
            hunt.finding.as_deref().unwrap_or("")
        )),
        None => say(&format!(
            "     NOT CAUGHT in {} seeds, triggered at {} of them, {seconds:.2} s",
            hunt.seeds, hunt.triggered
        )),
    }
    if let Some(actions) = hunt.shrunk_to {
        let over = shrinks_to_max(hunt.number).is_some_and(|max| actions > max);
        let verdict = if over { ": TOO MANY" } else { "" };
        say(&format!("     shrunk to {actions} action{}{verdict}", if actions == 1 { "" } else { "s" }));
    }
    for finding in hunt.healthy_findings.iter().take(5) {
        say(&format!("     THE HEALTHY CORE FAILED: {finding}"));
    }
    for property in hunt.not_reached.iter().take(5) {
        say(&format!("     NOT REACHED WITH THE HEALTHY CORE: {property}"));
    }
}
