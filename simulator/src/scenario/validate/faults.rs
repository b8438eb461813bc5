//! Rules of faults.

use sync_core::limits;

use super::{DAY, HOUR, Rules};
use crate::scenario::model::{Crash, EmbeddingAnswer, Fault as Trouble, Injection};
use crate::scenario::units::Length;

impl Rules<'_> {
    pub(super) fn trouble(&mut self, path: &str, trouble: &Trouble) {
        if trouble.at >= self.duration {
            let message = format!("a fault at {} begins when the scenario is over", trouble.at);
            let help = format!("write a moment before {}, the scenario's `duration`", self.duration);
            self.refuse(&format!("{path}.at"), message, help);
        }
        if trouble.lasts.is_some_and(|lasts| lasts == Length::ZERO) {
            let help = "write how long it lasts, or leave `for` out: then it lasts until the end";
            self.refuse(&format!("{path}.for"), "a fault cannot last 0s", help);
        }
        let inject = format!("{path}.inject");
        if self.among_peers != matches!(trouble.inject, Injection::Peers(_)) {
            let (message, help) = match self.among_peers {
                true => (
                    "this fault is of hosts, and the scenario has peers",
                    "faults among peers are written `inject: {peers: {cut: ...}}`",
                ),
                false => (
                    "this fault is of peers, and the scenario has hosts",
                    "add `peers: {count: 3}` and remove `topology`",
                ),
            };
            self.refuse(&inject, message, help);
            return;
        }
        match &trouble.inject {
            Injection::Partition(p) => self.hosts(&format!("{inject}.partition.hosts"), &p.hosts),
            Injection::Degrade(d) => {
                self.hosts(&format!("{inject}.degrade.hosts"), &d.hosts);
                let changes = d.loss.or(d.duplicate).or(d.reorder).or(d.tamper).or(d.replay).is_some();
                if let Some(with) = &d.tamper_with {
                    self.tampering(&format!("{inject}.degrade.tamper_with"), with);
                }
                self.changes(&format!("{inject}.degrade"), changes || d.latency.is_some(), "loss: 5%");
                if let Some(latency) = &d.latency {
                    self.distribution(&format!("{inject}.degrade.latency"), latency);
                }
            }
            Injection::Database(d) | Injection::Cache(d) => {
                let which = if matches!(trouble.inject, Injection::Cache(_)) { "cache" } else { "database" };
                let at = format!("{inject}.{which}");
                self.changes(&at, d.latency.is_some() || d.failures.is_some(), "failures: 5%");
                if let Some(latency) = &d.latency {
                    self.distribution(&format!("{at}.latency"), latency);
                }
            }
            Injection::Crash(Crash::Hosts(hosts)) => self.hosts(&format!("{inject}.crash.hosts"), hosts),
            Injection::Crash(Crash::SyncProxy) => {
                if !self.proxied {
                    let help = "add one: `topology: {sync_proxy: {latency: {constant: 1ms}}}`";
                    self.refuse(&format!("{inject}.crash"), "there is no sync proxy to crash", help);
                }
            }
            Injection::Crash(Crash::MainServers(list)) => {
                self.main_servers(&format!("{inject}.crash.main_servers"), list);
            }
            Injection::Crash(_) => {}
            Injection::Move(there) => {
                self.hosts(&format!("{inject}.move.hosts"), &there.hosts);
                self.main_server(&format!("{inject}.move.to"), there.to);
            }
            Injection::Freeze(_) => {}
            Injection::Peers(fault) => {
                if fault.stays() && trouble.lasts.is_some() {
                    let message = "this happens at one moment, and what it did stays so";
                    self.refuse(&format!("{path}.for"), message, "remove `for`");
                }
                self.peer_fault(&format!("{inject}.peers"), trouble.at, fault);
            }
            Injection::CutNotifications(cut) => {
                if let Some(list) = &cut.main_servers {
                    self.main_servers(&format!("{inject}.cut_notifications.main_servers"), list);
                }
            }
            Injection::Embedding(trouble) => {
                let at = format!("{inject}.embedding");
                if !self.embeds {
                    self.provider(&at, "there is no embedding provider");
                }
                if trouble.retry_after.is_some() && trouble.answer != EmbeddingAnswer::RateLimited {
                    let help = "leave it out, or write `answer: rate_limited`";
                    self.refuse(
                        &format!("{at}.retry_after"),
                        "only a refusal of load says when to retry",
                        help,
                    );
                }
            }
            Injection::RotateKeys(rotation) => {
                let at = format!("{inject}.rotate_keys");
                if let Some(hosts) = &rotation.left_behind {
                    self.hosts(&format!("{at}.left_behind"), hosts);
                }
                let lasts = trouble.lasts.unwrap_or(self.duration);
                if rotation.prepare > Length::ZERO && rotation.prepare >= lasts {
                    let message =
                        format!("the new key would seal after {}, when all is over", rotation.prepare);
                    self.refuse(&format!("{at}.prepare"), message, format!("write less than {lasts}"));
                }
            }
            Injection::ShutDown(down) => {
                self.hosts(&format!("{inject}.shut_down.hosts"), &down.hosts);
                self.length(&format!("{inject}.shut_down.drain"), down.drain, Length::ZERO..=HOUR);
            }
            Injection::Connection(c) => {
                let at = format!("{inject}.connection");
                let shape = c.latency.is_some() || c.corrupt.is_some() || c.stall || c.refuse;
                let bounds = c.bytes_per_second.is_some() || c.slice_bytes.is_some();
                self.changes(&at, shape || bounds || c.open.is_some(), "open: reset");
                if let Some(latency) = &c.latency {
                    self.distribution(&format!("{at}.latency"), latency);
                }
                if c.bytes_per_second == Some(0) {
                    let help = "write at least 1, or `stall: true` to let nothing through";
                    self.refuse(&format!("{at}.bytes_per_second"), "no byte would ever get through", help);
                }
                if c.slice_bytes == Some(0) {
                    self.refuse(&format!("{at}.slice_bytes"), "a slice of no bytes", "write at least 1");
                }
            }
            Injection::ClockStep(step) => {
                self.hosts(&format!("{inject}.clock_step.hosts"), &step.hosts);
                let by = format!("{inject}.clock_step.by");
                if step.by.as_us() == 0 {
                    self.refuse(
                        &by,
                        "a step of 0s changes nothing",
                        "write a length such as `-2s` or `+500ms`",
                    );
                } else if step.by.as_us().unsigned_abs() > DAY.as_us() {
                    self.refuse(&by, format!("a step of {} is too far", step.by), "step by at most 24h");
                }
            }
        }
    }

    /// One rotation of keys at a time, and no more than a ring holds keys for.
    pub(super) fn rotations(&mut self, faults: &[Trouble]) {
        let rotates = |(_, fault): &(usize, &Trouble)| matches!(fault.inject, Injection::RotateKeys(_));
        let mut rotations: Vec<_> = faults.iter().enumerate().filter(rotates).collect();
        rotations.sort_by_key(|(_, fault)| fault.at);
        for pair in rotations.windows(2) {
            let [(_, earlier), (index, later)] = pair else { continue };
            let over = earlier
                .lasts
                .is_none_or(|lasts| earlier.at.as_us().saturating_add(lasts.as_us()) >= later.at.as_us());
            if over {
                let help = "let it begin after the one before is over: give that a `for`";
                self.refuse(&format!("faults[{index}].at"), "keys are being replaced already", help);
            }
        }
        if let Some((index, _)) = rotations.get(limits::KEYS_ACCEPTED_MAX) {
            let help = format!("at most {} are possible", limits::KEYS_ACCEPTED_MAX);
            self.refuse(&format!("faults[{index}].inject"), "too many rotations of keys", help);
        }
    }

    pub(super) fn changes(&mut self, path: &str, changes: bool, example: &str) {
        if !changes {
            let help = format!("say what is different meanwhile, as in `{example}`");
            self.refuse(path, "this fault changes nothing", help);
        }
    }

    fn main_servers(&mut self, path: &str, list: &[u32]) {
        if list.is_empty() {
            let help = "name at least one main server, as in `{main_servers: [0]}`";
            self.refuse(path, "an empty list of main servers", help);
        }
        for (index, server) in list.iter().enumerate() {
            self.main_server(&format!("{path}[{index}]"), *server);
            if list[..index].contains(server) {
                let message = format!("main server {server} is named twice");
                self.refuse(&format!("{path}[{index}]"), message, "remove one of the two");
            }
        }
    }

    fn main_server(&mut self, path: &str, server: u32) {
        if server >= self.servers {
            let help = match self.servers {
                0 | 1 => "the topology has one, number 0: see `topology.main_servers`".to_owned(),
                count => format!("main servers count from 0: write 0 to {}", count - 1),
            };
            self.refuse(path, format!("there is no main server {server}"), help);
        }
    }
}
