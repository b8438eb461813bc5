//! Peers as people and other implementations name them: a notice of changes, and a peer to be added.

use serde::Deserialize;

use super::Fault;
use crate::peer_sync::announcement::{PeerAddress, PeerInfo};
use crate::peer_sync::message::Notice;
use crate::peer_sync::position::Frontier;
use crate::peer_sync::row::TableName;
use crate::peer_sync::schema::Schema;
use crate::peer_sync::version::NodeId;
use crate::time::Timestamp;

/// `{source_peer, tables, timestamp, notification_type: "data_changed"}`.
#[derive(Deserialize)]
struct Body {
    source_peer: NodeId,
    tables: Vec<String>,
    notification_type: Option<String>,
}

/// Reads a notice of changes. Which writes it means it does not say, so that a round is wanted whatever is here.
///
/// # Errors
/// What is wrong with it.
pub fn read_notice(schema: &Schema, now: Timestamp, bytes: &[u8]) -> Result<Notice, Fault> {
    let body: Body = serde_json::from_slice(bytes).map_err(|error| Fault::of_json(&error))?;
    if body.notification_type.is_some_and(|kind| kind != "data_changed") {
        return Err(Fault::new("`notification_type` is always \"data_changed\""));
    }
    if body.tables.is_empty() {
        return Err(Fault::new("`tables` names no table"));
    }
    let known: Vec<TableName> =
        body.tables.iter().filter_map(|name| schema.find(name)).map(|table| table.name.clone()).collect();
    if known.len() != body.tables.len() {
        return Err(Fault::new("`tables` names a table that does not travel"));
    }
    Ok(Notice { source: body.source_peer, tables: known, frontier: Frontier::default(), timestamp: now })
}

/// A peer to be added. What it says of itself beside its address is not believed: it is asked.
#[derive(Deserialize)]
struct Given {
    peer_id: NodeId,
    host: String,
    port: u16,
    #[serde(default)]
    last_seen: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    status: String,
}

/// Reads a peer to be added: its address, and what was said of it.
///
/// # Errors
/// What is wrong with it.
pub fn read_peer(bytes: &[u8]) -> Result<(PeerAddress, PeerInfo), Fault> {
    let Given { peer_id, host, port, last_seen, api_version, status } =
        serde_json::from_slice(bytes).map_err(|error| Fault::of_json(&error))?;
    let address = PeerAddress::new(&host, port).map_err(|error| Fault::new(format!("`host`: {error}")))?;
    if port == 0 {
        return Err(Fault::new("`port` is the peer's API_PORT, 1 to 65535"));
    }
    Ok((address, PeerInfo { peer_id, host, port, last_seen, api_version, status }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer_sync::schema::Table;

    fn schema() -> Schema {
        Schema::new([Table::new("users", &["id"], &["id"]).unwrap()]).unwrap()
    }

    #[test]
    fn a_notice_names_tables_that_travel() {
        let text =
            br#"{"source_peer":"n2","tables":["users"],"timestamp":"x","notification_type":"data_changed"}"#;
        let notice = read_notice(&schema(), Timestamp::from_ms(1), text).unwrap();
        assert_eq!((notice.source.as_str(), notice.tables[0].as_str()), ("n2", "users"));
        for wrong in [
            "{}",
            r#"{"source_peer":"n2","tables":[]}"#,
            r#"{"source_peer":"n2","tables":["x; drop"]}"#,
            r#"{"source_peer":"a b","tables":["users"]}"#,
            r#"{"source_peer":"n2","tables":["users"],"notification_type":"other"}"#,
        ] {
            assert!(read_notice(&schema(), Timestamp::from_ms(1), wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_peer_is_added_as_the_specification_writes_it() {
        let text = br#"{"peer_id": "node2-uuid", "host": "192.168.1.100", "port": 8010,
            "last_seen": "2025-01-01T12:00:00", "api_version": "1.0.1", "status": "active"}"#;
        let (address, info) = read_peer(text).unwrap();
        assert_eq!(
            (address.to_string().as_str(), info.peer_id.as_str()),
            ("192.168.1.100:8010", "node2-uuid")
        );
        for wrong in [
            r#"{"peer_id":"x","host":"a/b","port":1}"#,
            r#"{"peer_id":"x","host":"a","port":0}"#,
            r#"{"peer_id":"x","host":"a","port":70000}"#,
            r#"{"host":"a","port":1}"#,
        ] {
            assert!(read_peer(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(bytes: Vec<u8>) {
            let _ = (read_notice(&schema(), Timestamp::from_ms(1), &bytes), read_peer(&bytes));
        }
    }
}
