//! Percentile curves as SVG: how long the operations of a lane took, the slowest to the right.
//!
//! Both axes are logarithmic, so that a curve shows its tail and charts of different lanes can have
//! the same height. Coordinates are rounded to a tenth of a pixel: the same run gives the same bytes.

use super::facts;
use crate::latency::{Curve, Lane};

/// The heights that a chart shows, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heights {
    low: u64,
    high: u64,
}

impl Heights {
    /// Heights that hold the latencies of these lanes, all but the shortest twentieth, and the timeout.
    pub(super) fn of(lanes: [&Lane; 2], timeout_us: u64) -> Self {
        let curves = lanes.into_iter().flat_map(|lane| [lane.corrected(), lane.uncorrected()]);
        let ends = curves
            .flat_map(|curve| [curve.at_rank(curve.total().div_ceil(20)), curve.at_rank(measured(&curve))]);
        let (low, high) = ends
            .flatten()
            .chain([timeout_us])
            .map(|us| us.max(1))
            .fold((u64::MAX, 1), |(low, high), us| (low.min(us), high.max(us)));
        Self { low: step(low, false), high: step(high.saturating_add(high / 5), true) }
    }

    /// The pixel of a latency.
    fn y(self, us: u64) -> f64 {
        let (low, high) = (libm::log10(self.low as f64), libm::log10(self.high as f64));
        let share = (libm::log10(us.max(1) as f64) - low) / (high - low);
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    /// Where lines are drawn: 1, 2, 5, 10 where there is room, else powers of ten.
    fn ticks(self) -> impl Iterator<Item = u64> {
        let powers_only = self.high / self.low > 200;
        let power = |us: &u64| us.to_string().trim_end_matches('0') == "1";
        std::iter::successors(Some(self.low), |us| Some(step(us + 1, true)))
            .take_while(move |us| *us <= self.high)
            .filter(move |us| !powers_only || power(us))
    }
}

/// One lane's chart. The timeout is a line in each, and named where it is that lane's own.
pub(super) fn lane(lane: &Lane, heights: Heights, timeout_us: u64, own: bool, name: &str) -> String {
    let (corrected, uncorrected) = (lane.corrected(), lane.uncorrected());
    let widest = libm::log10(corrected.total().max(uncorrected.total()).max(1) as f64).clamp(1.0, 7.0);
    let frame = Frame { heights, widest };
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">\n");
    frame.grid(&mut out);
    frame.missing(&corrected, &mut out);
    frame.limit(timeout_us, own, &mut out);
    for (curve, class) in [(uncorrected, "second"), (corrected, "first")] {
        frame.curve(&curve, class, &mut out);
    }
    out + "</svg>\n"
}

struct Frame {
    heights: Heights,
    /// The right end: 1 for the 90th percentile, 2 for the 99th, 3 for the 99.9th.
    widest: f64,
}

impl Frame {
    /// The pixel of a share of operations, given as nines: 2 is 99%.
    fn x(&self, nines: f64) -> f64 {
        LEFT + (nines / self.widest).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn grid(&self, out: &mut String) {
        for us in self.heights.ticks() {
            let y = self.heights.y(us);
            *out +=
                &format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n");
            let (x, y, label) = (LEFT - 6.0, y + 4.5, facts::length(us));
            *out += &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{label}</text>\n");
        }
        for (nines, label) in PERCENTILES.into_iter().filter(|(nines, _)| *nines <= self.widest + 1e-9) {
            let (x, y) = (self.x(nines), BOTTOM + 18.0);
            *out +=
                &format!("<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\n");
            *out += &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>\n");
        }
        let (x, y) = ((LEFT + RIGHT) / 2.0, HEIGHT - 6.0);
        *out += &format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">percentile of operations</text>\n"
        );
    }

    /// Where nothing is known but that it took longer.
    fn missing(&self, curve: &Curve<'_>, out: &mut String) {
        if curve.censored() == 0 {
            return;
        }
        let x = self.x(nines(measured(curve), curve.total()));
        let (width, height) = (RIGHT - x, BOTTOM - TOP);
        *out += &format!(
            "<rect class=\"missing\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.1}\"/>\n"
        );
        let (x, y) = (RIGHT - 6.0, BOTTOM - 8.0);
        let count = facts::grouped(curve.censored());
        *out +=
            &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{count} without a reply</text>\n");
    }

    fn limit(&self, timeout_us: u64, own: bool, out: &mut String) {
        let y = self.heights.y(timeout_us);
        *out +=
            &format!("<line class=\"limit\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n");
        if !own {
            return;
        }
        let (x, y, timeout) = (LEFT + 6.0, y - 6.0, facts::length(timeout_us));
        *out += &format!(
            "<text class=\"limit-name\" x=\"{x:.1}\" y=\"{y:.1}\">critical timeout {timeout}</text>\n"
        );
    }

    fn curve(&self, curve: &Curve<'_>, class: &str, out: &mut String) {
        let mut points = Vec::new();
        let mut last = 0;
        for place in 0..=POINTS {
            let share = 1.0 - libm::pow(10.0, -self.widest * f64::from(place) / f64::from(POINTS));
            let rank = (libm::ceil(share * curve.total() as f64) as u64).clamp(1, curve.total().max(1));
            let rank = if place == POINTS { curve.total() } else { rank };
            // A rank that several places share stands where it ends.
            if rank == last {
                continue;
            }
            last = rank;
            let Some(us) = curve.at_rank(rank) else { break };
            if us < self.heights.low {
                continue;
            }
            points.push(format!("{:.1},{:.1}", self.x(nines(rank, curve.total())), self.heights.y(us)));
        }
        if points.len() > 1 {
            *out += &format!("<polyline class=\"curve {class}\" points=\"{}\"/>\n", points.join(" "));
        }
    }
}

/// How many of a curve are known.
fn measured(curve: &Curve<'_>) -> u64 {
    curve.total() - curve.censored()
}

/// The place on the axis of a rank; the last one stands where its successor would begin.
fn nines(rank: u64, total: u64) -> f64 {
    let rest = total.saturating_sub(rank).max(1);
    libm::log10(total.max(1) as f64 / rest as f64)
}

/// The next of 1, 2, 5, 10 and so on, not below (or not above) the value.
fn step(us: u64, up: bool) -> u64 {
    let mut below = 1;
    let mut power = 1u64;
    loop {
        for factor in [1, 2, 5] {
            let here = power.saturating_mul(factor);
            if here >= us {
                return if up || here == us { here } else { below };
            }
            below = here;
        }
        power = power.saturating_mul(10);
    }
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 462.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 240.0;
/// Points of a curve: one every three pixels.
const POINTS: u32 = 133;

const PERCENTILES: [(f64, &str); 8] = [
    (std::f64::consts::LOG10_2, "50"),
    (1.0, "90"),
    (2.0, "99"),
    (3.0, "99.9"),
    (4.0, "99.99"),
    (5.0, "99.999"),
    (6.0, "99.9999"),
    (7.0, "99.99999"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_five() {
        assert_eq!([1, 3, 5, 6, 1_000, 1_001].map(|us| step(us, true)), [1, 5, 5, 10, 1_000, 2_000]);
        assert_eq!([1, 3, 5, 6, 1_000, 1_001].map(|us| step(us, false)), [1, 2, 5, 5, 1_000, 1_000]);
    }

    #[test]
    fn there_is_a_line_for_each_step_or_each_power() {
        let ticks = |low, high| Heights { low, high }.ticks().collect::<Vec<_>>();
        assert_eq!(ticks(20_000, 500_000), [20_000, 50_000, 100_000, 200_000, 500_000]);
        assert_eq!(ticks(50, 20_000), [100, 1_000, 10_000]);
    }

    #[test]
    fn nothing_measured_has_a_chart_all_the_same() {
        let lanes = crate::latency::Latencies::default();
        let heights = Heights::of([&lanes.critical, &lanes.normal], 500_000);
        assert_eq!(heights, Heights { low: 500_000, high: 1_000_000 });
        let chart = lane(&lanes.critical, heights, 500_000, true, "");
        assert!(!chart.contains("NaN") && !chart.contains("polyline"), "{chart}");
    }
}
