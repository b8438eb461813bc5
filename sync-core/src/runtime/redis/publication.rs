//! The text form of a publication: one line of JSON about the state, then its data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::{Publication, Refresh};
use crate::data_type::SyncDataType;
use crate::id::{AccountId, MapName};
use crate::store::StateKey;

/// What is published instead of what was lost.
pub(super) const GAP: &str = "{\"gap\":true}";

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    #[serde(rename = "type")]
    data_type: u8,
    owner: u32,
    map_name: &'a str,
    version: u64,
    operation_id: String,
}

/// The first line.
pub(super) fn header(state: &Refresh) -> String {
    let header = Header {
        data_type: state.key.data_type.wire(),
        owner: state.key.owner.0,
        map_name: state.key.map.as_str(),
        version: state.version,
        operation_id: state.operation.to_string(),
    };
    // Plain numbers and texts: there is nothing in it that JSON could not say.
    serde_json::to_string(&header).unwrap_or_default()
}

/// Reads a whole message; `None` for anything else, the announcement of a gap included.
pub(super) fn parse(message: &str) -> Option<Publication> {
    let (header, data) = message.split_once('\n')?;
    let header: Header<'_> = serde_json::from_str(header).ok()?;
    Some(Publication {
        key: StateKey {
            data_type: SyncDataType::from_wire(u64::from(header.data_type))?,
            owner: AccountId(header.owner),
            map: MapName::new(header.map_name).ok()?,
        },
        version: header.version,
        data: Arc::from(data),
        operation: header.operation_id.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Keep;
    use crate::id::{Incarnation, OperationId};

    #[test]
    fn a_publication_reads_back() {
        let state = Refresh {
            key: StateKey::new(SyncDataType::PlayerData, AccountId(7), MapName::new("prt#1").unwrap()),
            version: u64::MAX,
            data: "{\"say\":\n\"two lines\"}".into(),
            operation: OperationId { account: AccountId(7), incarnation: Incarnation(9), counter: 3 },
            keep: Keep::Value,
            publish: true,
        };
        let message = format!("{}\n{}", header(&state), state.data);
        assert_eq!(parse(&message), Some(state.publication()));
        assert_eq!(parse(GAP), None);
        assert_eq!(parse("{}\nx"), None);
    }
}
