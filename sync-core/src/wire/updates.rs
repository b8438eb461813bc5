//! What `subscribe` carries: critical updates of maps since a position, as a long poll.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ErrorCode, Malformed, Rejection, read};
use crate::cache::Publication;
use crate::data_type::{SyncDataType, TypeSet};
use crate::id::{AccountId, MapName};
use crate::limits;
use crate::store::StateKey;
use crate::time::Span;

/// How far a subscriber has come at one engine of a main server; means nothing to any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the engine that numbers the updates.
    pub epoch: u64,
    /// The number of the next update.
    pub next: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.next)
    }
}

impl FromStr for Position {
    type Err = Malformed;

    /// The one form in which it is written.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (epoch, next) = text.split_once('-').ok_or(Malformed)?;
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| Malformed)?;
        let position = Self { epoch, next: next.parse().map_err(|_| Malformed)? };
        if position.to_string() == text { Ok(position) } else { Err(Malformed) }
    }
}

/// `data` of a `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeData<'a> {
    /// Maps by name, 1 to [`limits::SUBSCRIBED_MAPS_MAX`].
    pub maps: Vec<MapName>,
    /// Types by their integers; none means all.
    pub types: Vec<u64>,
    /// From the last reply; none to begin with.
    #[serde(borrow)]
    pub position: Option<Cow<'a, str>>,
    /// How long to wait for an update, in milliseconds, at most [`limits::SUBSCRIBE_WAIT_MAX`].
    pub wait_ms: u64,
}

/// Payload of a reply to a `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdatesPayload<'a> {
    /// To be asked from next.
    pub position: String,
    /// Whether updates before these may have been missed: what counts is to be read by `sync_from`.
    pub gap: bool,
    /// In the order in which the main server learnt of them. One may come twice, and versions of one state
    /// in any order.
    #[serde(borrow)]
    pub updates: Vec<Update<'a>>,
}

/// One critical update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update<'a> {
    /// What it concerns, by its integer.
    #[serde(rename = "type")]
    pub data_type: u64,
    /// Whose it is; 0 for a state of the map.
    pub owner: u32,
    /// The map.
    #[serde(borrow)]
    pub map_name: Cow<'a, str>,
    /// The state's version; of an event, its sequence.
    pub version: u64,
    /// JSON text.
    #[serde(borrow)]
    pub data: Cow<'a, str>,
    /// The operation that wrote it.
    #[serde(borrow)]
    pub operation_id: Cow<'a, str>,
}

impl<'a> From<&'a Publication> for Update<'a> {
    fn from(publication: &'a Publication) -> Self {
        Self {
            data_type: u64::from(publication.key.data_type.wire()),
            owner: publication.key.owner.0,
            map_name: publication.key.map.as_str().into(),
            version: publication.version,
            data: (&*publication.data).into(),
            operation_id: publication.operation.to_string().into(),
        }
    }
}

impl Update<'_> {
    /// What was published.
    ///
    /// # Errors
    /// When a field is none that a main server writes.
    pub fn publication(&self) -> Result<Publication, Malformed> {
        Ok(Publication {
            key: StateKey {
                data_type: SyncDataType::from_wire(self.data_type).ok_or(Malformed)?,
                owner: AccountId(self.owner),
                map: MapName::new(&self.map_name).map_err(|_| Malformed)?,
            },
            version: self.version,
            data: Arc::from(&*self.data),
            operation: self.operation_id.parse().map_err(|_| Malformed)?,
        })
    }
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscribe {
    pub(crate) maps: Vec<MapName>,
    pub(crate) types: TypeSet,
    pub(crate) position: Option<Position>,
    pub(crate) wait: Span,
}

impl Subscribe {
    pub(crate) fn parse(data: &str) -> Result<Self, Rejection> {
        let malformed = |message: &str| Rejection { code: ErrorCode::MalformedData, message: message.into() };
        let asked: SubscribeData<'_> =
            read(data.as_bytes()).map_err(|_| malformed("data is not what this kind takes"))?;
        let max = limits::SUBSCRIBED_MAPS_MAX;
        if asked.maps.is_empty() || asked.maps.len() > max {
            let message = format!("{} maps, 1 to {max} are taken", asked.maps.len());
            return Err(Rejection { code: ErrorCode::TooLarge, message: message.into() });
        }
        let mut maps = asked.maps;
        maps.sort_unstable();
        maps.dedup();
        let all = asked.types.is_empty().then(|| SyncDataType::ALL.into_iter().collect());
        let named =
            || asked.types.iter().map(|number| SyncDataType::from_wire(*number)).collect::<Option<_>>();
        let types = all.or_else(named).ok_or_else(|| malformed("a type has no such number"))?;
        let position = asked.position.map(|text| text.parse());
        let position = position.transpose().map_err(|_| malformed("the position is none"))?;
        let wait = Span::from_ms(asked.wait_ms).min(limits::SUBSCRIBE_WAIT_MAX);
        Ok(Self { maps, types, position, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, OperationId};

    #[test]
    fn a_position_has_one_text_form() {
        let position = Position { epoch: 0xab, next: 12 };
        assert_eq!(position.to_string(), "00000000000000ab-12");
        assert_eq!("00000000000000ab-12".parse(), Ok(position));
        for wrong in ["", "ab-12", "00000000000000AB-12", "00000000000000ab-012", "00000000000000ab--1"] {
            assert_eq!(wrong.parse::<Position>(), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn an_update_says_what_was_published() {
        let publication = Publication {
            key: StateKey::new(SyncDataType::PlayerPosition, AccountId(7), MapName::new("m").unwrap()),
            version: 3,
            data: "{\"x\":1}".into(),
            operation: OperationId { account: AccountId(7), incarnation: Incarnation(9), counter: 3 },
        };
        let json = serde_json::to_string(&Update::from(&publication)).unwrap();
        assert_eq!(
            json,
            r#"{"type":2,"owner":7,"map_name":"m","version":3,"data":"{\"x\":1}","operation_id":"7-0000000000000009-3"}"#
        );
        let update: Update<'_> = serde_json::from_str(&json).unwrap();
        assert_eq!(update.publication(), Ok(publication));
    }

    #[test]
    fn what_is_asked_is_bounded() {
        let parse = |data: &str| Subscribe::parse(data).map_err(|rejection| rejection.code);
        let good = parse(r#"{"maps":["b","a","b"],"types":[],"position":null,"wait_ms":99999999}"#).unwrap();
        assert_eq!(good.maps.iter().map(MapName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(good.types.iter().count(), SyncDataType::ALL.len());
        assert_eq!((good.position, good.wait), (None, limits::SUBSCRIBE_WAIT_MAX));
        let some =
            parse(r#"{"maps":["a"],"types":[2,0],"position":"00000000000000ab-12","wait_ms":5}"#).unwrap();
        assert_eq!(
            some.types.iter().collect::<Vec<_>>(),
            [SyncDataType::MapState, SyncDataType::PlayerPosition]
        );
        let none = r#"{"maps":[],"types":[],"position":null,"wait_ms":5}"#;
        assert_eq!(parse(none), Err(ErrorCode::TooLarge));
        for data in [
            "{}",
            r#"{"maps":["a"],"types":[12],"position":null,"wait_ms":5}"#,
            r#"{"maps":["a b"],"types":[],"position":null,"wait_ms":5}"#,
            r#"{"maps":["a"],"types":[],"position":"x","wait_ms":5}"#,
            r#"{"maps":["a"],"types":[],"position":null,"wait_ms":-5}"#,
        ] {
            assert_eq!(parse(data), Err(ErrorCode::MalformedData), "{data}");
        }
    }
}
