//! Delays drawn from a distribution, in whole microseconds.
//!
//! Logarithms and exponentials come from `libm`, which computes the same bits on every platform and
//! at every optimisation level. The middle 98 % of a log-normal is read from a table made at the
//! start, since a draw is made for every message; the tails are computed.

use crate::scenario::model::{Distribution, Lognormal};

/// Draws delays.
#[derive(Clone, Debug)]
pub struct Sampler(Shape);

#[derive(Clone, Debug)]
enum Shape {
    Constant(u64),
    Uniform { min: u64, width: u64 },
    Exponential { mean: f64 },
    Lognormal { mu: f64, sigma: f64, table: Box<[u64]> },
}

impl Sampler {
    /// A sampler of this distribution.
    pub fn new(distribution: &Distribution) -> Self {
        Self(match distribution {
            Distribution::Constant(length) => Shape::Constant(length.span().as_us()),
            Distribution::Uniform(uniform) => {
                let (min, max) = (uniform.min.span().as_us(), uniform.max.span().as_us());
                Shape::Uniform { min, width: max.saturating_sub(min) }
            }
            Distribution::Exponential(exponential) => {
                Shape::Exponential { mean: exponential.mean.span().as_us() as f64 }
            }
            Distribution::Lognormal(lognormal) => Self::lognormal(lognormal),
        })
    }

    fn lognormal(lognormal: &Lognormal) -> Shape {
        let median = (lognormal.median.span().as_us() as f64).max(1.0);
        let p99 = (lognormal.p99.span().as_us() as f64).max(median);
        let mu = libm::log(median);
        let sigma = (libm::log(p99) - mu) / NORMAL_P99;
        let table =
            (0..=TABLE).map(|i| exp_us(mu + sigma * normal_quantile(i as f64 / TABLE as f64))).collect();
        Shape::Lognormal { mu, sigma, table }
    }

    /// The delay at which a uniform draw of 64 bits lands, in microseconds.
    pub fn at(&self, bits: u64) -> u64 {
        match &self.0 {
            Shape::Constant(us) => *us,
            Shape::Uniform { min, width } => {
                min + ((u128::from(bits) * (u128::from(*width) + 1)) >> 64) as u64
            }
            Shape::Exponential { mean } => exponential_us(*mean, bits),
            Shape::Lognormal { mu, sigma, table } => {
                let place = u128::from(bits) * TABLE as u128;
                let (cell, rest) = ((place >> 64) as usize, place as u64);
                if !(TAIL..TABLE - TAIL).contains(&cell) {
                    return exp_us(mu + sigma * normal_quantile(unit(bits)));
                }
                let (low, high) = (table[cell], table[cell + 1]);
                low + ((u128::from(high - low) * u128::from(rest)) >> 64) as u64
            }
        }
    }
}

/// An exponentially distributed span with this mean, in microseconds.
pub fn exponential_us(mean_us: f64, bits: u64) -> u64 {
    (-mean_us * libm::log(unit(bits))) as u64
}

/// A number in (0, 1) from 64 uniform bits.
fn unit(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

fn exp_us(x: f64) -> u64 {
    libm::exp(x) as u64
}

/// Quantile of the standard normal distribution; the ends stand for the last representable draw.
/// Rational approximation by Peter Acklam, relative error below 1.2e-9.
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.383_577_518_672_69e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    let p = p.clamp(1e-16, 1.0 - 1e-16);
    let tail = |q: f64| {
        (((((C[0] * q + C[1]) * q + C[2]) * q + C[3]) * q + C[4]) * q + C[5])
            / ((((D[0] * q + D[1]) * q + D[2]) * q + D[3]) * q + 1.0)
    };
    if p < 0.02425 {
        tail(libm::sqrt(-2.0 * libm::log(p)))
    } else if p > 1.0 - 0.02425 {
        -tail(libm::sqrt(-2.0 * libm::log(1.0 - p)))
    } else {
        let q = p - 0.5;
        let r = q * q;
        (((((A[0] * r + A[1]) * r + A[2]) * r + A[3]) * r + A[4]) * r + A[5]) * q
            / (((((B[0] * r + B[1]) * r + B[2]) * r + B[3]) * r + B[4]) * r + 1.0)
    }
}

/// 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;
/// Cells of the table.
const TABLE: usize = 2_048;
/// Cells at each end that are computed instead: 1 %.
const TAIL: usize = TABLE / 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Draws, Label};
    use crate::scenario::model::{Exponential, Uniform};
    use crate::scenario::units::Length;

    fn percentiles(distribution: &Distribution) -> (u64, u64) {
        let (sampler, draws) = (Sampler::new(distribution), Draws::new(3));
        let mut all: Vec<_> = (0..100_000).map(|n| sampler.at(draws.bits(Label::Latency, 0, n))).collect();
        all.sort_unstable();
        (all[50_000], all[99_000])
    }

    fn near(actual: u64, expected: u64) {
        assert!(actual.abs_diff(expected) * 100 <= expected * 3, "{actual} is not within 3 % of {expected}");
    }

    #[test]
    fn a_lognormal_has_the_median_and_p99_asked_for() {
        let (median, p99) = (Length::from_ms(20), Length::from_ms(80));
        let (p50_us, p99_us) = percentiles(&Distribution::Lognormal(Lognormal { median, p99 }));
        near(p50_us, 20_000);
        near(p99_us, 80_000);
    }

    #[test]
    fn the_other_shapes_hold_what_they_say() {
        let mean = Length::from_ms(10);
        near(percentiles(&Distribution::Exponential(Exponential { mean })).0, 6_931);
        let (min, max) = (Length::from_ms(10), Length::from_ms(30));
        near(percentiles(&Distribution::Uniform(Uniform { min, max })).0, 20_000);
        assert_eq!(percentiles(&Distribution::Constant(mean)), (10_000, 10_000));
    }

    #[test]
    fn the_extreme_draws_stay_finite() {
        for bits in [0, u64::MAX] {
            let (median, p99) = (Length::from_ms(20), Length::from_ms(80));
            let sampler = Sampler::new(&Distribution::Lognormal(Lognormal { median, p99 }));
            assert!(sampler.at(bits) < 60_000_000);
            assert!(exponential_us(1_000.0, bits) < 60_000);
        }
    }
}
