//! Open-loop arrivals: when operations are intended, whatever becomes of earlier ones.
//!
//! The n-th arrival of a stream is a function of (seed, stream, host, n) and of the arrivals before
//! it, never of the run. One stream is one workload at one host.

use crate::distribution::exponential_us;
use crate::draw::{Draws, Label};
use crate::history::OpRef;
use crate::scenario::model::{Arrivals, HostSet, MixEntry, Transactions, Workload};
use crate::scenario::units::Length;

/// A workload made ready to generate from.
#[derive(Clone, Debug)]
pub struct Generator {
    process: Process,
    mix: Vec<MixEntry>,
    weight: u64,
    from_us: u64,
    until_us: u64,
}

#[derive(Clone, Copy, Debug)]
enum Process {
    /// Rate in micro-operations a second.
    Constant(u64),
    /// Mean distance in microseconds.
    Poisson(f64),
    /// Arrivals a microsecond at the first moment, and by how much that changes in a microsecond.
    Ramp { first: f64, slope: f64 },
    /// Distance of groups, arrivals in each, over how long each spreads.
    Burst { every_us: u64, size: u64, within_us: u64 },
}

/// One workload at one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The workload, from 0.
    pub workload: u32,
    /// The host, from 0.
    pub host: u32,
    /// Ordinal of the next arrival, from 0.
    ordinal: u64,
    /// Moment of the next arrival.
    at_us: u64,
}

/// One arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// The operation's name.
    pub op: OpRef,
    /// Its intended moment.
    pub at_us: u64,
}

impl Generator {
    /// Makes a workload ready; without an end of its own it ends at `duration_us`.
    pub fn new(workload: &Workload, duration_us: u64) -> Self {
        let mut generator = Self::timed(&workload.arrivals, workload.from, workload.until, duration_us);
        generator.mix = workload.mix.clone();
        generator.weight = workload.mix.iter().map(|entry| u64::from(entry.weight)).sum();
        generator
    }

    /// The arrivals of transactions, which have no mix of operations.
    pub fn of_transactions(transactions: &Transactions, duration_us: u64) -> Self {
        Self::timed(&transactions.arrivals, transactions.from, transactions.until, duration_us)
    }

    fn timed(arrivals: &Arrivals, from: Length, until: Option<Length>, duration_us: u64) -> Self {
        let from_us = from.span().as_us();
        let until_us = until.map_or(duration_us, |until| until.span().as_us().min(duration_us));
        let process = match arrivals {
            Arrivals::Constant(rate) => Process::Constant(rate.micro_hz()),
            Arrivals::Poisson(rate) => Process::Poisson(1e12 / rate.micro_hz() as f64),
            Arrivals::Ramp(ramp) => {
                let [first, last] = [ramp.from, ramp.to].map(|rate| rate.micro_hz() as f64 / 1e12);
                Process::Ramp {
                    first,
                    slope: (last - first) / until_us.saturating_sub(from_us).max(1) as f64,
                }
            }
            Arrivals::Burst(burst) => Process::Burst {
                every_us: burst.every.span().as_us(),
                size: u64::from(burst.size),
                within_us: burst.within.span().as_us(),
            },
        };
        Self { process, mix: Vec::new(), weight: 0, from_us, until_us }
    }

    /// The stream of this workload at one host, at its first arrival.
    pub fn stream(&self, draws: Draws, workload: u32, host: u32) -> Stream {
        let mut stream = Stream { workload, host, ordinal: 0, at_us: self.from_us };
        stream.at_us = match self.process {
            Process::Constant(micro_hz) => {
                self.from_us + draws.below(distance_us(micro_hz, 1), Label::Phase, stream.entity(), 0)
            }
            Process::Poisson(mean_us) => self.from_us + gap_us(draws, &stream, mean_us),
            Process::Ramp { .. } => self.ramp_us(draws, &stream),
            Process::Burst { .. } => self.from_us,
        };
        stream
    }

    /// The moment of the stream's next arrival, if one lies before the workload's end.
    pub fn next_us(&self, stream: &Stream) -> Option<u64> {
        (stream.at_us < self.until_us).then_some(stream.at_us)
    }

    /// Takes the stream's next arrival.
    pub fn next(&self, draws: Draws, stream: &mut Stream) -> Option<Arrival> {
        let at_us = self.next_us(stream)?;
        let arrival = Arrival { op: stream.op(), at_us };
        stream.ordinal += 1;
        stream.at_us = match self.process {
            // From the start each time, so that rounding does not add up.
            Process::Constant(micro_hz) => {
                let phase = draws.below(distance_us(micro_hz, 1), Label::Phase, stream.entity(), 0);
                self.from_us + phase + distance_us(micro_hz, stream.ordinal)
            }
            Process::Poisson(mean_us) => at_us.saturating_add(gap_us(draws, stream, mean_us)),
            Process::Ramp { .. } => self.ramp_us(draws, stream),
            Process::Burst { every_us, size, within_us } => {
                let (group, place) = (stream.ordinal / size, stream.ordinal % size);
                self.from_us.saturating_add(group.saturating_mul(every_us)) + within_us * place / size
            }
        };
        Some(arrival)
    }

    /// The arrival after the stream's present moment when the rate changes evenly: where the number of arrivals
    /// expected since then reaches an exponentially distributed one.
    fn ramp_us(&self, draws: Draws, stream: &Stream) -> u64 {
        let Process::Ramp { first, slope } = self.process else { return u64::MAX };
        let rate = first + slope * stream.at_us.saturating_sub(self.from_us) as f64;
        let expected = gap_us(draws, stream, 1e9) as f64 / 1e9;
        let square = rate * rate + 2.0 * slope * expected;
        // A falling rate may never bring so many.
        if square < 0.0 {
            return u64::MAX;
        }
        let gap = 2.0 * expected / (rate + square.sqrt());
        if gap.is_finite() { stream.at_us.saturating_add(gap as u64) } else { u64::MAX }
    }

    /// Which entry of the mix an operation is; of operations only, see [`Generator::new`].
    pub fn entry(&self, draws: Draws, op: OpRef) -> &MixEntry {
        let mut place = draws.below(self.weight, Label::Mix, u64::from(op.host), op.ticket);
        for entry in &self.mix {
            match place.checked_sub(u64::from(entry.weight)) {
                Some(rest) => place = rest,
                None => return entry,
            }
        }
        &self.mix[self.mix.len() - 1]
    }
}

impl Stream {
    fn entity(&self) -> u64 {
        u64::from(self.workload) << 32 | u64::from(self.host)
    }

    fn op(&self) -> OpRef {
        OpRef { host: self.host, ticket: u64::from(self.workload) << TICKET_STREAM_BIT | self.ordinal }
    }
}

/// Whether the set holds the host.
pub fn holds(set: &HostSet, host: u32) -> bool {
    match set {
        HostSet::All => true,
        HostSet::First(count) => host < *count,
        HostSet::Only(hosts) => hosts.contains(&host),
    }
}

/// Tickets hold the stream above this bit and the ordinal below.
pub const TICKET_STREAM_BIT: u32 = 40;

fn gap_us(draws: Draws, stream: &Stream, mean_us: f64) -> u64 {
    exponential_us(mean_us, draws.bits(Label::Arrival, stream.entity(), stream.ordinal))
}

fn distance_us(micro_hz: u64, count: u64) -> u64 {
    (u128::from(count) * 1_000_000_000_000 / u128::from(micro_hz.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::{Burst, Ramp};
    use crate::scenario::units::{Length, Rate};

    fn arrivals(arrivals: Arrivals, seconds: u64) -> Vec<u64> {
        let workload = Workload {
            name: "w".into(),
            hosts: HostSet::All,
            arrivals,
            mix: Vec::new(),
            from: Length::from_ms(0),
            until: None,
        };
        let generator = Generator::new(&workload, seconds * 1_000_000);
        let draws = Draws::new(5);
        let mut stream = generator.stream(draws, 0, 3);
        std::iter::from_fn(|| generator.next(draws, &mut stream)).map(|a| a.at_us).collect()
    }

    #[test]
    fn constant_arrivals_keep_their_distance_for_ever() {
        let rate = Rate::from_micro_hz(3_000_000).unwrap();
        let all = arrivals(Arrivals::Constant(rate), 1_000);
        assert_eq!(all.len(), 3_000);
        assert!(all.windows(2).all(|w| (333_333..=333_334).contains(&(w[1] - w[0]))));
    }

    #[test]
    fn a_ramp_has_the_rate_of_each_moment() {
        let rate = |hertz: u64| Rate::from_micro_hz(hertz * 1_000_000).unwrap();
        for (from, to) in [(1, 100), (100, 1)] {
            let all = arrivals(Arrivals::Ramp(Ramp { from: rate(from), to: rate(to) }), 1_000);
            assert!((49_500..51_500).contains(&all.len()), "{}", all.len());
            let within = |from_s: u64, to_s: u64| {
                all.iter().filter(|at| (from_s * 1_000_000..to_s * 1_000_000).contains(at)).count()
            };
            let (start, end) = if from < to {
                (within(0, 100), within(900, 1_000))
            } else {
                (within(900, 1_000), within(0, 100))
            };
            assert!((530..660).contains(&start) && (9_200..9_900).contains(&end), "{start} {end}");
            assert!(all.is_sorted());
        }
    }

    #[test]
    fn bursts_come_together_and_spread_as_asked() {
        let burst = Burst { every: Length::from_ms(2_000), size: 4, within: Length::from_ms(100) };
        let all = arrivals(Arrivals::Burst(burst), 3);
        assert_eq!(all, [0, 25_000, 50_000, 75_000, 2_000_000, 2_025_000, 2_050_000, 2_075_000]);
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_spread() {
        let rate = Rate::from_micro_hz(10_000_000).unwrap();
        let all = arrivals(Arrivals::Poisson(rate), 10_000);
        assert!((98_500..101_500).contains(&all.len()), "{}", all.len());
        let gaps: Vec<f64> = all.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation =
            (gaps.iter().map(|g| (g - mean) * (g - mean)).sum::<f64>() / gaps.len() as f64).sqrt();
        // Standard deviation of an exponential distribution is its mean.
        assert!((0.97..1.03).contains(&(deviation / mean)), "{deviation} {mean}");
    }
}
