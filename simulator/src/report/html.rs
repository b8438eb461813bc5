//! The report as one page that needs nothing else: no script, no font, no network.
//!
//! It follows the reader's light or dark colours, prints, and says nothing by colour alone. It is
//! well-formed XML too, apart from its first line, which tests rely on.

use super::timeline::{self, Band};
use super::{chart, facts};
use crate::latency::{Latencies, Percentiles, TypePercentiles};
use crate::peer_figures::PeerFigures;
use crate::recorder::LaneCounts;
use crate::run::{Summary, Threshold, thousandths};
use crate::timeline::{Flow, Step};
use crate::verdict::{Judgement, Verdict};

/// The page of a run, with the faults of its plan and the command that repeats it.
pub fn render(summary: &Summary, latencies: &Latencies, faults: &[Band], repeat: &str) -> String {
    let mut out = String::new();
    head(summary, &mut out);
    match &summary.peers {
        Some(figures) => peers(figures, &mut out),
        None => {
            latency(summary, latencies, &mut out);
            over_time(latencies, faults, &mut out);
            operations(summary, &mut out);
        }
    }
    properties(summary, &mut out);
    thresholds(summary, &mut out);
    not_judged(summary, &mut out);
    repeated(repeat, &mut out);
    foot(summary, &mut out);
    out
}

const STYLE: &str = include_str!("page.css");

fn head(summary: &Summary, out: &mut String) {
    let Summary { scenario, about, seed, rig, verdict: result, .. } = summary;
    let (scenario, about) = (escape(scenario), escape(about));
    *out += &format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>{result}: {scenario}, seed {seed}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<h1>{} {scenario}</h1>\n<p class=\"about\">{about}</p>\n<dl>\n",
        verdict(*result)
    );
    let mut facts = vec![("Seed", seed.to_string()), ("Rig", rig.clone())];
    facts.extend(summary.defect.map(|number| ("Planted defect", number.to_string())));
    if summary.peers.is_none() {
        facts.push(("Critical timeout", facts::length(summary.critical_timeout_us)));
    }
    let length = if summary.rig == "live" { "Real time" } else { "Simulated" };
    facts.push((length, format!("{:.1} s", summary.simulated_us as f64 / 1e6)));
    if !summary.servers.is_empty() {
        facts.push(("Servers", facts::servers(summary)));
    }
    facts.extend(summary.notes.iter().map(|note| ("Note", note.clone())));
    for (name, value) in facts {
        *out += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value));
    }
    *out += "</dl>\n</header>\n";
}

/// What a run among peers came to, then what each peer received.
fn peers(figures: &PeerFigures, out: &mut String) {
    *out += "<section>\n<h2>Peers</h2>\n";
    table("", "What the run came to.", &["", ""], 1, out, |out| {
        for (label, line) in super::peers::lines(figures) {
            *out += &format!("<tr><th scope=\"row\">{label}</th><td>{}</td></tr>\n", escape(&line));
        }
    });
    let columns =
        ["Peer", "rows sent to it", "rows new there", "copies", "p50", "p95", "p99", "p99.9", "max"];
    let caption = "What each peer received, and how long after a commit elsewhere it was there.";
    table("numbers", caption, &columns, 1, out, |out| {
        for receiver in &figures.receivers {
            *out += &format!("<tr><th scope=\"row\">{}</th>", receiver.peer);
            *out += &number(&facts::grouped(receiver.rows_sent));
            *out += &number(&facts::grouped(receiver.rows_new));
            *out += &number(&receiver.copies_thousandths.map_or("–".to_owned(), thousandths));
            for (_, value) in facts::shown(&receiver.visible_after) {
                *out += &number(&facts::percentile(value));
            }
            *out += "</tr>\n";
        }
    });
    *out += "</section>\n";
}

fn latency(summary: &Summary, latencies: &Latencies, out: &mut String) {
    let timeout_us = summary.critical_timeout_us;
    let heights = chart::Heights::of([&latencies.critical, &latencies.normal], timeout_us);
    *out += "<section>\n<h2>Latency</h2>\n<div class=\"charts\">\n";
    for (name, lane) in [("Critical", &latencies.critical), ("Normal", &latencies.normal)] {
        let label = format!("{name} operations: latency by percentile; the table below has the figures");
        let chart = chart::lane(lane, heights, timeout_us, name == "Critical", &label);
        *out += &format!("<figure>\n<figcaption>{name} operations</figcaption>\n{chart}</figure>\n");
    }
    *out += "</div>\n<ul class=\"legend\">\n";
    for (class, what) in [
        ("curve first", "corrected: from the intended moment"),
        ("curve second", "uncorrected: from the moment the first attempt left"),
        ("limit", "critical timeout"),
    ] {
        legend(class, what, out);
    }
    *out += "</ul>\n";
    let caption = format!(
        "A critical operation may take {}. “no reply”: the percentile falls among operations that were never \
         answered and count as longer than all others.",
        facts::length(timeout_us)
    );
    percentiles(&caption, [("Critical", &summary.critical), ("Normal", &summary.normal)], out);
    types(summary, out);
    *out += "</section>\n";
}

/// How many operations a second were asked, done and not done, with the faults behind them.
fn over_time(latencies: &Latencies, faults: &[Band], out: &mut String) {
    let Some(timeline) = latencies.timeline().filter(|timeline| !timeline.steps().is_empty()) else { return };
    let most = timeline::most(timeline);
    *out += "<section>\n<h2>Over time</h2>\n<div class=\"charts\">\n";
    type Of = fn(&Step) -> Flow;
    let lanes: [(&str, Of); 2] = [("Critical", |step| step.critical), ("Normal", |step| step.normal)];
    for (name, flow) in lanes {
        let label = format!("{name} operations a second, by what became of them");
        let chart = timeline::lane(timeline, flow, most, faults, &label);
        *out += &format!("<figure>\n<figcaption>{name} operations a second</figcaption>\n{chart}</figure>\n");
    }
    *out += "</div>\n<ul class=\"legend\">\n";
    for (class, what) in [
        ("curve asked", "asked"),
        ("curve first", "acknowledged"),
        ("curve bad", "not handed over, refused, pushed out, rejected, failed or past the deadline"),
    ] {
        legend(class, what, out);
    }
    *out += "</ul>\n";
    if !faults.is_empty() {
        *out += "<p class=\"quiet\">Faults, the bands behind the curves:</p>\n<ul>\n";
        for fault in faults {
            *out += &format!("<li>{}</li>\n", escape(&timeline::said(fault)));
        }
        *out += "</ul>\n";
    }
    *out += "</section>\n";
}

fn legend(class: &str, what: &str, out: &mut String) {
    *out += &format!(
        "<li><svg viewBox=\"0 0 32 10\" aria-hidden=\"true\"><line class=\"{class}\" x1=\"0\" x2=\"32\" \
         y1=\"5\" y2=\"5\"/></svg><span>{what}</span></li>\n"
    );
}

/// Types down, corrected percentiles across.
fn types(summary: &Summary, out: &mut String) {
    if summary.by_type.is_empty() {
        return;
    }
    let columns = ["", "Type", "measured", "no reply", "p50", "p95", "p99", "p99.9", "max"];
    let caption = "The same by type, corrected.";
    table("numbers", caption, &columns, 2, out, |out| {
        for TypePercentiles { lane, data_type, latency } in &summary.by_type {
            *out += &format!("<tr><th scope=\"row\">{lane}</th><td>{}</td>", escape(data_type));
            *out += &number(&facts::grouped(latency.measured));
            *out += &number(&facts::grouped(latency.censored));
            for (_, value) in facts::shown(&latency.corrected) {
                let measured = facts::has_latency(latency);
                *out += &number(&if measured { facts::percentile(value) } else { "–".to_owned() });
            }
            *out += "</tr>\n";
        }
    });
}

/// Percentiles down, lanes across, each corrected and uncorrected.
fn percentiles(caption: &str, lanes: [(&str, &Percentiles); 2], out: &mut String) {
    *out += &format!(
        "<div class=\"wide\">\n<table class=\"numbers\">\n<caption>{caption}</caption>\n<thead>\n<tr><td rowspan=\"2\"></td>"
    );
    for (name, _) in lanes {
        *out += &format!("<th scope=\"colgroup\" colspan=\"2\" class=\"group\">{name}</th>");
    }
    *out += "</tr>\n<tr>";
    for kind in ["corrected", "un&#173;corrected"].repeat(lanes.len()) {
        *out += &format!("<th scope=\"col\" class=\"number\">{kind}</th>");
    }
    *out += "</tr>\n</thead>\n<tbody>\n";
    let rows = lanes.map(|(_, lane)| [facts::shown(&lane.corrected), facts::shown(&lane.uncorrected)]);
    for (place, (label, _)) in rows[0][0].into_iter().enumerate() {
        *out += &format!("<tr><th scope=\"row\">{label}</th>");
        for ((_, lane), kinds) in lanes.into_iter().zip(rows) {
            for row in kinds {
                let measured = facts::has_latency(lane);
                *out += &number(&if measured { facts::percentile(row[place].1) } else { "–".to_owned() });
            }
        }
        *out += "</tr>\n";
    }
    for (label, count) in [
        ("measured", [0, 1].map(|lane| lanes[lane].1.measured)),
        ("no reply", [0, 1].map(|lane| lanes[lane].1.censored)),
    ] {
        *out += &format!("<tr><th scope=\"row\">{label}</th>");
        for count in count {
            *out += &format!("{}<td></td>", number(&facts::grouped(count)));
        }
        *out += "</tr>\n";
    }
    *out += "</tbody>\n</table>\n</div>\n";
}

fn operations(summary: &Summary, out: &mut String) {
    let counts = &summary.counts;
    *out += "<section>\n<h2>Operations</h2>\n";
    let caption =
        "Planned = unsent + sent; sent = everything indented below it. Shares are of what was planned.";
    let columns = ["", "Critical", "Share", "Normal", "Share", ""];
    table("numbers", caption, &columns, 1, out, |out| {
        let lanes = [&counts.critical, &counts.normal];
        let mut row = |class: &str, name: &str, means: &str, count: &dyn Fn(&LaneCounts) -> u64| {
            *out += &format!("<tr class=\"{class}\"><th scope=\"row\">{name}</th>");
            for lane in lanes {
                *out += &number(&facts::grouped(count(lane)));
                *out += &number(&share(count(lane), lane.planned));
            }
            *out += &format!("<td class=\"means\">{means}</td></tr>\n");
        };
        row("sum", "planned", "what the workload intended", &|lane| lane.planned);
        row("", "unsent", "could not be handed over: the host was down", &|lane| lane.unsent);
        row("sum", "sent", "handed to a session", &|lane| lane.sent);
        for outcome in &facts::OUTCOMES {
            row("part", outcome.name, outcome.means, &outcome.count);
            if outcome.name == "deadline exceeded" {
                row("part late", "of those, late", "answered after the deadline", &|lane| lane.late);
            }
        }
        row("part", "open", "without a result when the run ended", &facts::open);
    });
    *out += "</section>\n";
}

fn properties(summary: &Summary, out: &mut String) {
    let (demanded, _) = facts::parted(summary);
    *out += "<section>\n<h2>Properties</h2>\n";
    if demanded.is_empty() {
        *out += "<p>The scenario demands none.</p>\n";
    } else {
        judgements("What the scenario demands, and what each verdict rests on", summary, &demanded, out);
    }
    for judgement in demanded {
        findings(judgement, out);
    }
    *out += "</section>\n";
}

fn not_judged(summary: &Summary, out: &mut String) {
    let (_, others) = facts::parted(summary);
    if others.is_empty() {
        return;
    }
    *out += "<section>\n<h2>Not judged</h2>\n";
    judgements("Looked at and not demanded by the scenario: these do not count", summary, &others, out);
    for judgement in others {
        findings(judgement, out);
    }
    *out += "</section>\n";
}

fn judgements(caption: &str, summary: &Summary, judgements: &[&Judgement], out: &mut String) {
    table("", caption, &["Verdict", "Property", "Basis"], 3, out, |out| {
        for judgement in judgements {
            *out += &format!(
                "<tr><td>{}</td><th scope=\"row\">{}<small>{}</small></th><td class=\"says\">{}</td></tr>\n",
                verdict(judgement.verdict),
                escape(&facts::property(summary.peers.is_some(), judgement)),
                escape(facts::statement(summary.peers.is_some(), judgement)),
                escape(&judgement.basis)
            );
        }
    });
}

fn findings(judgement: &Judgement, out: &mut String) {
    if judgement.violations == 0 {
        return;
    }
    let property = escape(&judgement.property);
    *out += &format!("<h3>Findings of {property}</h3>\n");
    let violations = facts::grouped(judgement.violations);
    let caption = match facts::unlisted(judgement) {
        0 => format!("Violations: {violations}"),
        _ => format!("Violations: {violations}; the first {}", judgement.findings.len()),
    };
    table("", &caption, &["Time", "Operation", "What"], 3, out, |out| {
        for finding in &judgement.findings {
            let op = finding.op.map(|op| op.to_string()).unwrap_or_default();
            *out += &format!(
                "<tr><td class=\"moment\">{}</td><td>{op}</td><td class=\"finding\">{}</td></tr>\n",
                facts::moment(finding.at_us),
                escape(&finding.message)
            );
        }
    });
}

fn thresholds(summary: &Summary, out: &mut String) {
    if summary.thresholds.is_empty() {
        return;
    }
    *out += "<section>\n<h2>Thresholds</h2>\n";
    let columns = ["Verdict", "Figure", "Actual", "Bound"];
    table("", "Figures and their bounds; percentiles are corrected", &columns, 4, out, |out| {
        for Threshold { figure, bound, actual, verdict: kept } in &summary.thresholds {
            *out += &format!(
                "<tr><td>{}</td><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
                verdict(*kept),
                escape(figure),
                escape(actual),
                escape(bound)
            );
        }
    });
    *out += "</section>\n";
}

fn repeated(repeat: &str, out: &mut String) {
    if !repeat.is_empty() {
        *out += &format!("<section>\n<h2>Repeat this run</h2>\n<pre>{}</pre>\n</section>\n", escape(repeat));
    }
}

fn foot(summary: &Summary, out: &mut String) {
    let digest = summary.history_digest.as_ref();
    let digest = digest.map(|digest| format!(", history digest {}", escape(digest))).unwrap_or_default();
    // Of peers their own figures say it.
    let carried = match summary.peers {
        Some(_) => String::new(),
        None => format!(
            "{} attempts, {} effects, {} bytes of HTTP bodies sent, {} messages published; ",
            facts::grouped(summary.counts.attempts),
            facts::grouped(summary.counts.effects),
            facts::grouped(summary.bytes_sent),
            facts::grouped(summary.published),
        ),
    };
    *out += &format!(
        "<footer>\n<p>{} events{digest}; {carried}{} kernel events. Beside this page: summary.json, plan.txt, \
         latency.hgrm, junit.xml and, unless the scenario keeps none, history.jsonl.</p>\n</footer>\n</main>\n</body>\n\
         </html>\n",
        facts::grouped(summary.history_events),
        facts::grouped(summary.kernel_events),
    );
}

/// A table whose columns after the first `texts` are numbers. It scrolls by itself where it is too wide.
fn table(
    class: &str,
    caption: &str,
    columns: &[&str],
    texts: usize,
    out: &mut String,
    rows: impl FnOnce(&mut String),
) {
    *out += &format!(
        "<div class=\"wide\">\n<table class=\"{class}\">\n<caption>{caption}</caption>\n<thead><tr>"
    );
    for (place, column) in columns.iter().enumerate() {
        let class = if place < texts { "" } else { " class=\"number\"" };
        *out += &match *column {
            "" => "<td></td>".to_owned(),
            column => format!("<th scope=\"col\"{class}>{column}</th>"),
        };
    }
    *out += "</tr></thead>\n<tbody>\n";
    rows(out);
    *out += "</tbody>\n</table>\n</div>\n";
}

fn number(text: &str) -> String {
    let class = if text == "0" { "number zero" } else { "number" };
    format!("<td class=\"{class}\">{text}</td>")
}

/// A verdict in words, with a sign and a colour.
fn verdict(verdict: Verdict) -> String {
    let (class, sign) = match verdict {
        Verdict::Pass => ("pass", "✓"),
        Verdict::Unknown => ("unknown", "?"),
        Verdict::Fail => ("fail", "✗"),
    };
    format!("<span class=\"verdict {class}\"><span aria-hidden=\"true\">{sign}</span> {verdict}</span>")
}

/// A share of what was planned, nothing where that is nothing.
fn share(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) | (0, _) => String::new(),
        (part, whole) => format!("{:.1}%", part as f64 * 100.0 / whole as f64),
    }
}

/// Text that means itself in elements and in quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in facts::plain(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_itself() {
        assert_eq!(escape("<b a=\"x\" b='y'>&\u{0}"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp; ");
    }

    #[test]
    fn a_share_of_nothing_is_not_shown() {
        assert_eq!([share(0, 0), share(0, 5), share(1, 3)], ["", "", "33.3%"]);
    }
}
