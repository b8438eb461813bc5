//! Faults of the world: how each begins and ends.

use sync_core::cache::CacheError;

use super::variant::Variant;
use super::world::{Happening, Observer, World};
use crate::arrivals::holds;
use crate::history::What;
use crate::scenario::model::{Crash, HostSet, Injection};

impl<V: Variant, O: Observer> World<V, O> {
    pub(super) fn begin_fault(&mut self, place: usize) {
        let (number, fault) = self.faults[place].clone();
        self.observe(What::FaultBegan { action: format!("f{number}") });
        if self.order(number, &fault.inject, true) {
            self.crashes.extend(matches!(fault.inject, Injection::Crash(_)).then_some(place));
            return;
        }
        match fault.inject {
            Injection::Partition(partition) => self.network.partition(number, partition),
            Injection::Degrade(degrade) => self.network.degrade(number, degrade),
            Injection::Database(disturbance) => self.database.conditions.disturb(number, &disturbance),
            Injection::Cache(disturbance) => self.cache.conditions.disturb(number, &disturbance),
            Injection::Crash(crash) => {
                self.crashes.push(place);
                self.crash(&crash);
            }
            Injection::ClockStep(step) => {
                for host in self.members(&step.hosts) {
                    self.hosts[host as usize].clock.step(step.by.as_us());
                }
            }
            // There are no bytes and no processes here: `cannot` kept such a plan from running.
            Injection::Connection(_) | Injection::Freeze(_) => {}
        }
    }

    pub(super) fn end_fault(&mut self, place: usize) {
        let (number, fault) = self.faults[place].clone();
        if self.outside.is_some() && self.ends_outside(place, number, &fault.inject) {
            self.observe(What::FaultEnded { action: format!("f{number}") });
            return;
        }
        match fault.inject {
            Injection::Partition(_) | Injection::Degrade(_) => self.network.heal(number),
            Injection::Database(_) => self.database.conditions.heal(number),
            Injection::Cache(_) => self.cache.conditions.heal(number),
            Injection::Crash(crash) => {
                self.crashes.retain(|other| *other != place);
                self.restart(&crash);
            }
            // A clock that jumped stays where it is.
            Injection::ClockStep(_) | Injection::Connection(_) | Injection::Freeze(_) => {}
        }
        self.observe(What::FaultEnded { action: format!("f{number}") });
    }

    /// Orders the end of a fault outside, unless another one still holds the same process down; says whether
    /// the fault was of that kind.
    fn ends_outside(&mut self, place: usize, number: u32, injection: &Injection) -> bool {
        match injection {
            Injection::Crash(Crash::Hosts(_)) => false,
            Injection::Crash(crash) => {
                self.crashes.retain(|other| *other != place);
                self.held_down(|other| other == crash) || self.order(number, injection, false)
            }
            _ => self.order(number, injection, false),
        }
    }

    fn crash(&mut self, crash: &Crash) {
        let (now_us, life) = (self.queue.now_us(), self.server.life());
        match crash {
            Crash::MainServer => self.crash_server(),
            Crash::Database => {
                self.observe(What::Crashed { node: "database".to_owned() });
                for token in self.database.crash(now_us) {
                    self.queue.schedule(now_us, Happening::StoreFails { life, token });
                }
            }
            Crash::Cache => {
                self.observe(What::Crashed { node: "cache".to_owned() });
                for token in self.cache.crash() {
                    let answer = Err(CacheError::Unavailable);
                    self.queue.schedule(now_us, Happening::Cached { life, token, answer });
                }
            }
            Crash::Hosts(hosts) => self.members(hosts).into_iter().for_each(|host| self.crash_host(host)),
        }
    }

    /// Whether a crash that is still on holds down what the test recognises.
    fn held_down(&self, test: impl Fn(&Crash) -> bool) -> bool {
        self.crashes
            .iter()
            .any(|place| matches!(&self.faults[*place].1.inject, Injection::Crash(crash) if test(crash)))
    }

    fn restart(&mut self, crash: &Crash) {
        match crash {
            Crash::Hosts(hosts) => {
                for host in self.members(hosts) {
                    if !self.held_down(|other| matches!(other, Crash::Hosts(set) if holds(set, host))) {
                        self.restart_host(host);
                    }
                }
            }
            same if self.held_down(|other| other == same) => {}
            Crash::MainServer => self.restart_server(),
            Crash::Database => {
                self.database.conditions.restart();
                self.observe(What::Restarted { node: "database".to_owned() });
            }
            Crash::Cache => {
                self.cache.conditions.restart();
                self.observe(What::Restarted { node: "cache".to_owned() });
            }
        }
    }

    fn members(&self, set: &HostSet) -> Vec<u32> {
        (0..self.hosts.len() as u32).filter(|host| holds(set, *host)).collect()
    }
}
