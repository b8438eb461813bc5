//! P19: critical operations have their result within the critical timeout.
//!
//! Counted from the moment the workload intended the operation, so that a generator that falls behind
//! cannot hide a miss (coordinated omission). Operations that were unsent, refused, rejected,
//! displaced or timed out are misses. Two things fail whatever share of misses is allowed: success reported after
//! the timeout, and a result that comes later than the deadline.

use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{End, Event, Kind, OpRef, What};

pub(super) struct CriticalDeadline {
    timeout_us: u64,
    /// The timeout as a host with the slowest allowed clock counts it.
    slowest_us: u64,
    lateness_us_max: u64,
    miss_ppm_max: u32,
    judged: u64,
    missed: u64,
    first_miss: Option<(u64, OpRef, String)>,
}

impl CriticalDeadline {
    pub(super) fn new(terms: &Terms) -> Self {
        let slow = terms.critical_timeout_us.saturating_mul(u64::from(terms.drift_ppm));
        Self {
            timeout_us: terms.critical_timeout_us,
            slowest_us: terms.critical_timeout_us
                + slow.div_ceil(1_000_000 - u64::from(terms.drift_ppm.min(500_000))),
            lateness_us_max: terms.lateness_us_max,
            miss_ppm_max: terms.critical_miss_ppm_max,
            judged: 0,
            missed: 0,
            first_miss: None,
        }
    }

    fn miss(&mut self, at_us: u64, op: OpRef, findings: &mut Findings, why: impl FnOnce() -> String) {
        self.missed += 1;
        if self.miss_ppm_max == 0 {
            // No need to wait for the end: it is known already, and the history can keep the operation.
            let timeout_ms = self.timeout_us / 1_000;
            findings.add(at_us, Some(op), || {
                format!("critical operation {op} missed {timeout_ms} ms: {}", why())
            });
        } else if self.first_miss.is_none() {
            self.first_miss = Some((at_us, op, why()));
        }
    }
}

impl Check for CriticalDeadline {
    fn property(&self) -> Property {
        Property {
            id: "P19",
            name: "critical deadline",
            statement: "Critical operations have their result within the critical timeout, counted from the intended moment.",
            needs: &[Kind::Finished, Kind::Refused, Kind::Unsent],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let at_us = event.at_us;
        match &event.what {
            What::Finished { op, critical: true, end, intended_us, asked_us, .. } => {
                // What the session promises counts from the asking, by the host's own clock.
                let since_asked = at_us - asked_us;
                if since_asked > self.slowest_us + self.lateness_us_max {
                    findings.add(at_us, Some(*op), || {
                        format!(
                            "critical operation {op} ended as {end:?} {since_asked} us after the asking: \
                             past the timeout of {} us its result has to be a miss, at the timeout",
                            self.timeout_us
                        )
                    });
                }
                let latency = at_us - intended_us;
                // A host that died takes its operations with it, and a newer value of the same state
                // takes the place of one that had not left: neither says anything of the deadline.
                if matches!(end, End::ShutDown | End::Superseded) {
                    return;
                }
                self.judged += 1;
                if *end != End::Done || latency > self.slowest_us {
                    self.miss(at_us, *op, findings, || format!("{end:?} after {latency} us"));
                }
            }
            What::Refused { op, critical: true, why } => {
                self.judged += 1;
                self.miss(at_us, *op, findings, || format!("refused: {why:?}"));
            }
            What::Unsent { op, critical: true, .. } => {
                self.judged += 1;
                self.miss(at_us, *op, findings, || "unsent".to_owned());
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        let allowed = u128::from(self.judged) * u128::from(self.miss_ppm_max) / 1_000_000;
        if u128::from(self.missed) > allowed
            && let Some((at_us, op, why)) = self.first_miss.take()
        {
            let (missed, judged) = (self.missed, self.judged);
            findings.add(at_us, Some(op), || {
                    format!(
                        "{missed} of {judged} critical operations missed {} ms, at most {allowed} may; the first: \
                         operation {op}, {why}",
                        self.timeout_us / 1_000
                    )
                });
        }
        Basis::new(self.judged, &format!("critical operations, {} missed", self.missed))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check(miss_ppm_max: u32) -> CriticalDeadline {
        let terms =
            Terms { critical_timeout_us: 500, critical_miss_ppm_max: miss_ppm_max, ..Terms::default() };
        CriticalDeadline::new(&terms)
    }

    fn critical(at_us: u64, end: End) -> Event {
        let what = What::Finished {
            op: op(1),
            id: id(1),
            critical: true,
            writes: true,
            data_type: sync_core::data_type::SyncDataType::PlayerData,
            end,
            intended_us: 0,
            asked_us: 0,
            sent_us: Some(0),
        };
        Event { at_us, what }
    }

    #[test]
    fn results_in_time_pass() {
        passes_at(check(0), vec![critical(499, End::Done), critical(500, End::Done)]);
    }

    #[test]
    fn a_miss_fails_unless_its_share_is_allowed() {
        let history = || vec![critical(1, End::Done), critical(500, End::DeadlineExceeded)];
        fails_at(check(0), history(), "missed 0 ms: DeadlineExceeded");
        fails_at(check(400_000), history(), "1 of 2 critical operations missed");
        passes_at(check(500_000), history());
    }

    #[test]
    fn a_rejection_is_a_miss_and_a_replaced_value_is_not_judged() {
        fails_at(check(0), vec![critical(1, End::Rejected)], "Rejected");
        let half = vec![critical(1, End::Superseded), critical(500, End::DeadlineExceeded)];
        fails_at(check(600_000), half, "1 of 1 critical operations missed");
    }

    #[test]
    fn success_after_the_timeout_fails_whatever_is_allowed() {
        fails_at(check(1_000_000), vec![critical(501, End::Done)], "past the timeout");
    }

    #[test]
    fn refused_and_unsent_are_misses() {
        let refused = What::Refused { op: op(1), critical: true, why: crate::history::Refusal::QueueFull };
        fails(check(0), vec![refused], "refused: QueueFull");
        let unsent = What::Unsent { op: op(1), intended_us: 0, critical: true };
        fails(check(0), vec![unsent], "unsent");
    }

    #[test]
    fn an_operation_that_waited_in_the_generator_counts_from_the_intended_moment() {
        let what = What::Finished {
            op: op(1),
            id: id(1),
            critical: true,
            writes: true,
            data_type: sync_core::data_type::SyncDataType::PlayerData,
            end: End::Done,
            intended_us: 0,
            asked_us: 400,
            sent_us: Some(400),
        };
        fails_at(check(0), vec![Event { at_us: 600, what }], "Done after 600 us");
    }
}
