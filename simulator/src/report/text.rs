//! The summary as the terminal shows it: verdict first, then latency, counts, properties, thresholds.
//!
//! At most 100 columns, and readable without colour.

use super::{facts, peers};
use crate::latency::{Percentiles, TypePercentiles};
use crate::peer_figures::PeerFigures;
use crate::recorder::LaneCounts;
use crate::run::{Summary, Threshold};
use crate::verdict::{Judgement, Verdict};

/// How to show it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// With colours, for a terminal.
    pub colour: bool,
    /// How long the run took in real time, in seconds, where the caller measured it.
    pub real_seconds: Option<f64>,
}

/// The summary in lines that end with a line feed.
pub fn render(summary: &Summary, options: &Options) -> String {
    let mut page = Page { out: String::new(), colour: options.colour };
    page.head(summary);
    match &summary.peers {
        Some(figures) => page.peers(figures),
        None => {
            page.latencies(summary);
            page.counts(summary);
        }
    }
    page.properties(summary);
    page.thresholds(summary);
    page.out.push('\n');
    page.foot(summary, options.real_seconds);
    page.out
}

const COLUMNS: usize = 100;
/// Width of the first column.
const LABEL: usize = 10;
/// The same where peers are spoken of.
const PEER_LABEL: usize = 14;

struct Page {
    out: String,
    colour: bool,
}

impl Page {
    fn head(&mut self, summary: &Summary) {
        let Summary { scenario, about, seed, defect, rig, verdict, .. } = summary;
        let defect = defect.map(|number| format!(", planted defect {number}")).unwrap_or_default();
        let verdict = self.verdict(*verdict, 0);
        self.out += &format!("{verdict}  {scenario}, seed {seed}{defect}, {rig} rig\n");
        self.wrapped("", "", about);
        if !summary.servers.is_empty() {
            self.wrapped("", "  ", &format!("servers: {}", facts::servers(summary)));
        }
        for note in &summary.notes {
            self.wrapped("", "  ", &format!("note: {note}"));
        }
    }

    fn peers(&mut self, figures: &PeerFigures) {
        self.heading("peers");
        for (label, line) in peers::lines(figures) {
            let hanging = " ".repeat(PEER_LABEL);
            self.wrapped(&format!("{label:<PEER_LABEL$}"), &hanging, &line);
        }
    }

    fn latencies(&mut self, summary: &Summary) {
        self.heading("latency");
        let allowed = format!("of {} allowed", facts::length(summary.critical_timeout_us));
        self.lane("critical", &summary.critical, &allowed);
        self.lane("normal", &summary.normal, "");
        self.types(summary);
    }

    /// One line for each lane and type, corrected.
    fn types(&mut self, summary: &Summary) {
        let types = summary.by_type.iter().filter(|t| facts::has_latency(&t.latency));
        for TypePercentiles { lane, data_type, latency } in types {
            let figures = facts::shown(&latency.corrected)
                .into_iter()
                .filter(|(label, _)| *label != "p99.9")
                .map(|(label, value)| format!("{label} {:>8}", facts::percentile(value)))
                .collect::<Vec<_>>()
                .join("  ");
            let line = format!("{:<LABEL$}{data_type:<20}  {figures}", lane.to_string());
            self.out += &(self.dim(line.trim_end()) + "\n");
        }
    }

    /// Corrected figures, then the uncorrected ones dimmer.
    fn lane(&mut self, name: &str, lane: &Percentiles, remark: &str) {
        if !facts::has_latency(lane) {
            self.out += &format!("{name:<LABEL$}nothing measured\n");
            return;
        }
        for (name, row, remark) in [(name, &lane.corrected, remark), ("", &lane.uncorrected, "uncorrected")] {
            let figures = facts::shown(row)
                .map(|(label, value)| format!("{label} {:>8}", facts::percentile(value)))
                .join("  ");
            let line = format!("{name:<LABEL$}{figures}  {remark}");
            let line = if name.is_empty() { self.dim(line.trim_end()) } else { line.trim_end().to_owned() };
            self.out += &(line + "\n");
        }
    }

    fn counts(&mut self, summary: &Summary) {
        self.heading("operations");
        let lanes = [("critical", &summary.counts.critical), ("normal", &summary.counts.normal)];
        let header = COUNTED.iter().map(|column| column.heading.to_owned());
        self.row("", header);
        for (name, lane) in lanes {
            self.row(name, COUNTED.iter().map(|column| facts::grouped((column.count)(lane))));
        }
        for (name, lane) in lanes {
            let others: Vec<_> = facts::OUTCOMES
                .iter()
                .filter(|outcome| !COUNTED.iter().any(|column| column.heading == outcome.name))
                .filter(|outcome| (outcome.count)(lane) > 0)
                .map(|outcome| format!("{} {}", facts::grouped((outcome.count)(lane)), outcome.name))
                .collect();
            if !others.is_empty() {
                self.out += &format!("{name:<LABEL$}and {}\n", others.join(", "));
            }
        }
    }

    fn row(&mut self, name: &str, cells: impl Iterator<Item = String>) {
        let cells: String = COUNTED
            .iter()
            .zip(cells)
            .map(|(column, cell)| format!("{cell:>width$}", width = column.width))
            .collect();
        self.out += &format!("{name:<LABEL$}{cells}\n");
    }

    fn properties(&mut self, summary: &Summary) {
        let (demanded, others) = facts::parted(summary);
        self.heading("properties");
        for judgement in demanded {
            let heading =
                format!("{}: {}", facts::property(summary.peers.is_some(), judgement), judgement.basis);
            self.judged(judgement.verdict, &heading);
            self.findings(judgement);
        }
        let others: Vec<_> = others
            .into_iter()
            .map(|judgement| format!("{} ({})", judgement.property, judgement.verdict))
            .collect();
        if !others.is_empty() {
            self.wrapped("", "  ", &format!("not asked for: {}", others.join(", ")));
        }
    }

    fn findings(&mut self, judgement: &Judgement) {
        let indent = " ".repeat(LABEL + 2);
        if let Some(finding) = judgement.findings.first() {
            let op = finding.op.map(|op| format!(", operation {op}")).unwrap_or_default();
            let at = facts::moment(finding.at_us);
            self.wrapped(&indent, &format!("{indent}  "), &format!("at {at}{op}: {}", finding.message));
        }
        if judgement.violations > 1 {
            self.out += &format!("{indent}and {} more\n", facts::grouped(judgement.violations - 1));
        }
    }

    fn thresholds(&mut self, summary: &Summary) {
        if !summary.thresholds.is_empty() {
            self.heading("thresholds");
        }
        for Threshold { figure, bound, actual, verdict } in &summary.thresholds {
            self.judged(*verdict, &format!("{figure}: {actual}, {bound}"));
        }
    }

    fn foot(&mut self, summary: &Summary, real_seconds: Option<f64>) {
        let simulated_s = summary.simulated_us as f64 / 1e6;
        let real = summary.rig == "live";
        let kind = if real { "real time" } else { "simulated" };
        let pace = match real_seconds.filter(|_| !real) {
            Some(real_seconds) if real_seconds > 0.0 => {
                format!(" in {}, {}x", seconds(real_seconds), significant(simulated_s / real_seconds))
            }
            _ => String::new(),
        };
        let digest = summary.history_digest.as_ref().map(|digest| format!(", history digest {digest}"));
        let line = format!(
            "{} {kind}{pace}; {} events{}",
            seconds(simulated_s),
            facts::grouped(summary.history_events),
            digest.unwrap_or_default()
        );
        self.wrapped("", "  ", &line);
    }

    fn heading(&mut self, text: &str) {
        let text = if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() };
        self.out += &format!("\n{text}\n");
    }

    fn judged(&mut self, verdict: Verdict, text: &str) {
        let start = self.out.len();
        self.wrapped(&" ".repeat(LABEL), &" ".repeat(LABEL + 2), text);
        let verdict = self.verdict(verdict, LABEL);
        self.out.replace_range(start..start + LABEL, &verdict);
    }

    fn verdict(&self, verdict: Verdict, width: usize) -> String {
        let text = format!("{:<width$}", verdict.to_string());
        let colour = match verdict {
            Verdict::Pass => 32,
            Verdict::Unknown => 33,
            Verdict::Fail => 31,
        };
        if self.colour { format!("\u{1b}[1;{colour}m{text}\u{1b}[0m") } else { text }
    }

    fn dim(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Adds a paragraph; words too long for a line are cut.
    fn wrapped(&mut self, first: &str, next: &str, text: &str) {
        let text = facts::plain(text);
        let mut line = first.to_owned();
        let mut empty = true;
        for word in text.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            loop {
                let room = COLUMNS.saturating_sub(line.chars().count() + usize::from(!empty));
                if word.len() <= room {
                    break;
                }
                if empty {
                    line.extend(word.drain(..room));
                }
                self.out += &(std::mem::replace(&mut line, next.to_owned()) + "\n");
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.extend(word);
            empty = false;
        }
        if !empty {
            self.out += &(line + "\n");
        }
    }
}

/// A column of the counts.
struct Column {
    heading: &'static str,
    width: usize,
    count: fn(&LaneCounts) -> u64,
}

const COUNTED: [Column; 8] = [
    Column { heading: "planned", width: 11, count: |lane| lane.planned },
    Column { heading: "unsent", width: 9, count: |lane| lane.unsent },
    Column { heading: "sent", width: 11, count: |lane| lane.sent },
    Column { heading: "completed", width: 12, count: |lane| lane.completed },
    Column { heading: "deadline exceeded", width: 19, count: |lane| lane.deadline_exceeded },
    Column { heading: "(late)", width: 8, count: |lane| lane.late },
    Column { heading: "refused", width: 9, count: |lane| lane.refused },
    Column { heading: "open", width: 8, count: facts::open },
];

fn seconds(seconds: f64) -> String {
    format!("{} s", significant(seconds))
}

/// Three digits are plenty.
fn significant(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_and_long_words_cut() {
        let mut page = Page { out: String::new(), colour: false };
        page.wrapped("- ", "  ", &format!("{} {} end", "word ".repeat(30), "x".repeat(250)));
        let widths: Vec<_> = page.out.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [96, 56, 100, 100, 60]);
        assert!(page.out.ends_with(" end\n"), "{}", page.out);
    }

    #[test]
    fn a_pace_has_as_many_digits_as_help() {
        assert_eq!([123.4, 60.0, 1.234].map(significant), ["123", "60.0", "1.23"]);
    }
}
