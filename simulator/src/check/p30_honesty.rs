//! P30: the harness is honest about its own work.
//!
//! The arrivals that the plan holds are counted apart from the run, with a hash over their intended
//! moments. Each must have been handed to a session at its moment or be reported unsent, and every
//! one handed over must end in a result or be reported as open. (That the same seed gives the same
//! bytes is shown by `run --twice` and by a test with two processes.)

use super::rows::Rows;
use super::{Basis, Check, Findings, Property, Terms};
use crate::history::{Event, Kind, StateName, What};

#[derive(Default)]
pub(super) struct Honesty {
    lateness_us_max: u64,
    latest_us: u64,
    hosts: Rows<Tally>,
    planned: u64,
    asked: u64,
    ended: u64,
    open: u64,
    lost: u64,
}

#[derive(Default)]
struct Tally {
    arrivals: u64,
    moments: u64,
}

impl Honesty {
    pub(super) fn new(terms: &Terms) -> Self {
        Self { lateness_us_max: terms.lateness_us_max, ..Self::default() }
    }
}

/// Hash of a set of intended moments, whatever their order: the sum over all (ticket, moment).
pub(crate) fn moment(ticket: u64, intended_us: u64) -> u64 {
    let mut hash = ticket.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ intended_us;
    hash = (hash ^ (hash >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 29)
}

impl Check for Honesty {
    fn property(&self) -> Property {
        Property {
            id: "P30",
            name: "honesty of the harness",
            statement: "Planned arrivals are handed over at their moment or reported unsent, and what is handed over ends or is reported open.",
            needs: &[Kind::Planned, Kind::Asked, Kind::Unsent, Kind::Finished, Kind::Refused, Kind::Settled],
        }
    }

    fn warm(&self, host: u32, _: Option<&StateName>) -> u64 {
        self.hosts.near(host).map_or(0, |tally| tally.moments)
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Asked { op, intended_us, .. } | What::Unsent { op, intended_us, .. } => {
                let tally = self.hosts.row(op.host);
                tally.arrivals += 1;
                tally.moments = tally.moments.wrapping_add(moment(op.ticket, *intended_us));
                let asked = matches!(event.what, What::Asked { .. });
                self.asked += u64::from(asked);
                let late_us = event.at_us.saturating_sub(*intended_us);
                self.latest_us = self.latest_us.max(if asked { late_us } else { 0 });
                if asked && (event.at_us < *intended_us || late_us > self.lateness_us_max) {
                    findings.add(event.at_us, Some(*op), || {
                        format!(
                            "operation {op} was intended at {intended_us} us and asked at {} us",
                            event.at_us
                        )
                    });
                }
            }
            What::Finished { .. } | What::Refused { .. } => self.ended += 1,
            What::Settled { open } => self.open = *open,
            What::Planned { host, arrivals, moments } => {
                self.planned += arrivals;
                let seen = std::mem::take(self.hosts.row(*host));
                if (seen.arrivals, seen.moments) != (*arrivals, *moments) {
                    self.lost += arrivals.abs_diff(seen.arrivals);
                    findings.add(event.at_us, None, || {
                        format!(
                            "host {host}: the plan holds {arrivals} arrivals, {} were asked or reported unsent{}",
                            seen.arrivals,
                            if seen.arrivals == *arrivals { ", at other moments" } else { "" }
                        )
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, findings: &mut Findings) -> Basis {
        for (host, tally) in self.hosts.drain().filter(|(_, tally)| tally.arrivals > 0) {
            findings.add(0, None, || {
                format!("host {host}: {} arrivals that the plan does not hold", tally.arrivals)
            });
        }
        if self.asked != self.ended + self.open {
            let (asked, ended, open) = (self.asked, self.ended, self.open);
            findings.add(0, None, || {
                format!("{asked} operations were asked, {ended} ended and {open} are reported open")
            });
        }
        match self.lateness_us_max {
            0 => Basis::new(self.planned, "planned arrivals recounted"),
            _ => {
                let late =
                    format!("planned arrivals recounted, handed over at most {} us late", self.latest_us);
                Basis::new(self.planned, &late)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::history::End;

    fn asked(ticket: u64, at_us: u64, intended_us: u64) -> Event {
        let mut what = asked_on(ticket, sync_core::host_sync::operation::Lane::Normal, 0);
        if let What::Asked { intended_us: intended, .. } = &mut what {
            *intended = intended_us;
        }
        Event { at_us, what }
    }

    fn rest(arrivals: u64, moments: u64, open: u64) -> Vec<Event> {
        [finished(1, End::Done), What::Settled { open }, What::Planned { host: 0, arrivals, moments }]
            .map(|what| Event { at_us: 99, what })
            .into()
    }

    fn history(first: Event, rest: Vec<Event>) -> Vec<Event> {
        std::iter::once(first).chain(rest).collect()
    }

    #[test]
    fn arrivals_as_planned_pass() {
        passes_at(Honesty::default(), history(asked(1, 5, 5), rest(1, moment(1, 5), 0)));
    }

    #[test]
    fn an_arrival_that_was_left_out_fails() {
        let planned = rest(2, moment(1, 5).wrapping_add(moment(2, 9)), 0);
        fails_at(Honesty::default(), history(asked(1, 5, 5), planned), "holds 2 arrivals, 1 were asked");
    }

    #[test]
    fn an_arrival_that_was_put_off_fails() {
        let planned = rest(1, moment(1, 5), 0);
        fails_at(
            Honesty::default(),
            history(asked(1, 7, 5), planned),
            "was intended at 5 us and asked at 7 us",
        );
        let planned = rest(1, moment(1, 5), 0);
        fails_at(Honesty::default(), history(asked(1, 7, 7), planned), "at other moments");
    }

    #[test]
    fn in_real_time_an_arrival_may_be_as_late_as_the_rig_allows_itself() {
        let terms = Terms { lateness_us_max: 2, ..Terms::default() };
        let planned = rest(1, moment(1, 5), 0);
        passes_at(Honesty::new(&terms), history(asked(1, 7, 5), planned.clone()));
        fails_at(Honesty::new(&terms), history(asked(1, 8, 5), planned.clone()), "asked at 8 us");
        fails_at(Honesty::new(&terms), history(asked(1, 4, 5), planned), "asked at 4 us");
    }

    #[test]
    fn an_operation_without_result_that_is_not_reported_open_fails() {
        let planned = rest(1, moment(1, 5), 1);
        fails_at(Honesty::default(), history(asked(1, 5, 5), planned), "1 are reported open");
    }
}
