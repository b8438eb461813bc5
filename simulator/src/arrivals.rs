//! Open-loop arrivals: when operations are intended, whatever becomes of earlier ones.
//!
//! The n-th arrival of a stream is a function of (seed, stream, host, n) and of the arrivals before
//! it, never of the run. One stream is one workload at one host.

use crate::distribution::exponential_us;
use crate::draw::{Draws, Label};
use crate::history::OpRef;
use crate::scenario::model::{Arrivals, HostSet, MixEntry, Workload};

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
        let process = match workload.arrivals {
            Arrivals::Constant(rate) => Process::Constant(rate.micro_hz()),
            Arrivals::Poisson(rate) => Process::Poisson(1e12 / rate.micro_hz() as f64),
        };
        Self {
            process,
            mix: workload.mix.clone(),
            weight: workload.mix.iter().map(|entry| u64::from(entry.weight)).sum(),
            from_us: workload.from.span().as_us(),
            until_us: workload.until.map_or(duration_us, |until| until.span().as_us().min(duration_us)),
        }
    }

    /// The stream of this workload at one host, at its first arrival.
    pub fn stream(&self, draws: Draws, workload: u32, host: u32) -> Stream {
        let mut stream = Stream { workload, host, ordinal: 0, at_us: self.from_us };
        stream.at_us = match self.process {
            Process::Constant(micro_hz) => {
                self.from_us + draws.below(distance_us(micro_hz, 1), Label::Phase, stream.entity(), 0)
            }
            Process::Poisson(mean_us) => self.from_us + gap_us(draws, &stream, mean_us),
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
        };
        Some(arrival)
    }

    /// Which entry of the mix an operation is.
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
