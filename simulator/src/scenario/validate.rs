//! The rules of a scenario that its types cannot say.
//!
//! Each finding is made with a path such as `workload[0].until`; the tree knows where that stands.

mod expect;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use sync_core::data_type::SyncDataType;
use sync_core::limits;

use super::model::{
    Arrivals, Crash, Distribution, EmbeddingAnswer, Fault as Trouble, HostSet, Hostile, Injection,
};
use super::model::{Link, MixEntry, MixKind, Scenario, Service, Tamper, Workload};
use super::tree::{Fault, Node};
use super::units::{Length, Rate};

/// The properties that a scenario may demand.
pub fn known_properties() -> &'static [&'static str] {
    PROPERTIES
}

/// Everything that breaks a rule, in the order of the file.
pub(super) fn validate(scenario: &Scenario, root: &Node) -> Vec<Fault> {
    let mut rules = Rules {
        root,
        duration: scenario.duration,
        hosts: scenario.topology.hosts,
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
    duration: Length,
    hosts: u32,
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
        self.length("duration", s.duration, SHORTEST..=DAY);
        if s.duration == Length::ZERO {
            // Said once: that every moment lies behind this duration would say nothing new.
            self.duration = DAY;
        }
        self.length("settle", s.settle, Length::ZERO..=DAY);
        self.range("topology.hosts", s.topology.hosts, 1..=HOSTS_MAX);
        if s.topology.hosts == 0 {
            self.hosts = HOSTS_MAX;
        }
        self.range("topology.maps", s.topology.maps, 1..=MAPS_MAX);
        if s.topology.maps == 0 {
            self.maps = MAPS_MAX;
        }
        if let Some(proxy) = &s.topology.sync_proxy {
            self.distribution("topology.sync_proxy.latency", &proxy.latency);
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

    /// One rotation of keys at a time, and no more than a ring holds keys for.
    fn rotations(&mut self, faults: &[Trouble]) {
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

    fn link(&mut self, path: &str, link: &Link) {
        self.distribution(&format!("{path}.latency"), &link.latency);
        self.length(&format!("{path}.reorder_delay"), link.reorder_delay, Length::ZERO..=HOUR);
        self.length(&format!("{path}.replay_after"), link.replay_after, Length::ZERO..=HOUR);
        self.tampering(&format!("{path}.tamper_with"), &link.tamper_with);
        let (stranger, name, whose) = match path.ends_with("to_server") {
            true => (Tamper::SwapReply, "swap_reply", "`network.to_host`: there are replies"),
            false => {
                (Tamper::ChangeOuter, "change_outer", "`network.to_server`: a reply has no outer fields")
            }
        };
        if let Some(index) = link.tamper_with.iter().position(|how| *how == stranger) {
            let message = format!("`{name}` cannot be done on this way");
            self.refuse(&format!("{path}.tamper_with[{index}]"), message, format!("write it under {whose}"));
        }
    }

    fn tampering(&mut self, path: &str, with: &[Tamper]) {
        if with.is_empty() {
            let help = "name at least one, as in `[flip_bit]`, or leave it out";
            self.refuse(path, "an empty list tampers with nothing", help);
        }
    }

    fn service(&mut self, path: &str, service: &Service) {
        self.distribution(&format!("{path}.latency"), &service.latency);
        self.length(&format!("{path}.answer"), service.answer, Length::ZERO..=HOUR);
    }

    fn distribution(&mut self, path: &str, distribution: &Distribution) {
        let delays = Length::ZERO..=HOUR;
        match distribution {
            Distribution::Constant(delay) => self.length(&format!("{path}.constant"), *delay, delays),
            Distribution::Uniform(u) => {
                self.length(&format!("{path}.uniform.max"), u.max, delays);
                self.order(path, ("uniform.min", u.min), ("uniform.max", u.max));
            }
            Distribution::Exponential(e) => {
                self.length(&format!("{path}.exponential.mean"), e.mean, SHORTEST..=HOUR);
            }
            Distribution::Lognormal(l) => {
                self.length(&format!("{path}.lognormal.median"), l.median, SHORTEST..=HOUR);
                self.length(&format!("{path}.lognormal.p99"), l.p99, delays);
                self.order(path, ("lognormal.median", l.median), ("lognormal.p99", l.p99));
            }
        }
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

    fn workload(&mut self, path: &str, workload: &Workload) {
        self.name(&format!("{path}.name"), &workload.name);
        self.hosts(&format!("{path}.hosts"), &workload.hosts);
        self.arrivals(&format!("{path}.arrivals"), workload);
        if workload.mix.is_empty() {
            let help = "add an entry: `mix: [{type: PLAYER_POSITION}]`";
            self.refuse(&format!("{path}.mix"), "an empty `mix` asks for nothing", help);
        }
        for (index, entry) in workload.mix.iter().enumerate() {
            self.mix_entry(&format!("{path}.mix[{index}]"), entry);
            if let Some(map) = entry.map.filter(|map| *map >= self.maps) {
                let help = format!("maps count from 0: write 0 to {}", self.maps - 1);
                self.refuse(&format!("{path}.mix[{index}].map"), format!("there is no map {map}"), help);
            }
        }
        self.moment(&format!("{path}.from"), workload.from);
        if let Some(until) = workload.until {
            let at = format!("{path}.until");
            if until <= workload.from {
                let message = format!("`until` is {until}, not after `from`, which is {}", workload.from);
                self.refuse(&at, message, "let it end later than it begins");
            } else {
                self.moment(&at, until);
            }
        }
    }

    fn arrivals(&mut self, path: &str, workload: &Workload) {
        match &workload.arrivals {
            Arrivals::Constant(rate) | Arrivals::Poisson(rate) => {
                self.total_rate(path, *rate, &workload.hosts);
            }
            Arrivals::Ramp(ramp) => self.total_rate(path, ramp.from.max(ramp.to), &workload.hosts),
            Arrivals::Burst(burst) => {
                self.range(&format!("{path}.burst.size"), burst.size, 1..=BURST_MAX);
                self.length(&format!("{path}.burst.every"), burst.every, BURST_EVERY_MIN..=DAY);
                self.order(&format!("{path}.burst"), ("within", burst.within), ("every", burst.every));
                let hertz = u64::from(burst.size) * 1_000_000_000_000 / burst.every.as_us().max(1);
                match Rate::from_micro_hz(hertz) {
                    Some(rate) => self.total_rate(path, rate, &workload.hosts),
                    None => self.refuse(
                        path,
                        "these groups come faster than operations can",
                        "make `every` longer or `size` smaller",
                    ),
                }
            }
        }
    }

    /// All hosts together stay within what a run can hold.
    fn total_rate(&mut self, path: &str, rate: Rate, hosts: &HostSet) {
        let concerned = match hosts {
            HostSet::All => self.hosts,
            HostSet::First(count) => *count,
            HostSet::Only(hosts) => u32::try_from(hosts.len()).unwrap_or(u32::MAX),
        };
        let total = u128::from(rate.micro_hz()) * u128::from(concerned) * u128::from(self.duration.as_us());
        let operations = total / 1_000_000_000_000;
        if operations > u128::from(OPERATIONS_MAX) {
            let message = format!("{concerned} hosts at {rate} make {operations} operations");
            let help = format!(
                "the rate is that of each host; a workload has at most {OPERATIONS_MAX} operations in all"
            );
            self.refuse(path, message, help);
        }
    }

    fn mix_entry(&mut self, path: &str, entry: &MixEntry) {
        self.range(&format!("{path}.weight"), entry.weight, 1..=1_000_000);
        self.range(&format!("{path}.bytes"), entry.bytes, MIX_BYTES);
        let embeds = matches!(entry.kind, MixKind::Embed | MixKind::Search);
        if embeds && entry.data_type.get() != SyncDataType::VectorEmbedding {
            let help = "write `type: VECTOR_EMBEDDING` beside `embed` and `search`";
            self.refuse(&format!("{path}.type"), "texts and searches are VECTOR_EMBEDDING", help);
        } else if !self.embeds && (embeds || entry.data_type.get() == SyncDataType::VectorEmbedding) {
            self.provider(&format!("{path}.type"), "nobody gives vectors");
        }
        let data_type = entry.data_type.get();
        if entry.kind == MixKind::Report && data_type != SyncDataType::HostMetrics {
            let message = format!("{data_type} is not what a host reports");
            self.refuse(&format!("{path}.type"), message, "write `{type: HOST_METRICS, kind: report}`");
        }
        if let Some(hostile) = entry.hostile {
            self.hostile(&format!("{path}.hostile"), hostile, entry);
        }
    }

    fn hostile(&mut self, path: &str, hostile: Hostile, entry: &MixEntry) {
        use SyncDataType::{ChatMessage, MonsterData, PlayerData, PlayerPosition};
        let types: &[SyncDataType] = match hostile {
            Hostile::Malformed | Hostile::TooDeep => &SyncDataType::ALL,
            Hostile::Oversized => &[ChatMessage, PlayerPosition],
            Hostile::OutOfBounds | Hostile::WrongAccount => &[PlayerPosition, PlayerData],
            Hostile::Teleport => &[PlayerPosition],
            Hostile::ImpossibleMonster => &[MonsterData],
        };
        if entry.kind != MixKind::SyncTo {
            self.refuse(path, "only what a host writes can be hostile", "leave `kind` out");
        } else if !types.contains(&entry.data_type.get()) {
            let message = format!("{} cannot be hostile in this way", entry.data_type.get());
            self.refuse(path, message, format!("it can with the type {}", listed(types)));
        } else if !self.rules && hostile != Hostile::Malformed {
            let help = "write `main_server: {rules: true}`";
            self.refuse(path, "without rules this is not refused", help);
        }
    }

    fn hosts(&mut self, path: &str, hosts: &HostSet) {
        match hosts {
            HostSet::All => {}
            HostSet::First(count) => {
                if *count == 0 || *count > self.hosts {
                    let help = format!("the topology has {} of them: write 1 to {0}", self.hosts);
                    self.refuse(&format!("{path}.first"), format!("there are no first {count} hosts"), help);
                }
            }
            HostSet::Only(list) => {
                if list.is_empty() {
                    let help = "name at least one host, as in `{only: [0]}`";
                    self.refuse(&format!("{path}.only"), "an empty list of hosts", help);
                }
                let mut seen = BTreeSet::new();
                for (index, host) in list.iter().enumerate() {
                    let at = format!("{path}.only[{index}]");
                    if *host >= self.hosts {
                        let help = match self.hosts {
                            0 | 1 => "the topology has one host, number 0".to_owned(),
                            count => format!("hosts count from 0: write 0 to {}", count - 1),
                        };
                        self.refuse(&at, format!("there is no host {host}"), help);
                        return;
                    }
                    if !seen.insert(host) {
                        self.refuse(&at, format!("host {host} is named twice"), "remove one of the two");
                        return;
                    }
                }
            }
        }
    }

    fn trouble(&mut self, path: &str, trouble: &Trouble) {
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
                let at = format!("{inject}.crash.main_servers");
                if list.is_empty() {
                    let help = "name at least one main server, as in `{main_servers: [0]}`";
                    self.refuse(&at, "an empty list of main servers", help);
                }
                for (index, server) in list.iter().enumerate() {
                    self.main_server(&format!("{at}[{index}]"), *server);
                    if list[..index].contains(server) {
                        let message = format!("main server {server} is named twice");
                        self.refuse(&format!("{at}[{index}]"), message, "remove one of the two");
                    }
                }
            }
            Injection::Crash(_) => {}
            Injection::Move(there) => {
                self.hosts(&format!("{inject}.move.hosts"), &there.hosts);
                self.main_server(&format!("{inject}.move.to"), there.to);
            }
            Injection::Freeze(_) => {}
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

    fn provider(&mut self, path: &str, message: &str) {
        let help = "add a provider: `embedding: {latency: {constant: 50ms}}`";
        self.refuse(path, message, help);
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

    fn changes(&mut self, path: &str, changes: bool, example: &str) {
        if !changes {
            let help = format!("say what is different meanwhile, as in `{example}`");
            self.refuse(path, "this fault changes nothing", help);
        }
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
const BURST_MAX: u32 = 100_000;
const BURST_EVERY_MIN: Length = Length::from_ms(1);
/// Bytes of an operation's value: room for its name, and within what a server takes.
pub(crate) const MIX_BYTES: RangeInclusive<u32> = 32..=1_000_000;
/// Of one workload: far more than a run of an hour can do.
const OPERATIONS_MAX: u64 = 100_000_000;
/// Must equal the registry of the checks.
const PROPERTIES: &[&str] = &[
    "P5", "P6", "P6e", "P11", "P14", "P16", "P19", "P20", "P21", "P22", "P23", "P24", "P25", "P26", "P27",
    "P28", "P29", "P30", "P31",
];
