//! What was measured, and how it stands to what is to be reached.

use std::collections::BTreeMap;
use std::time::Duration;

use super::servers::Used;

/// Values by what they are of, one a round.
#[derive(Default)]
pub(super) struct Figures(BTreeMap<&'static str, Vec<f64>>);

/// What is measured, by the name that the report shows.
pub(super) const INSERT: &str = "bulk insert until two others are equal";
pub(super) const UPDATE: &str = "bulk update until two others are equal";
pub(super) const CATCH_UP: &str = "catch-up of one that was away";
pub(super) const LATENCY_P50: &str = "one row at both others, p50";
pub(super) const LATENCY_P99: &str = "one row at both others, p99";
pub(super) const CPU: &str = "  of it seconds of processors";
pub(super) const BYTES: &str = "  of it MB sent";
pub(super) const CAPTURED: &str = "one bulk insert, capture alone";
pub(super) const COMMITS: &str = "single-row commits a second by 2 clients, capture alone";
pub(super) const HEAL: &str = "2 x 1,000 updates with 200 conflicts, heal until equal";
pub(super) const ONE_LINK: &str = "one link cut, rows of both ends reach all";

impl Figures {
    pub(super) fn seconds(&mut self, what: &'static str, time: Duration) {
        self.number(what, time.as_secs_f64());
    }

    pub(super) fn number(&mut self, what: &'static str, number: f64) {
        self.0.entry(what).or_default().push(number);
    }

    pub(super) fn used(&mut self, used: Used) {
        self.number(CPU, used.cpu_s);
        self.number(BYTES, used.sent_bytes / 1e6);
    }

    fn median(&self, what: &str) -> Option<f64> {
        let mut values = self.0.get(what)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn shown(&self, what: &str) -> String {
        let Some(values) = self.0.get(what) else { return "-".to_owned() };
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let digits = if high < 0.1 { 5 } else { 2 };
        match values.len() {
            1 => format!("{high:.digits$}"),
            _ => format!("{:.digits$} ({low:.digits$} to {high:.digits$})", self.median(what).unwrap_or(low)),
        }
    }
}

/// Prints all; says whether every bound of what is to be reached is kept.
pub(super) fn report(native: &Figures, peers: &Figures, floor: &Figures) -> bool {
    println!("\nmedian of the rounds (lowest to highest), seconds unless another unit is named");
    println!("{:<56} {:>26} {:>26} {:>26}", "", "native", "peers", "floor, or without");
    let all =
        [INSERT, CPU, BYTES, UPDATE, CATCH_UP, LATENCY_P50, LATENCY_P99, HEAL, ONE_LINK, CAPTURED, COMMITS];
    for what in all {
        println!("{what:<56} {:>26} {:>26} {:>26}", native.shown(what), peers.shown(what), floor.shown(what));
    }
    println!("\nto reach (peers to native; single-row commits to those without; seconds)");
    let ratio = |what, to: &Figures| Some(peers.median(what)? / to.median(what)?);
    let bounds = [
        (INSERT, ratio(INSERT, native), 1.3),
        (UPDATE, ratio(UPDATE, native), 1.6),
        (CATCH_UP, ratio(CATCH_UP, native), 1.7),
        (HEAL, peers.median(HEAL), 1.0),
        (LATENCY_P50, peers.median(LATENCY_P50), 0.010),
        (LATENCY_P99, peers.median(LATENCY_P99), 0.025),
    ];
    let mut all_kept = true;
    let mut tell = |what: &str, value: f64, word: &str, bound: f64, is_kept: bool| {
        let verdict = if is_kept { "kept" } else { "MISSED" };
        println!("{what:<56} {value:>8.3}  ({word} {bound})  {verdict}");
        all_kept &= is_kept;
    };
    for (what, value, bound) in bounds {
        let value = value.unwrap_or(f64::NAN);
        tell(what, value, "at most", bound, value <= bound);
    }
    let commits = ratio(COMMITS, floor).unwrap_or(f64::NAN);
    tell(COMMITS, commits, "at least", 0.9, commits >= 0.9);
    all_kept
}
