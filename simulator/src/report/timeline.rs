//! Operations over time as SVG, with the faults of the plan as bands behind them.
//!
//! Coordinates are rounded to a tenth of a pixel: the same run gives the same bytes.

use super::facts;
use crate::plan::{Action, Plan};
use crate::timeline::{Flow, Step, Timeline};

/// A stretch of time in which something was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// What, as a scenario calls it.
    pub name: String,
    /// From the start of the run, in microseconds.
    pub from_us: u64,
    /// Its end; the same for what happens at a moment.
    pub until_us: u64,
}

/// The faults of a plan, in their order.
pub fn bands(plan: &Plan) -> Vec<Band> {
    let faults = plan.actions.iter().filter_map(|action| match action {
        Action::Inject(_, fault) => Some(fault),
        _ => None,
    });
    let ends_us = plan.world.duration.as_us();
    let mut bands: Vec<Band> = faults
        .map(|fault| {
            let from_us = fault.at.as_us();
            let until_us = fault.lasts.map_or(ends_us, |lasts| from_us + lasts.as_us()).min(ends_us);
            Band { name: fault.inject.verb(), from_us, until_us: until_us.max(from_us) }
        })
        .collect();
    bands.sort_by_key(|band| (band.from_us, band.until_us));
    bands
}

/// One lane's chart: operations a second, by what became of them. `most` is the height of the chart.
pub(super) fn lane(
    timeline: &Timeline,
    flow: fn(&Step) -> Flow,
    most: u64,
    bands: &[Band],
    name: &str,
) -> String {
    let frame = Frame { timeline, most, end_us: end_us(timeline, bands) };
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">\n");
    for band in bands {
        let (left, right) = (frame.x(band.from_us), frame.x(band.until_us));
        let (width, height) = ((right - left).max(1.5), BOTTOM - TOP);
        out += &format!(
            "<rect class=\"band\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.1}\">\
             <title>{}</title></rect>\n",
            said(band)
        );
    }
    frame.grid(&mut out);
    type Count = fn(Flow) -> u64;
    let curves: [(&str, Count); 3] =
        [("asked", |flow| flow.asked), ("first", |flow| flow.done), ("bad", |flow| flow.not_done)];
    for (class, count) in curves {
        frame.curve(|step| count(flow(step)), class, &mut out);
    }
    out + "</svg>\n"
}

/// The greatest of what any chart of a run has to show, in operations a second.
pub(super) fn most(timeline: &Timeline) -> u64 {
    let flows = timeline.steps().iter().flat_map(|step| [step.critical, step.normal]);
    let most = flows.map(|flow| flow.asked.max(flow.done).max(flow.not_done)).max().unwrap_or(0);
    a_second(most, timeline.step_us()).ceil().max(1.0) as u64
}

/// A band in words.
pub(super) fn said(band: &Band) -> String {
    let second = |us: u64| format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000);
    if band.from_us == band.until_us {
        format!("{}: at {}", band.name, second(band.from_us))
    } else {
        format!("{}: {} to {}", band.name, second(band.from_us), second(band.until_us))
    }
}

fn end_us(timeline: &Timeline, bands: &[Band]) -> u64 {
    let steps = timeline.steps().len() as u64 * timeline.step_us();
    bands.iter().map(|band| band.until_us).fold(steps, u64::max).max(1)
}

fn a_second(count: u64, step_us: u64) -> f64 {
    count as f64 * 1e6 / step_us as f64
}

struct Frame<'a> {
    timeline: &'a Timeline,
    most: u64,
    end_us: u64,
}

impl Frame<'_> {
    fn x(&self, us: u64) -> f64 {
        LEFT + (us.min(self.end_us) as f64 / self.end_us as f64) * (RIGHT - LEFT)
    }

    fn y(&self, rate: f64) -> f64 {
        BOTTOM - (rate / self.most as f64).clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    fn grid(&self, out: &mut String) {
        for quarter in 0..=2 {
            let rate = self.most as f64 * f64::from(quarter) / 2.0;
            let (y, label) = (self.y(rate), facts::grouped(rate.round() as u64));
            *out +=
                &format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\n");
            let (x, y) = (LEFT - 6.0, y + 4.5);
            *out += &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{label}</text>\n");
        }
        for tenth in [0, 2, 4, 6, 8, 10] {
            let us = self.end_us * tenth / 10;
            let (x, y) = (self.x(us), BOTTOM + 18.0);
            let label = format!("{}.{}", us / 1_000_000, us % 1_000_000 / 100_000);
            *out += &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>\n");
        }
        let (x, y) = ((LEFT + RIGHT) / 2.0, HEIGHT - 6.0);
        *out += &format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">seconds since the start</text>\n"
        );
    }

    fn curve(&self, count: impl Fn(&Step) -> u64, class: &str, out: &mut String) {
        let steps = self.timeline.steps();
        if steps.iter().all(|step| count(step) == 0) {
            return;
        }
        let step_us = self.timeline.step_us();
        let point = |(place, step): (u64, &Step)| {
            let middle_us = place * step_us + step_us / 2;
            format!("{:.1},{:.1}", self.x(middle_us), self.y(a_second(count(step), step_us)))
        };
        let points: Vec<String> = (0..).zip(steps).map(point).collect();
        *out += &format!("<polyline class=\"curve {class}\" points=\"{}\"/>\n", points.join(" "));
    }
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 462.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 170.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_happened_has_a_chart_all_the_same() {
        let chart = lane(&Timeline::default(), |step| step.critical, 1, &[], "");
        assert!(!chart.contains("NaN") && !chart.contains("polyline"), "{chart}");
    }

    #[test]
    fn bands_say_when_they_were() {
        let band = |from_us, until_us| Band { name: "partition".to_owned(), from_us, until_us };
        assert_eq!(said(&band(1_500_000, 3_000_000)), "partition: 1.5 s to 3.0 s");
        assert_eq!(said(&band(2_000_000, 2_000_000)), "partition: at 2.0 s");
    }
}
