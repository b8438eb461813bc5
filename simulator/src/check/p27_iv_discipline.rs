//! P27: each frame has an initialisation vector of its own, which nobody could have known before.
//!
//! CBC needs unpredictable vectors (NIST SP 800-38A, appendix C); Rogaway 2004 shows what a counter costs. Judged
//! from the vectors themselves, which stand in clear: none may come again among the latest [`REMEMBERED_MAX`],
//! none may be half of a key or near its sender's last one (within 2^64, which chance never does), and over the run each of the 128 bits must be set, and must change from one
//! vector to the next, in half of the cases: a constant, a counter and a clock fail that. What looks random and
//! is not (a generator with a known state) cannot be told from outside.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, Way, What};

#[derive(Default)]
pub(super) struct IvDiscipline {
    seen: FxHashSet<u128>,
    order: VecDeque<u128>,
    last: Option<u128>,
    /// The last one of each sender.
    last_of: FxHashMap<(Way, u32), u128>,
    count: u64,
    set: Tally,
    changed: Tally,
}

/// How often each of 128 bits was set.
struct Tally([u64; 128]);

/// Vectors that are remembered: 16 bytes each, twice.
const REMEMBERED_MAX: usize = 1 << 20;
/// Nearer than this no two of 128 random bits come.
const NEAR: u128 = 1 << 64;
/// Fewer say too little about odds.
const JUDGED_MIN: u64 = 100;

impl Default for Tally {
    fn default() -> Self {
        Self([0; 128])
    }
}

impl Tally {
    fn add(&mut self, bits: u128) {
        for (place, count) in self.0.iter_mut().enumerate() {
            *count += (bits >> place & 1) as u64;
        }
    }

    /// The first bit whose count is more than eight standard deviations from what even odds give.
    fn uneven(&self, of: u64) -> Option<(usize, u64)> {
        let far = |count: u64| {
            let off = u128::from((2 * count).abs_diff(of));
            // A standard deviation of `2 * count - of` is the root of `of`.
            off * off > 64 * u128::from(of)
        };
        self.0.iter().copied().enumerate().find(|(_, count)| far(*count))
    }
}

impl Check for IvDiscipline {
    fn property(&self) -> Property {
        Property {
            id: "P27",
            name: "IV discipline",
            statement: "Initialisation vectors are fresh and unpredictable, never repeated and never a key.",
            needs: &[Kind::Sealed],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Sealed { way, op, iv, iv_is_key, .. } = &event.what else { return };
        self.count += 1;
        if *iv_is_key {
            findings.add(event.at_us, Some(*op), || {
                format!("half of a key is the initialisation vector of a message ({way:?}, operation {op})")
            });
        }
        if let Some(last) = self.last_of.insert((*way, op.host), *iv) {
            let step = iv.wrapping_sub(last).min(last.wrapping_sub(*iv));
            if step != 0 && step <= NEAR {
                findings.add(event.at_us, Some(*op), || {
                    format!("the initialisation vector of a message ({way:?}, operation {op}) is {step} from the last")
                });
            }
        }
        if !self.seen.insert(*iv) {
            findings.add(event.at_us, Some(*op), || {
                format!("the initialisation vector of a message ({way:?}, operation {op}) was used before")
            });
        } else {
            self.order.push_back(*iv);
            if self.order.len() > REMEMBERED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.seen.remove(&oldest);
            }
        }
        self.set.add(*iv);
        self.changed.add(self.last.map_or(0, |last| last ^ iv));
        self.last = Some(*iv);
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let changes = self.count.saturating_sub(1);
        if self.count >= JUDGED_MIN {
            for (tally, of, verb) in [(&self.set, self.count, "set"), (&self.changed, changes, "changed")] {
                if let Some((bit, count)) = tally.uneven(of) {
                    findings.add(0, None, || {
                        format!(
                            "bit {bit} of the initialisation vectors was {verb} {count} times out of {of}"
                        )
                    });
                }
            }
        }
        // The odds are most of what is judged.
        match self.count < JUDGED_MIN {
            true => Basis {
                count: 0,
                words: format!("{} initialisation vectors, fewer than {JUDGED_MIN}", self.count),
                excused: 0,
            },
            false => Basis::new(self.count, "initialisation vectors looked at"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::draw::{Draws, Label};

    fn sealed(iv: u128) -> What {
        What::Sealed { way: Way::ToServer, op: op(1), key: "k1".to_owned(), iv, iv_is_key: false }
    }

    fn drawn(number: u64) -> u128 {
        let half = |ordinal| u128::from(Draws::new(1).bits(Label::Engine, number, ordinal));
        half(0) << 64 | half(1)
    }

    #[test]
    fn drawn_vectors_pass() {
        passes(IvDiscipline::default(), (0..20_000).map(|n| sealed(drawn(n))).collect());
    }

    #[test]
    fn a_vector_that_comes_again_fails() {
        fails(IvDiscipline::default(), vec![sealed(1), sealed(2), sealed(1)], "was used before");
    }

    #[test]
    fn a_key_as_vector_fails() {
        let What::Sealed { way, op, key, iv, .. } = sealed(1) else { unreachable!() };
        let history = vec![What::Sealed { way, op, key, iv, iv_is_key: true }];
        fails(IvDiscipline::default(), history, "half of a key");
    }

    #[test]
    fn a_vector_near_the_last_one_of_its_sender_fails() {
        fails(IvDiscipline::default(), vec![sealed(drawn(7)), sealed(drawn(7) + 3)], "is 3 from the last");
    }

    #[test]
    fn counters_fail_however_they_are_dressed_up() {
        let check = |iv: fn(u64) -> u128, expected: &str| {
            fails(IvDiscipline::default(), (0..200).map(|n| sealed(iv(n))).collect(), expected);
        };
        check(u128::from, "is 1 from the last");
        check(|n| drawn(n) & !(1 << 100), "bit 100 of the initialisation vectors was set 0 times out of 200");
        check(|n| drawn(7) ^ u128::from(n), "from the last");
        check(
            |n| drawn(n) & !1 | u128::from(n % 2),
            "bit 0 of the initialisation vectors was changed 199 times",
        );
    }
}
