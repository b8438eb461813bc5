//! What the server checks of an authentic request before anything follows from it.
//!
//! Freshness, size, form and type always; the [`Rules`] when the server has some. What a rule has to know of
//! earlier operations is left to the store, as a condition on this one.

pub(crate) mod data;
pub mod rules;

use serde::de::IgnoredAny;

pub use rules::Rules;

use super::settings::ServerSettings;
use crate::data_type::{Nature, SyncDataType};
use crate::limits;
use crate::store::condition::Condition;
use crate::store::validation::{SecurityValidation, ValidationType};
use crate::time::Timestamp;
use crate::wire::{ErrorCode, Kind, Rejection, Request};

/// Why a request is rejected, and what was found if the server has rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the host.
    pub rejection: Rejection,
    /// For the record.
    pub finding: Option<SecurityValidation>,
}

/// Freshness, size, form and type. That the account in the body is the one whose key sealed it is
/// part of opening. Says what must hold of what took effect before.
pub fn request(
    settings: &ServerSettings,
    now: Timestamp,
    request: &Request,
) -> Result<Option<Condition>, Refusal> {
    always(settings, now, request).map_err(|rejection| refusal(settings, now, request, rejection))?;
    match &settings.rules {
        Some(rules) if request.kind == Kind::SyncTo => data::judge(rules, request).map_err(|violation| {
            let data::Violation { validation, details } = violation;
            let message = format!("{} {details}", validation.name()).into();
            let finding = finding(request, validation, &details, now);
            Refusal {
                rejection: Rejection { code: ErrorCode::RuleViolated, message },
                finding: Some(finding),
            }
        }),
        _ => Ok(None),
    }
}

/// Refuses a request that is not in order whatever the rules are. For the record if there are some: who has none does
/// not look for those who break them.
pub(crate) fn refusal(
    settings: &ServerSettings,
    now: Timestamp,
    request: &Request,
    rejection: Rejection,
) -> Refusal {
    let details = format!("{}: {}", rejection.code, rejection.message);
    let found = || finding(request, ValidationType::DataForm, &details, now);
    Refusal { finding: settings.rules.is_some().then(found), rejection }
}

fn finding(
    request: &Request,
    validation: ValidationType,
    details: &str,
    at: Timestamp,
) -> SecurityValidation {
    let (account, map) = (request.operation.account, request.map.clone());
    SecurityValidation { account, map, validation, is_valid: false, details: bounded(details).into(), at }
}

/// Details within their bound.
pub(crate) fn bounded(details: &str) -> &str {
    let end = (0..=limits::VALIDATION_DETAILS_BYTES_MAX.min(details.len()))
        .rev()
        .find(|end| details.is_char_boundary(*end));
    &details[..end.unwrap_or(0)]
}

fn always(settings: &ServerSettings, now: Timestamp, request: &Request) -> Result<(), Rejection> {
    let off = request.timestamp.distance(now);
    if off > settings.freshness_window {
        return reject(
            ErrorCode::StaleTimestamp,
            format!(
                "the request's time is {} ms from the server's, at most {} ms is taken: set the host's clock",
                off.as_ms(),
                settings.freshness_window.as_ms()
            ),
        );
    }
    if request.data.len() > settings.data_bytes_max {
        return reject(
            ErrorCode::TooLarge,
            format!("{} bytes of data, at most {} are taken", request.data.len(), settings.data_bytes_max),
        );
    }
    match (request.kind, request.data_type) {
        (Kind::SyncFrom, data_type) if data_type.nature() == Nature::Event => {
            reject(ErrorCode::Unsupported, format!("{data_type} has no current state to read"))
        }
        (Kind::Embed | Kind::Search, data_type) if data_type != SyncDataType::VectorEmbedding => reject(
            ErrorCode::Unsupported,
            format!("texts and searches are VECTOR_EMBEDDING, not {data_type}"),
        ),
        (Kind::Report, data_type) if data_type != SyncDataType::HostMetrics => {
            reject(ErrorCode::Unsupported, format!("{data_type} is not what a host reports: HOST_METRICS is"))
        }
        _ if serde_json::from_str::<IgnoredAny>(&request.data).is_err() => {
            reject(ErrorCode::MalformedData, "data is not JSON text".to_owned())
        }
        _ => Ok(()),
    }
}

fn reject(code: ErrorCode, message: String) -> Result<(), Rejection> {
    Err(Rejection { code, message: message.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AccountId, Incarnation, MapName, OperationId};
    use crate::time::Span;

    fn check(change: impl FnOnce(&mut Request), expected: Result<(), ErrorCode>) {
        let settings = ServerSettings { data_bytes_max: 20, ..ServerSettings::default() };
        let now = Timestamp::from_ms(1_000_000);
        let mut good = Request {
            kind: Kind::SyncTo,
            data_type: SyncDataType::MapState,
            map: MapName::new("m").unwrap(),
            data: "{}".into(),
            timestamp: now,
            operation: OperationId { account: AccountId(1), incarnation: Incarnation(1), counter: 1 },
            critical: false,
            sequence: 1,
        };
        change(&mut good);
        let found = request(&settings, now, &good).map_err(|refusal| refusal.rejection.code);
        assert_eq!(found, expected.map(|()| None));
    }

    #[test]
    fn each_rule_lets_pass_up_to_its_bound_and_rejects_past_it() {
        check(|_| {}, Ok(()));
        check(|r| r.timestamp = r.timestamp + Span::from_secs(30), Ok(()));
        check(|r| r.timestamp = r.timestamp.saturating_sub(Span::from_secs(30)), Ok(()));
        check(|r| r.timestamp = r.timestamp + Span::from_ms(30_001), Err(ErrorCode::StaleTimestamp));
        check(
            |r| r.timestamp = r.timestamp.saturating_sub(Span::from_ms(30_001)),
            Err(ErrorCode::StaleTimestamp),
        );
        check(|r| r.data = format!("\"{}\"", "x".repeat(18)).into(), Ok(()));
        check(|r| r.data = format!("\"{}\"", "x".repeat(19)).into(), Err(ErrorCode::TooLarge));
        check(|r| r.data = "{".into(), Err(ErrorCode::MalformedData));
        check(|r| r.data = "".into(), Err(ErrorCode::MalformedData));
        check(|r| r.data_type = SyncDataType::ChatMessage, Ok(()));
        check(
            |r| (r.kind, r.data_type) = (Kind::SyncFrom, SyncDataType::ChatMessage),
            Err(ErrorCode::Unsupported),
        );
        check(|r| r.kind = Kind::SyncFrom, Ok(()));
        for kind in [Kind::Embed, Kind::Search] {
            check(|r| r.kind = kind, Err(ErrorCode::Unsupported));
            check(|r| (r.kind, r.data_type) = (kind, SyncDataType::VectorEmbedding), Ok(()));
        }
        check(|r| r.kind = Kind::Report, Err(ErrorCode::Unsupported));
        check(|r| (r.kind, r.data_type) = (Kind::Report, SyncDataType::HostMetrics), Ok(()));
    }

    #[test]
    fn details_are_cut_between_characters() {
        let long = "\u{1F409}".repeat(limits::VALIDATION_DETAILS_BYTES_MAX);
        assert_eq!(bounded(&format!("a{long}")).len(), limits::VALIDATION_DETAILS_BYTES_MAX - 3);
        assert_eq!(bounded("short"), "short");
    }
}
