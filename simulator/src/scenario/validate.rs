//! The rules of a scenario that its types cannot say.
//!
//! Each finding is made with a path such as `workload[0].until`; the tree knows where that stands.

mod expect;
mod faults;
mod network;
mod peer_faults;
pub(crate) mod peers;
mod workload;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use sync_core::limits;

use super::model::{HostSet, Links, Scenario};
use super::tree::{Fault, Node};
use super::units::Length;
use crate::own_resolvers::OwnResolvers;

/// The properties that a scenario may demand.
pub fn known_properties() -> &'static [&'static str] {
    PROPERTIES
}

/// Everything that breaks a rule, in the order of the file.
pub(super) fn validate(scenario: &Scenario, root: &Node, own: &OwnResolvers) -> Vec<Fault> {
    let mut rules = Rules {
        root,
        own,
        duration: scenario.duration,
        hosts: scenario.peers.as_ref().map_or(scenario.topology.hosts, |peers| peers.count),
        among_peers: scenario.peers.is_some(),
        links: scenario.peers.as_ref().map(|peers| &peers.links),
        maps: scenario.topology.maps,
        servers: scenario.topology.main_servers,
        proxied: scenario.topology.sync_proxy.is_some(),
        embeds: scenario.embedding.is_some(),
        rules: scenario.main_server.rules,
        found: Vec::new(),
    };
    rules.scenario(scenario);
    rules.found.sort_by_key(|fault| fault.place.map(|place| (place.source, place.line, place.column)));
    rules.found
}

struct Rules<'a> {
    root: &'a Node,
    /// The resolvers that there are.
    own: &'a OwnResolvers,
    duration: Length,
    /// Hosts, or peers.
    hosts: u32,
    /// Whether those are peers.
    among_peers: bool,
    /// Who has a link with whom among them.
    links: Option<&'a Links>,
    maps: u32,
    servers: u32,
    proxied: bool,
    /// Whether there is an embedding provider.
    embeds: bool,
    /// Whether the main server has rules.
    rules: bool,
    found: Vec<Fault>,
}

impl Rules<'_> {
    fn refuse(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Fault::at(self.root.locate(path), message, help));
    }

    fn range(&mut self, path: &str, value: u32, range: RangeInclusive<u32>) {
        if !range.contains(&value) {
            let help = format!("write a number from {} to {}", range.start(), range.end());
            self.refuse(path, format!("`{}` cannot be {value}", last_name(path)), help);
        }
    }

    fn length(&mut self, path: &str, value: Length, range: RangeInclusive<Length>) {
        if !range.contains(&value) {
            let help = format!("write a length of time from {} to {}", range.start(), range.end());
            self.refuse(path, format!("`{}` cannot be {value}", last_name(path)), help);
        }
    }

    fn name(&mut self, path: &str, name: &str) {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(legal) {
            let help = format!(
                "write lower-case letters, digits and `-`, at most {NAME_BYTES_MAX} of them, as in `{}`",
                sound_name(name)
            );
            self.refuse(path, "this is not a short name", help);
        }
    }

    fn scenario(&mut self, s: &Scenario) {
        self.name("name", &s.name);
        if s.about.trim().is_empty() {
            self.refuse("about", "`about` says nothing", "write a sentence on what this scenario shows");
        }
        if s.only.as_ref().is_some_and(|only| only.because.trim().is_empty()) {
            let help = "say in a sentence what the other rig cannot do";
            self.refuse("only.because", "`because` says nothing", help);
        }
        self.length("duration", s.duration, SHORTEST..=DAY);
        if s.duration == Length::ZERO {
            // Said once: that every moment lies behind this duration would say nothing new.
            self.duration = DAY;
        }
        self.length("settle", s.settle, Length::ZERO..=DAY);
        self.kind(s);
        if let Some(peers) = &s.peers {
            self.peers(s, peers);
        } else {
            self.hosts_there(s);
        }
        if self.hosts == 0 {
            self.hosts = HOSTS_MAX;
        }
        self.range("topology.maps", s.topology.maps, 1..=MAPS_MAX);
        if s.topology.maps == 0 {
            self.maps = MAPS_MAX;
        }
        if let Some(proxy) = &s.topology.sync_proxy {
            self.distribution("topology.sync_proxy.latency", &proxy.latency);
        }
        if let Some(subscribers) = &s.topology.subscribers {
            self.hosts("topology.subscribers", subscribers);
        }
        self.range("topology.main_servers", s.topology.main_servers, 1..=MAIN_SERVERS_MAX);
        self.length("hosts.critical_timeout", s.hosts.critical_timeout, TIMEOUT_MIN..=TIMEOUT_MAX);
        self.range("hosts.max_queue_size", s.hosts.max_queue_size, 1..=1_000_000);
        self.range("hosts.worker_threads", s.hosts.worker_threads, 1..=256);
        self.range("hosts.critical_slots", s.hosts.critical_slots, 0..=256);
        self.range("hosts.host_batch_max", s.hosts.host_batch_max, 1..=256);
        self.length("main_server.freshness_window", s.main_server.freshness_window, WINDOW_MIN..=WINDOW_MAX);
        self.length("main_server.cache_expiry", s.main_server.cache_expiry, Length::ZERO..=EXPIRY_MAX);
        self.range("main_server.batch_max", s.main_server.batch_max, 1..=256);
        self.range("main_server.batches_in_flight_max", s.main_server.batches_in_flight_max, 1..=64);
        self.link("network.to_server", &s.network.to_server);
        self.link("network.to_host", &s.network.to_host);
        self.service("database", &s.database);
        self.service("cache", &s.cache);
        if let Some(provider) = &s.embedding {
            self.service("embedding", provider);
        }
        self.length("clocks.skew", s.clocks.skew, Length::ZERO..=HOUR);
        self.range("clocks.drift_ppm", s.clocks.drift_ppm, 0..=100_000);
        self.length("main_server.health_check", s.main_server.health_check, Length::ZERO..=HOUR);
        let mut names = BTreeSet::new();
        for (index, workload) in s.workload.iter().enumerate() {
            let path = format!("workload[{index}]");
            self.workload(&path, workload);
            if !names.insert(workload.name.as_str()) {
                let message = format!("a workload is named `{}` already", workload.name);
                self.refuse(&format!("{path}.name"), message, "give each workload a name of its own");
            }
        }
        for (index, trace) in s.traces.iter().enumerate() {
            let path = format!("traces[{index}].name");
            self.name(&path, &trace.name);
            if !names.insert(trace.name.as_str()) {
                let message = format!("a workload or trace is named `{}` already", trace.name);
                self.refuse(&path, message, "give each a name of its own");
            }
        }
        for (index, trouble) in s.faults.iter().enumerate() {
            self.trouble(&format!("faults[{index}]"), trouble);
        }
        self.rotations(&s.faults);
        self.expect(s);
    }

    /// The first is at most the second.
    fn order(&mut self, path: &str, (low, low_value): (&str, Length), (high, high_value): (&str, Length)) {
        if low_value > high_value {
            let (low_name, high_name) = (last_name(low), last_name(high));
            let message =
                format!("`{high_name}` is {high_value}, less than `{low_name}`, which is {low_value}");
            self.refuse(&format!("{path}.{high}"), message, format!("write at least {low_value}"));
        }
    }

    fn hosts(&mut self, path: &str, hosts: &HostSet) {
        let who = if self.among_peers { "peer" } else { "host" };
        match hosts {
            HostSet::All => {}
            HostSet::First(count) => {
                if *count == 0 || *count > self.hosts {
                    let help = format!("the topology has {} of them: write 1 to {0}", self.hosts);
                    self.refuse(&format!("{path}.first"), format!("there are no first {count} {who}s"), help);
                }
            }
            HostSet::Only(list) => {
                if list.is_empty() {
                    let help = format!("name at least one {who}, as in `{{only: [0]}}`");
                    self.refuse(&format!("{path}.only"), format!("an empty list of {who}s"), help);
                }
                let mut seen = BTreeSet::new();
                for (index, host) in list.iter().enumerate() {
                    let at = format!("{path}.only[{index}]");
                    if *host >= self.hosts {
                        let help = match self.hosts {
                            0 | 1 => "the topology has one host, number 0".to_owned(),
                            count => format!("{who}s count from 0: write 0 to {}", count - 1),
                        };
                        self.refuse(&at, format!("there is no {who} {host}"), help);
                        return;
                    }
                    if !seen.insert(host) {
                        self.refuse(&at, format!("{who} {host} is named twice"), "remove one of the two");
                        return;
                    }
                }
            }
        }
    }

    fn provider(&mut self, path: &str, message: &str) {
        let help = "add a provider: `embedding: {latency: {constant: 50ms}}`";
        self.refuse(path, message, help);
    }

    fn moment(&mut self, path: &str, moment: Length) {
        if moment > self.duration {
            let message = format!("{moment} lies after the end of the scenario");
            self.refuse(path, message, format!("write at most {}, the scenario's `duration`", self.duration));
        }
    }
}

fn last_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn listed(names: &[impl Display]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A legal name as near as possible to the given one.
fn sound_name(name: &str) -> String {
    let mut sound = String::new();
    for c in name.chars().take(NAME_BYTES_MAX).map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => sound.push(c),
            _ if !sound.is_empty() && !sound.ends_with('-') => sound.push('-'),
            _ => {}
        }
    }
    let sound = sound.trim_end_matches('-');
    if sound.is_empty() { "short-name".to_owned() } else { sound.to_owned() }
}

const TIMEOUT_MIN: Length = Length::from_ms(limits::CRITICAL_TIMEOUT_MS_MIN);
const TIMEOUT_MAX: Length = Length::from_ms(limits::CRITICAL_TIMEOUT_MS_MAX);
const WINDOW_MIN: Length = Length::from_ms(limits::FRESHNESS_WINDOW_MS_MIN);
const WINDOW_MAX: Length = Length::from_ms(limits::FRESHNESS_WINDOW_MS_MAX);
const EXPIRY_MAX: Length = Length::from_ms(limits::CACHE_EXPIRY_SECONDS_MAX * 1_000);
const SHORTEST: Length = Length::from_us(1);
const HOUR: Length = Length::from_ms(3_600_000);
const DAY: Length = Length::from_ms(86_400_000);
const HOSTS_MAX: u32 = 100_000;
const MAPS_MAX: u32 = 100_000;
/// Main servers of one scenario.
pub(crate) const MAIN_SERVERS_MAX: u32 = 4;
const NAME_BYTES_MAX: usize = 64;
/// Bytes of an operation's value: room for its name, and within what a server takes.
pub(crate) const MIX_BYTES: RangeInclusive<u32> = 32..=1_000_000;
/// Must equal the registry of the checks.
const PROPERTIES: &[&str] = &[
    "P5", "P6", "P6e", "P11", "P14", "P16", "P19", "P20", "P21", "P22", "P23", "P23u", "P24", "P25", "P26",
    "P27", "P28", "P29", "P30", "P31",
];
