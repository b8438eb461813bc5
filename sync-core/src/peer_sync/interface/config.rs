//! The configuration as it is shown, and what of it may be changed while a node runs.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, shown};
use crate::limits;
use crate::peer_sync::replica::Status;
use crate::peer_sync::settings::ReplicaSettings;
use crate::time::Span;

/// Keys that `POST config` changes. All others need a restart with another environment.
pub const CHANGEABLE: [&str; 4] = ["sync_interval", "enable_p2p_sync", "enable_auto_discovery", "max_peers"];

/// Keys that are shown and need a restart, with the variables that they come from.
const FIXED: [(&str, &str); 6] = [
    ("node_id", "NODE_NAME"),
    ("api_port", "API_PORT"),
    ("listen_port", "P2P_PORT"),
    ("discovery_port", "DISCOVERY_PORT"),
    ("sync_tables", "SYNC_TABLES"),
    ("authenticated", "P2P_SHARED_KEY"),
];

/// What a running node is to do otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Patch {
    /// In seconds.
    sync_interval: Option<u64>,
    enable_p2p_sync: Option<bool>,
    enable_auto_discovery: Option<bool>,
    max_peers: Option<u64>,
}

/// The configuration of a node.
pub fn show(status: &Status, settings: &ReplicaSettings, discovery_port: u16, authenticated: bool) -> Value {
    json!({
        "node_id": status.node_id,
        "config": {
            "node_id": status.node_id,
            "api_port": settings.api_port,
            "listen_port": settings.listen_port,
            "discovery_port": discovery_port,
            "sync_interval": settings.sync_interval.as_ms() / 1_000,
            "sync_tables": status.sync_config.tables,
            "enable_p2p_sync": settings.sync_enabled,
            "enable_auto_discovery": settings.auto_discovery,
            "max_peers": settings.peers_max,
            "authenticated": authenticated,
        },
        "changeable": CHANGEABLE,
    })
}

impl Patch {
    /// Reads a change.
    ///
    /// # Errors
    /// What is wrong with it: a key that cannot be changed, or a value that is not taken. Nothing is changed then.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| Fault::of_json(&error))?;
        let Value::Object(fields) = &value else {
            return Err(Fault::new("the body is no object of keys and values"));
        };
        if let Some(name) = fields.keys().find(|name| !CHANGEABLE.contains(&name.as_str())) {
            let help = match FIXED.iter().find(|(fixed, _)| fixed == name) {
                Some((_, variable)) => format!("set {variable} and start the node again"),
                None => format!("keys that can be changed: {}", CHANGEABLE.join(", ")),
            };
            return Err(Fault::new(format!("{} cannot be changed here: {help}", shown(name))));
        }
        let patch: Self = serde_json::from_value(value).map_err(|error| Fault::of_json(&error))?;
        let within = |key: &str, given: Option<u64>, max: u64, unit: &str| match given {
            Some(given) if !(1..=max).contains(&given) => {
                Err(Fault::new(format!("`{key}` is {given}: give 1 to {max}{unit}")))
            }
            _ => Ok(()),
        };
        within("sync_interval", patch.sync_interval, limits::SYNC_INTERVAL_SECS_MAX, " seconds")?;
        within("max_peers", patch.max_peers, limits::PEERS_MAX as u64, "")?;
        Ok(patch)
    }

    /// The settings with what this changes.
    pub fn applied_to(&self, settings: &ReplicaSettings) -> ReplicaSettings {
        ReplicaSettings {
            sync_interval: self.sync_interval.map_or(settings.sync_interval, Span::from_secs),
            sync_enabled: self.enable_p2p_sync.unwrap_or(settings.sync_enabled),
            auto_discovery: self.enable_auto_discovery.unwrap_or(settings.auto_discovery),
            peers_max: self
                .max_peers
                .and_then(|peers| usize::try_from(peers).ok())
                .unwrap_or(settings.peers_max),
            ..settings.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_change_changes_and_nothing_else() {
        let before = ReplicaSettings::default();
        let patch = Patch::read(br#"{"sync_interval": 5, "enable_p2p_sync": false}"#).unwrap();
        let after = patch.applied_to(&before);
        assert_eq!((after.sync_interval, after.sync_enabled), (Span::from_secs(5), false));
        assert_eq!(
            ReplicaSettings { sync_interval: before.sync_interval, sync_enabled: true, ..after },
            before
        );
    }

    #[test]
    fn what_may_not_change_is_named_with_the_remedy() {
        let check = |text: &str, expected: &str| {
            let fault = Patch::read(text.as_bytes()).unwrap_err().0;
            assert!(fault.contains(expected), "{fault}");
        };
        check(r#"{"api_port": 1}"#, "API_PORT");
        check(r#"{"node_id": "x"}"#, "NODE_NAME");
        check(r#"{"sync_intervall": 1}"#, "keys that can be changed: sync_interval");
        check(r#"{"sync_interval": 0}"#, "1 to 86400 seconds");
        check(r#"{"sync_interval": -1}"#, "JSON");
        check(r#"{"max_peers": 1001}"#, "1 to 1000");
        check("[]", "object");
        check("", "JSON");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(bytes: Vec<u8>) {
            let _ = Patch::read(&bytes);
        }
    }
}
