//! What `cache_get`, `cache_set`, `cache_delete` and `cache_exists` carry: an application's own entries.
//!
//! A key that begins with [`SHARED`] names an entry that all hosts share; any other belongs to the account
//! that asks. Neither can name a state.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ErrorCode, Kind, Rejection, read, write};
use crate::cache::{CacheKey, CacheRequest};
use crate::id::AccountId;
use crate::limits;
use crate::time::{Span, Timestamp};

/// How the keys of shared entries begin.
pub const SHARED: &str = "shared:";

/// `data` of a `cache_get`, `cache_delete` and `cache_exists`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryName<'a> {
    /// Its key, 1 to [`limits::ENTRY_KEY_BYTES_MAX`] bytes.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
}

/// `data` of a `cache_set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntrySet<'a> {
    /// Its key, 1 to [`limits::ENTRY_KEY_BYTES_MAX`] bytes.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Any text of at most [`limits::ENTRY_VALUE_BYTES_MAX`] bytes.
    #[serde(borrow)]
    pub value: Cow<'a, str>,
    /// Lifetime in seconds, at most [`limits::CACHE_EXPIRY_SECONDS_MAX`]; 0 never expires.
    pub expiry_seconds: u64,
}

/// Payload of a reply to `cache_get`; null when there is no such entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryPayload<'a> {
    /// Its value.
    #[serde(borrow)]
    pub value: Cow<'a, str>,
}

/// Payload of a reply to `cache_delete` and `cache_exists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundPayload {
    /// Whether the entry was there.
    pub found: bool,
}

/// What the cache is to be asked for `data` of this kind from this account; a lifetime counts from `now`.
pub(crate) fn request(
    kind: Kind,
    account: AccountId,
    data: &str,
    now: Timestamp,
) -> Result<CacheRequest, Rejection> {
    if kind == Kind::CacheSet {
        let EntrySet { key, value, expiry_seconds } = parsed(data)?;
        let key = cache_key(account, &key)?;
        bounded("the value has", value.len(), limits::ENTRY_VALUE_BYTES_MAX, " bytes")?;
        let longest = limits::CACHE_EXPIRY_SECONDS_MAX;
        bounded("the entry is to live", expiry_seconds as usize, longest as usize, " seconds")?;
        let expires = (expiry_seconds > 0).then(|| now + Span::from_secs(expiry_seconds));
        return Ok(CacheRequest::Set { key, value: Arc::from(value), expires });
    }
    let EntryName { key } = parsed(data)?;
    let key = cache_key(account, &key)?;
    Ok(match kind {
        Kind::CacheDelete => CacheRequest::Delete(key),
        Kind::CacheExists => CacheRequest::Exists(key),
        _ => CacheRequest::Get(key),
    })
}

/// The JSON text of a payload.
pub(crate) fn payload<T: Serialize>(payload: &T) -> Arc<str> {
    let mut out = Vec::new();
    write(payload, &mut out);
    String::from_utf8(out).unwrap_or_default().into()
}

/// Accounts are written in digits, so no account's entries are among the shared ones or another's.
fn cache_key(account: AccountId, key: &str) -> Result<CacheKey, Rejection> {
    if key.is_empty() || key.chars().any(char::is_control) {
        let message = "a key has at least one character, and no control characters";
        return Err(Rejection { code: ErrorCode::MalformedData, message: message.into() });
    }
    bounded("the key has", key.len(), limits::ENTRY_KEY_BYTES_MAX, " bytes")?;
    Ok(CacheKey::Text(match key.strip_prefix(SHARED) {
        Some(shared) => format!("shared/{shared}").into(),
        None => format!("{account}/{key}").into(),
    }))
}

fn parsed<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Rejection> {
    read(data.as_bytes()).map_err(|_| Rejection {
        code: ErrorCode::MalformedData,
        message: "data is not what this kind takes".into(),
    })
}

fn bounded(what: &str, is: usize, max: usize, unit: &str) -> Result<(), Rejection> {
    if is <= max {
        return Ok(());
    }
    let message = format!("{what} {is}{unit}, at most {max} are taken");
    Err(Rejection { code: ErrorCode::TooLarge, message: message.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: Kind, data: &str) -> Result<CacheRequest, ErrorCode> {
        request(kind, AccountId(7), data, Timestamp::from_ms(5)).map_err(|rejection| rejection.code)
    }

    fn text(key: &str) -> CacheKey {
        CacheKey::Text(key.into())
    }

    #[test]
    fn an_entry_is_its_accounts_own_unless_its_key_says_shared() {
        let check = |key: &str, expected: &str| {
            let data = payload(&EntryName { key: key.into() });
            assert_eq!(asked(Kind::CacheGet, &data), Ok(CacheRequest::Get(text(expected))), "{key}");
        };
        check("a", "7/a");
        check("shared:a", "shared/a");
        check("shared/a", "7/shared/a");
        check("8/a", "7/8/a");
        check("state:MAP_STATE/0/m", "7/state:MAP_STATE/0/m");
    }

    #[test]
    fn each_kind_asks_for_its_request() {
        let data = r#"{"key":"a"}"#;
        assert_eq!(asked(Kind::CacheDelete, data), Ok(CacheRequest::Delete(text("7/a"))));
        assert_eq!(asked(Kind::CacheExists, data), Ok(CacheRequest::Exists(text("7/a"))));
        let set = |expiry_seconds, expires| {
            let data = payload(&EntrySet { key: "a".into(), value: "v\n".into(), expiry_seconds });
            let expected = CacheRequest::Set { key: text("7/a"), value: "v\n".into(), expires };
            assert_eq!(asked(Kind::CacheSet, &data), Ok(expected));
        };
        set(0, None);
        set(2, Some(Timestamp::from_ms(2_005)));
    }

    #[test]
    fn bounds_hold_and_what_is_not_of_the_form_is_refused() {
        let named =
            |bytes: usize| asked(Kind::CacheGet, &payload(&EntryName { key: "k".repeat(bytes).into() }));
        assert!(named(limits::ENTRY_KEY_BYTES_MAX).is_ok());
        assert_eq!(named(limits::ENTRY_KEY_BYTES_MAX + 1), Err(ErrorCode::TooLarge));
        assert_eq!(named(0), Err(ErrorCode::MalformedData));
        let set = |bytes: usize, expiry_seconds| {
            let set = EntrySet { key: "k".into(), value: "v".repeat(bytes).into(), expiry_seconds };
            asked(Kind::CacheSet, &payload(&set)).map(|_| ())
        };
        assert_eq!(set(limits::ENTRY_VALUE_BYTES_MAX, limits::CACHE_EXPIRY_SECONDS_MAX), Ok(()));
        assert_eq!(set(limits::ENTRY_VALUE_BYTES_MAX + 1, 0), Err(ErrorCode::TooLarge));
        assert_eq!(set(0, limits::CACHE_EXPIRY_SECONDS_MAX + 1), Err(ErrorCode::TooLarge));
        for data in
            ["{}", "7", r#"{"key":7}"#, r#"{"key":"a","more":1}"#, "{\"key\":\"a\\n\"}", r#"{"key":"a"}x"#]
        {
            assert_eq!(asked(Kind::CacheGet, data), Err(ErrorCode::MalformedData), "{data}");
        }
        assert_eq!(asked(Kind::CacheSet, r#"{"key":"a"}"#), Err(ErrorCode::MalformedData));
    }
}
