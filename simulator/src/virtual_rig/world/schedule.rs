//! When what a plan says happens.

use super::{Happening, Observer, World};
use crate::arrivals::{Generator, Stream, holds};
use crate::plan::{Action, Ask};
use crate::scenario::model::Scenario;
use crate::virtual_rig::variant::Variant;

impl<V: Variant, O: Observer> World<V, O> {
    pub(super) fn schedule(&mut self, scenario: &Scenario, action: &Action) {
        match action {
            Action::Generate(number, workload) => {
                let generator = Generator::new(workload, self.duration_us);
                for host in (0..scenario.topology.hosts).filter(|host| holds(&workload.hosts, *host)) {
                    let stream = generator.stream(self.draws, *number, host);
                    if let Some(at_us) = generator.next_us(&stream) {
                        let rank = stream_rank(&stream);
                        self.streams.push((self.generators.len(), stream));
                        let stream = self.streams.len() - 1;
                        self.queue.schedule_planned(at_us, rank, Happening::Arrive { stream });
                    }
                }
                self.generators.push((*number, generator));
            }
            Action::Ask(ask) => {
                self.asks.push(ask.clone());
                let number = self.asks.len() - 1;
                self.queue.schedule_planned(ask.at_us, ask_rank(ask), Happening::Ask { number });
            }
            // Of worlds of peers, see `virtual_rig::peers`.
            Action::Transact(..) | Action::Act(_) => {}
            Action::Inject(number, fault) => {
                let place = self.faults.len();
                self.faults.push((*number, fault.clone()));
                let at_us = fault.at.span().as_us();
                let ends_us = fault
                    .lasts
                    .map_or(self.duration_us, |lasts| at_us + lasts.span().as_us())
                    .min(self.duration_us);
                let rank = FAULT_RANK + 2 * u64::from(*number);
                self.queue.schedule_planned(at_us, rank, Happening::FaultBegins { place });
                self.queue.schedule_planned(ends_us, rank + 1, Happening::FaultEnds { place });
            }
        }
    }

    pub(super) fn next_arrival(&mut self, number: usize) {
        let (place, stream) = &mut self.streams[number];
        let (_, generator) = &self.generators[*place];
        let Some(arrival) = generator.next(self.draws, stream) else { return };
        let entry = generator.entry(self.draws, arrival.op).clone();
        if let Some(at_us) = generator.next_us(stream) {
            let rank = stream_rank(stream);
            self.queue.schedule_planned(at_us, rank, Happening::Arrive { stream: number });
        }
        self.arrive(arrival.op, &entry, arrival.at_us);
    }
}

/// Arrivals are ranked by stream, so that a written-out plan runs in the same order.
fn stream_rank(stream: &Stream) -> u64 {
    u64::from(stream.workload) << 20 | u64::from(stream.host)
}

fn ask_rank(ask: &Ask) -> u64 {
    (ask.op.ticket >> crate::arrivals::TICKET_STREAM_BIT) << 20 | u64::from(ask.op.host)
}

/// Faults come after the arrivals of the same moment.
const FAULT_RANK: u64 = 1 << 38;
/// Healing comes last among what a plan does at a moment.
pub(super) const HEAL_RANK: u64 = (1 << 39) - 1;
