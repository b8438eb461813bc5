//! Latency of operations, by lane and type: corrected (from the intended moment) and uncorrected (from the
//! moment the first attempt left).
//!
//! An operation that ended at its deadline has no latency yet: it enters with its true one when a
//! late reply comes, and as censored ("longer than this") when none does, never with the timeout as
//! its value. The corrected figure is what a user felt; the other is what tools show that wait for
//! the system before they ask again (coordinated omission).

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync_core::data_type::SyncDataType;

use crate::history::{End, Event, What};
use crate::timeline::Timeline;

/// Latencies of one run.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// Critical operations.
    pub critical: Lane,
    /// All other operations.
    pub normal: Lane,
    /// The same, told apart by type as well; none where nobody asked for it.
    by_type: Option<BTreeMap<(LaneName, SyncDataType), Lane>>,
    /// What became of operations over time, where types are told apart.
    timeline: Option<Timeline>,
}

/// A lane of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaneName {
    /// Critical operations.
    Critical,
    /// All other operations.
    Normal,
}

/// Percentiles of the operations of one lane and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypePercentiles {
    /// The lane.
    pub lane: LaneName,
    /// The type, as in the scenario.
    pub data_type: String,
    /// How long they took.
    pub latency: Percentiles,
}

/// Latencies of one lane, in microseconds.
#[derive(Clone, Debug)]
pub struct Lane {
    corrected: Histogram<u64>,
    uncorrected: Histogram<u64>,
    /// Operations that ended at their deadline or after their last attempt and whose reply has not come.
    awaited: u64,
}

/// The latencies of one lane in the order of their length.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    histogram: &'a Histogram<u64>,
    censored: u64,
}

/// Percentiles of one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// Operations measured.
    pub measured: u64,
    /// Operations of which only a lower bound is known.
    pub censored: u64,
    /// From the intended moment.
    pub corrected: Row,
    /// From the moment the first attempt left.
    pub uncorrected: Row,
}

/// Some percentiles in microseconds; none where the percentile falls among the censored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Row {
    pub p50_us: Option<u64>,
    pub p95_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub p999_us: Option<u64>,
    pub max_us: Option<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { critical: Lane::new(), normal: Lane::new(), by_type: None, timeline: None }
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Critical => "critical",
            Self::Normal => "normal",
        })
    }
}

impl Latencies {
    /// Latencies that are told apart by type and over time as well, at the price of a histogram for each type.
    pub fn with_types() -> Self {
        Self { by_type: Some(BTreeMap::new()), timeline: Some(Timeline::default()), ..Self::default() }
    }

    /// What became of operations over time, if it was looked at.
    pub fn timeline(&self) -> Option<&Timeline> {
        self.timeline.as_ref()
    }

    /// Takes one event.
    pub fn observe(&mut self, event: &Event) {
        if let Some(timeline) = &mut self.timeline {
            timeline.observe(event);
        }
        let (What::Finished { critical, data_type, .. } | What::Late { critical, data_type, .. }) =
            &event.what
        else {
            return;
        };
        let lane = if *critical { &mut self.critical } else { &mut self.normal };
        lane.observe(event);
        if let Some(by_type) = &mut self.by_type {
            let name = if *critical { LaneName::Critical } else { LaneName::Normal };
            by_type.entry((name, *data_type)).or_insert_with(Lane::new).observe(event);
        }
    }

    /// The percentiles of each lane and type of which there was an operation.
    pub fn types(&self) -> Vec<TypePercentiles> {
        let types = self.by_type.iter().flatten();
        types
            .map(|((lane, data_type), latencies)| TypePercentiles {
                lane: *lane,
                data_type: data_type.to_string(),
                latency: latencies.percentiles(),
            })
            .collect()
    }

    /// The histograms in the interval-log text format of HdrHistogram's tools, one tag a line.
    pub fn to_hgrm(&self) -> String {
        let mut out = String::new();
        let lanes = [("critical".to_owned(), &self.critical), ("normal".to_owned(), &self.normal)];
        let types = self.by_type.iter().flatten();
        let types = types.map(|((lane, data_type), latencies)| (format!("{lane} {data_type}"), latencies));
        for (name, lane) in lanes.into_iter().chain(types) {
            for (kind, histogram) in [("corrected", &lane.corrected), ("uncorrected", &lane.uncorrected)] {
                out += &format!("# {name} {kind}, microseconds\n");
                out += "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
                for value in histogram.iter_quantiles(5) {
                    let quantile = value.quantile_iterated_to();
                    let inverse = if quantile < 1.0 {
                        format!("{:.2}", 1.0 / (1.0 - quantile))
                    } else {
                        "inf".to_owned()
                    };
                    out += &format!(
                        "{:12} {quantile:14.12} {:10} {inverse:>14}\n",
                        value.value_iterated_to(),
                        histogram.count_between(0, value.value_iterated_to()),
                    );
                }
                out += &format!(
                    "#[Mean = {:.2}, StdDeviation = {:.2}]\n#[Max = {}, Total count = {}, Censored = {}]\n\n",
                    histogram.mean(),
                    histogram.stdev(),
                    histogram.max(),
                    histogram.len(),
                    lane.awaited
                );
            }
        }
        out
    }
}

impl Lane {
    fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap_or_else(|_| unreachable!("fixed bounds"));
        Self { corrected: histogram(), uncorrected: histogram(), awaited: 0 }
    }

    fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Finished { end, intended_us, sent_us, .. } => match end {
                End::Done => self.record(event.at_us - intended_us, sent_us.map(|sent| event.at_us - sent)),
                End::DeadlineExceeded | End::Failed => self.awaited += 1,
                // Ends that measure nothing; each has its count.
                End::Rejected | End::Superseded | End::Displaced | End::ShutDown => {}
            },
            What::Late { intended_us, sent_us, .. } => {
                self.awaited = self.awaited.saturating_sub(1);
                self.record(event.at_us - intended_us, sent_us.map(|sent| event.at_us - sent));
            }
            _ => {}
        }
    }

    fn record(&mut self, corrected_us: u64, uncorrected_us: Option<u64>) {
        self.corrected.saturating_record(corrected_us);
        if let Some(us) = uncorrected_us {
            self.uncorrected.saturating_record(us);
        }
    }

    /// From the intended moment.
    pub fn corrected(&self) -> Curve<'_> {
        Curve { histogram: &self.corrected, censored: self.awaited }
    }

    /// From the moment the first attempt left.
    pub fn uncorrected(&self) -> Curve<'_> {
        Curve { histogram: &self.uncorrected, censored: self.awaited }
    }

    /// The percentiles, the censored counted as longer than everything measured.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            measured: self.corrected.len(),
            censored: self.awaited,
            corrected: row(&self.corrected()),
            uncorrected: row(&self.uncorrected()),
        }
    }
}

impl Row {
    /// Of times in microseconds, with so many that are only known to be longer.
    pub(crate) fn of(histogram: &Histogram<u64>, censored: u64) -> Self {
        row(&Curve { histogram, censored })
    }
}

fn row(curve: &Curve<'_>) -> Row {
    let at = |per_mille: u64| curve.at_rank((curve.total() * per_mille).div_ceil(1_000).max(1));
    Row { p50_us: at(500), p95_us: at(950), p99_us: at(990), p999_us: at(999), max_us: at(1_000) }
}

impl Curve<'_> {
    /// Operations measured and censored.
    pub fn total(&self) -> u64 {
        self.histogram.len() + self.censored
    }

    /// Operations of which only a lower bound is known; they rank after all that were measured.
    pub fn censored(&self) -> u64 {
        self.censored
    }

    /// The latency of this rank in microseconds, the shortest having rank 1; none among the censored.
    pub fn at_rank(&self, rank: u64) -> Option<u64> {
        let measured = self.histogram.len();
        (1..=measured)
            .contains(&rank)
            .then(|| self.histogram.value_at_quantile(rank as f64 / measured as f64))
    }
}

/// Longest latency told apart: a day.
const LONGEST_US: u64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{OpRef, WireId};

    fn finished(at_us: u64, end: End) -> Event {
        let what = What::Finished {
            op: OpRef { host: 0, ticket: at_us },
            id: WireId { account: 1, incarnation: 1, counter: 1 },
            critical: true,
            writes: true,
            data_type: sync_core::data_type::SyncDataType::PlayerData,
            end,
            intended_us: 0,
            asked_us: 0,
            sent_us: Some(100),
        };
        Event { at_us, what }
    }

    fn percentiles(events: Vec<Event>) -> Percentiles {
        let mut latencies = Latencies::default();
        events.iter().for_each(|event| latencies.observe(event));
        latencies.critical.percentiles()
    }

    #[test]
    fn corrected_counts_from_the_intended_moment() {
        let row = percentiles(vec![finished(500, End::Done)]);
        assert_eq!((row.corrected.p50_us, row.uncorrected.p50_us), (Some(500), Some(400)));
    }

    #[test]
    fn a_timed_out_operation_is_censored_until_its_reply_comes() {
        let mut events: Vec<_> = (1..=98).map(|_| finished(100, End::Done)).collect();
        events.extend([finished(500, End::DeadlineExceeded), finished(500, End::DeadlineExceeded)]);
        let row = percentiles(events.clone());
        assert_eq!((row.measured, row.censored), (98, 2));
        assert_eq!(
            (row.corrected.p95_us, row.corrected.p99_us, row.corrected.max_us),
            (Some(100), None, None)
        );
        let late = What::Late {
            op: OpRef { host: 0, ticket: 1 },
            critical: true,
            data_type: sync_core::data_type::SyncDataType::PlayerData,
            success: true,
            intended_us: 0,
            sent_us: None,
        };
        events.push(Event { at_us: 800, what: late });
        let row = percentiles(events);
        assert_eq!((row.measured, row.censored, row.corrected.p99_us), (99, 1, Some(800)));
    }

    #[test]
    fn types_are_told_apart_when_asked_for() {
        let (mut plain, mut told_apart) = (Latencies::default(), Latencies::with_types());
        for latencies in [&mut plain, &mut told_apart] {
            latencies.observe(&finished(500, End::Done));
            latencies.observe(&finished(700, End::DeadlineExceeded));
        }
        assert_eq!(plain.types(), []);
        let types = told_apart.types();
        assert_eq!(types.len(), 1);
        let TypePercentiles { lane, data_type, latency } = &types[0];
        assert_eq!((lane, data_type.as_str()), (&LaneName::Critical, "PLAYER_DATA"));
        assert_eq!((latency.measured, latency.censored, latency.corrected.p50_us), (1, 1, Some(500)));
        assert!(told_apart.to_hgrm().contains("# critical PLAYER_DATA corrected, microseconds"));
    }

    #[test]
    fn nothing_measured_is_not_zero() {
        assert_eq!(percentiles(Vec::new()).corrected, Row::default());
    }
}
