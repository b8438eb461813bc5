//! Faults of the world: how each begins and ends.

use sync_core::cache::CacheError;
use sync_core::time::Span;

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
            Injection::Move(there) => {
                self.moves.push((number, there));
                self.route_hosts();
            }
            Injection::RotateKeys(rotation) => self.begin_rotation(&rotation),
            Injection::ShutDown(down) => {
                self.crashes.push(place);
                for host in self.members(&down.hosts) {
                    self.shut_down_host(host, down.drain.span());
                }
            }
            Injection::Embedding(trouble) => {
                if let Some(provider) = &mut self.provider {
                    provider.disturb(number, trouble);
                }
            }
            Injection::CutNotifications(cut) => self.cut_notifications(number, &cut),
            // There are no bytes and no processes here: `cannot` kept such a plan from running.
            Injection::Connection(_) | Injection::Freeze(_) => {}
            // Of worlds of peers.
            Injection::Peers(_) => {}
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
            Injection::Move(_) => {
                self.moves.retain(|(other, _)| *other != number);
                self.route_hosts();
            }
            Injection::RotateKeys(_) => self.end_rotation(),
            Injection::ShutDown(down) => {
                self.crashes.retain(|other| *other != place);
                self.restart_hosts(&down.hosts);
            }
            Injection::Embedding(_) => {
                if let Some(provider) = &mut self.provider {
                    provider.heal(number);
                }
            }
            Injection::CutNotifications(_) => self.mend_notifications(number),
            // A clock that jumped stays where it is.
            Injection::ClockStep(_)
            | Injection::Connection(_)
            | Injection::Freeze(_)
            | Injection::Peers(_) => {}
        }
        self.observe(What::FaultEnded { action: format!("f{number}") });
    }

    /// Orders the end of a fault outside, unless another one still holds the same process down; says whether
    /// the fault was of that kind.
    fn ends_outside(&mut self, place: usize, number: u32, injection: &Injection) -> bool {
        match injection {
            Injection::Crash(Crash::Hosts(_)) => false,
            Injection::Crash(Crash::MainServer | Crash::MainServers(_)) => {
                self.crashes.retain(|other| *other != place);
                let Injection::Crash(crash) = injection else { return true };
                let up = self.servers_of(crash).into_iter().filter(|at| !self.server_held_down(*at));
                let up: Vec<_> = up.map(|at| at as u32).collect();
                let crash = Injection::Crash(Crash::MainServers(up.clone()));
                up.is_empty() || self.order(number, &crash, false)
            }
            Injection::Crash(crash) => {
                self.crashes.retain(|other| *other != place);
                self.held_down(|other| other == crash) || self.order(number, injection, false)
            }
            _ => self.order(number, injection, false),
        }
    }

    fn crash(&mut self, crash: &Crash) {
        let now_us = self.queue.now_us();
        match crash {
            Crash::MainServer | Crash::MainServers(_) => {
                self.servers_of(crash).into_iter().for_each(|at| self.crash_server(at));
            }
            Crash::Database => {
                self.observe(What::Crashed { node: "database".to_owned() });
                for (life, token) in self.database.crash(now_us) {
                    self.queue.schedule(now_us, Happening::StoreFails { life, token });
                }
            }
            Crash::Cache => {
                self.observe(What::Crashed { node: "cache".to_owned() });
                self.lose_notifications();
                for (life, token) in self.cache.crash() {
                    let answer = Err(CacheError::Unavailable);
                    self.queue.schedule(now_us, Happening::Cached { life, token, answer });
                }
            }
            Crash::SyncProxy => self.crash_proxy(),
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
            Crash::Hosts(hosts) => self.restart_hosts(hosts),
            Crash::MainServer | Crash::MainServers(_) => {
                for at in self.servers_of(crash) {
                    if !self.server_held_down(at) {
                        self.restart_server(at);
                    }
                }
            }
            same if self.held_down(|other| other == same) => {}
            Crash::SyncProxy => self.restart_proxy(),
            Crash::Database => {
                self.database.conditions.restart();
                self.observe(What::Restarted { node: "database".to_owned() });
            }
            Crash::Cache => {
                self.cache.conditions.restart();
                self.follow_again();
                self.observe(What::Restarted { node: "cache".to_owned() });
            }
        }
    }

    /// The main servers that a crash concerns.
    pub(super) fn servers_of(&self, crash: &Crash) -> Vec<usize> {
        match crash {
            Crash::MainServer => (0..self.servers.len()).collect(),
            Crash::MainServers(list) => list.iter().map(|at| *at as usize).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a crash that is still on holds this main server down.
    fn server_held_down(&self, at: usize) -> bool {
        self.held_down(|crash| match crash {
            Crash::MainServer => true,
            Crash::MainServers(list) => list.contains(&(at as u32)),
            _ => false,
        })
    }

    /// Lets every host talk to its main server: the one of the latest move that concerns it, else its own.
    fn route_hosts(&mut self) {
        let count = self.servers.len();
        for (host, node) in (0..).zip(&mut self.hosts) {
            let moved = self.moves.iter().rfind(|(_, there)| holds(&there.hosts, host));
            node.server = moved.map_or(host as usize % count, |(_, there)| there.to as usize) as u8;
        }
    }

    /// Starts hosts again that no other fault keeps down.
    fn restart_hosts(&mut self, hosts: &HostSet) {
        for host in self.members(hosts) {
            let keeps_down = |place: &usize| match &self.faults[*place].1.inject {
                Injection::Crash(Crash::Hosts(set)) => holds(set, host),
                Injection::ShutDown(down) => holds(&down.hosts, host),
                _ => false,
            };
            if self.crashes.iter().any(keeps_down) {
                continue;
            }
            if self.is_stopping(host) {
                self.shut_down_host(host, Span::ZERO);
            }
            self.restart_host(host);
        }
    }

    pub(super) fn members(&self, set: &HostSet) -> Vec<u32> {
        (0..self.hosts.len() as u32).filter(|host| holds(set, *host)).collect()
    }
}
