//! Variables to configuration, with every finding.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::variables::{self as v, VariableSpec};
use super::{ENVIRONMENT, PeerConfig, Variables};
use crate::diagnostic::{Diagnostic, Severity, nearest};
use crate::limits;
use crate::peer_sync::announcement::PeerAddress;
use crate::secret::Secret;
use crate::time::Span;

pub(super) fn resolve(variables: &Variables) -> (PeerConfig, Vec<Diagnostic>) {
    let mut reader = Reader { variables, findings: Vec::new() };
    let config = PeerConfig {
        bind_address: reader.parsed(&v::BIND_ADDRESS, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        api_port: reader.port(&v::API_PORT),
        p2p_port: reader.port(&v::P2P_PORT),
        discovery_port: reader.port(&v::DISCOVERY_PORT),
        node_name: reader.optional(&v::NODE_NAME),
        database_url: reader.value(&v::DATABASE_URL).map(|url| Secret::new(url.to_owned())),
        sync_enabled: reader.switch(&v::ENABLE_P2P_SYNC),
        auto_discovery: reader.switch(&v::ENABLE_AUTO_DISCOVERY),
        sync_interval: Span::from_secs(reader.number(&v::SYNC_INTERVAL)),
        static_peers: reader.list(&v::STATIC_PEERS, limits::PEERS_MAX, address),
        discovery_peer_ports: reader.list(&v::DISCOVERY_PEER_PORTS, limits::DISCOVERY_TARGETS_MAX, |port| {
            port.parse().ok().filter(|port| *port > 0)
        }),
        discovery_addresses: reader
            .list(&v::DISCOVERY_ADDRESSES, limits::DISCOVERY_TARGETS_MAX, |address| address.parse().ok()),
        peers_max: usize::try_from(reader.number(&v::MAX_PEERS)).unwrap_or(limits::PEERS_MAX),
        shared_key: reader.optional(&v::P2P_SHARED_KEY),
        sync_tables: reader.list(&v::SYNC_TABLES, limits::TABLES_MAX, |table| Some(table.to_owned())),
        schema_file: reader.value(&v::SYNC_SCHEMA_FILE).map(PathBuf::from),
    };
    if config.api_port != 0 && config.api_port == config.p2p_port {
        let message = format!("P2P_PORT: {} is the API_PORT, too", config.p2p_port);
        reader.find(&v::P2P_PORT, Severity::Error, message, "give each a port of its own");
    }
    if config.auto_discovery
        && (config.discovery_peer_ports.is_empty() || config.discovery_addresses.is_empty())
    {
        let message = "DISCOVERY_PEER_PORTS: announcements would go nowhere".to_owned();
        let help = "name at least one port and one address, or set `ENABLE_AUTO_DISCOVERY=false`";
        reader.find(&v::DISCOVERY_PEER_PORTS, Severity::Error, message, help);
    }
    reader.unknown();
    (config, reader.findings)
}

/// `host`, `host:port`, `[v6]:port`.
fn address(text: &str) -> Option<PeerAddress> {
    const API_PORT: u16 = 8_000;
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, API_PORT),
        Some((host, port)) => (host, port.strip_prefix(':')?.parse().ok()?),
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, API_PORT),
        },
    };
    PeerAddress::new(host, port).ok().filter(|address| address.port > 0)
}

struct Reader<'a> {
    variables: &'a Variables,
    findings: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    /// What is given, unless it is empty.
    fn value(&self, spec: &VariableSpec) -> Option<&'a str> {
        let given = self.variables.0.get(spec.name)?.value.trim();
        (!given.is_empty()).then_some(given)
    }

    fn number(&mut self, spec: &'static VariableSpec) -> u64 {
        let (min, max) = spec.form.bounds();
        let default = spec.default.parse().unwrap_or(min);
        let Some(given) = self.value(spec) else { return default };
        let plain = given.bytes().all(|b| b.is_ascii_digit());
        match given.parse().ok().filter(|number| plain && (min..=max).contains(number)) {
            Some(number) => number,
            None => {
                self.refuse(spec, given);
                default
            }
        }
    }

    fn port(&mut self, spec: &'static VariableSpec) -> u16 {
        u16::try_from(self.number(spec)).unwrap_or_default()
    }

    fn switch(&mut self, spec: &'static VariableSpec) -> bool {
        let given = self.value(spec).unwrap_or(spec.default);
        match given.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.refuse(spec, given);
                spec.default == "true"
            }
        }
    }

    fn optional<T: std::str::FromStr>(&mut self, spec: &'static VariableSpec) -> Option<T> {
        let given = self.value(spec)?;
        let parsed = given.parse().ok();
        if parsed.is_none() {
            self.refuse(spec, given);
        }
        parsed
    }

    fn parsed<T: std::str::FromStr>(&mut self, spec: &'static VariableSpec, default: T) -> T {
        self.optional(spec).unwrap_or(default)
    }

    /// Without what is there twice.
    fn list<T: PartialEq>(
        &mut self,
        spec: &'static VariableSpec,
        items_max: usize,
        item: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let given = self.value(spec).unwrap_or(spec.default);
        let mut items = Vec::new();
        for text in given.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            match item(text) {
                Some(item) if items.contains(&item) => {}
                Some(item) => items.push(item),
                None => self.refuse(spec, text),
            }
        }
        if items.len() > items_max {
            let message = format!("{}: more than {items_max} of them", spec.name);
            self.find(spec, Severity::Error, message, "name fewer");
            items.truncate(items_max);
        }
        items
    }

    fn refuse(&mut self, spec: &'static VariableSpec, given: &str) {
        let shown: String = given.chars().take(VALUE_CHARS_SHOWN).collect();
        let message = match spec.secret {
            true => format!("{}: the value has another form (not shown)", spec.name),
            false => format!("{}: {shown:?} is not taken", spec.name),
        };
        self.find(spec, Severity::Error, message, format!("give {}", spec.form));
    }

    fn find(
        &mut self,
        spec: &VariableSpec,
        severity: Severity,
        message: impl Into<String>,
        help: impl Display,
    ) {
        let place = self.variables.0.get(spec.name).map_or(ENVIRONMENT, |given| &given.place);
        let found = Diagnostic::file_error(place, message, help.to_string());
        self.findings.push(Diagnostic { severity, ..found });
    }

    /// Names that look as if one of ours was meant. Only warned of: an environment holds much that is others'.
    fn unknown(&mut self) {
        for (name, given) in &self.variables.0 {
            let upper = name.to_ascii_uppercase();
            if v::find(name).is_some() || name.starts_with("P2P_TEST_") {
                continue;
            }
            let near = nearest(&upper, v::ALL.into_iter().map(|spec| spec.name));
            let meant = name.starts_with("P2P_") || near.is_some_and(|near| near == upper || near.len() > 8);
            if !meant || self.findings.len() >= limits::CONFIG_DIAGNOSTICS_MAX {
                continue;
            }
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "docs/peer-node.md has all variables".to_owned(),
            };
            let shown: String = name.chars().take(VALUE_CHARS_SHOWN).collect();
            let message = format!("{shown:?} is no variable of a peer and has no effect");
            let found = Diagnostic::file_error(&given.place, message, help);
            self.findings.push(Diagnostic { severity: Severity::Warning, ..found });
        }
    }
}

/// Of a value or a name that is shown.
const VALUE_CHARS_SHOWN: usize = 80;
