//! What a scenario states of the calls of its embedding provider, held against what was seen.

use super::Threshold;
use crate::scenario::model::ProviderBounds;
use crate::verdict::Verdict;
use crate::virtual_rig::world::ProviderCalls;

/// One threshold for each bound. Calls that nobody counted are unknown.
pub(super) fn judge(bounds: &ProviderBounds, seen: Option<ProviderCalls>) -> Vec<Threshold> {
    let calls = ("calls of the embedding provider", seen.map(|seen| seen.calls));
    let failed = ("failed calls of the embedding provider", seen.map(|seen| seen.failed));
    let judged = [
        (calls, Side::AtLeast, bounds.calls_min),
        (calls, Side::AtMost, bounds.calls_max),
        (failed, Side::AtLeast, bounds.failed_min),
        (failed, Side::AtMost, bounds.failed_max),
    ];
    judged
        .into_iter()
        .filter_map(|((figure, actual), side, bound)| Some(threshold(figure, actual, side, bound?.into())))
        .collect()
}

#[derive(Clone, Copy)]
enum Side {
    AtLeast,
    AtMost,
}

fn threshold(figure: &str, actual: Option<u64>, side: Side, bound: u64) -> Threshold {
    let (words, keeps) = match side {
        Side::AtLeast => ("at least", actual.map(|actual| actual >= bound)),
        Side::AtMost => ("at most", actual.map(|actual| actual <= bound)),
    };
    Threshold {
        figure: figure.to_owned(),
        bound: format!("{words} {bound}"),
        actual: actual.map_or_else(|| "not seen".to_owned(), |actual| actual.to_string()),
        verdict: match keeps {
            None => Verdict::Unknown,
            Some(true) => Verdict::Pass,
            Some(false) => Verdict::Fail,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bounds: ProviderBounds, calls: u64, failed: u64, expected: &[Verdict]) {
        let judged = judge(&bounds, Some(ProviderCalls { calls, failed }));
        let verdicts: Vec<_> = judged.iter().map(|threshold| threshold.verdict).collect();
        assert_eq!(verdicts, expected, "{judged:?}");
    }

    #[test]
    fn each_bound_is_judged_by_its_own_figure() {
        let (pass, fail) = (Verdict::Pass, Verdict::Fail);
        let all = ProviderBounds {
            calls_min: Some(3),
            calls_max: Some(5),
            failed_min: Some(1),
            failed_max: Some(2),
        };
        check(all.clone(), 3, 1, &[pass, pass, pass, pass]);
        check(all.clone(), 5, 2, &[pass, pass, pass, pass]);
        check(all.clone(), 2, 1, &[fail, pass, pass, pass]);
        check(all.clone(), 6, 1, &[pass, fail, pass, pass]);
        check(all.clone(), 4, 0, &[pass, pass, fail, pass]);
        check(all.clone(), 4, 3, &[pass, pass, pass, fail]);
        check(ProviderBounds::default(), 4, 3, &[]);
        assert!(judge(&all, None).iter().all(|threshold| threshold.verdict == Verdict::Unknown));
    }
}
