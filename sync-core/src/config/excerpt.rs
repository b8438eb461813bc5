//! What a finding may show of a line.
//!
//! A finding is printed, logged and pasted into tickets, so a line is shown only as far as it is
//! known to hold no secret. The value of an unknown key is hidden: the key may be a misspelt
//! `encryption_key`. A key that does not look like one is hidden too: it may be the second half of
//! a wrapped secret.

use super::keys;
use crate::diagnostic::nearest;

/// What stands for a hidden text.
pub(super) const MASK: &str = "***";

/// A line as findings show it.
pub(super) struct Excerpt {
    pub(super) text: String,
    /// The column of the mask, from 1, when something is hidden.
    pub(super) mask_column: Option<usize>,
}

impl Excerpt {
    /// The line, without its line end, as far as it may be shown.
    pub(super) fn of(line: &str) -> Self {
        let line = line.trim_end_matches(keys::BLANK);
        let start = line.len() - line.trim_start_matches(keys::BLANK).len();
        if let Some(marker) = keys::comment_marker(line) {
            return Self::masked(line, start + marker.len());
        }
        let Some((left, right)) = line.split_once('=') else {
            let word = line.trim_start_matches(keys::BLANK).split(keys::BLANK).next().unwrap_or("");
            let shown = if keys::find(word).is_some() { start + word.len() } else { 0 };
            return Self::masked(line, shown);
        };
        let key = left.trim_matches(keys::BLANK);
        if !may_show_key(key) {
            return Self::masked(line, 0);
        }
        let value = right.trim_start_matches(keys::BLANK);
        let open = keys::find(key).is_some_and(|spec| !spec.secret) && !looks_secret(value);
        if value.is_empty() || open {
            return Self { text: line.to_owned(), mask_column: None };
        }
        Self::masked(line, line.len() - value.len())
    }

    /// Shows the first `shown` bytes; the rest is hidden.
    fn masked(line: &str, shown: usize) -> Self {
        let (before, hidden) = line.split_at(shown);
        if hidden.is_empty() {
            return Self { text: before.to_owned(), mask_column: None };
        }
        let gap = if before.is_empty() || before.ends_with(keys::BLANK) || before.ends_with('=') {
            ""
        } else {
            " "
        };
        let text = format!("{before}{gap}{MASK}");
        Self { mask_column: Some(text.chars().count() - MASK.len() + 1), text }
    }
}

/// The known key that the person probably meant.
pub(super) fn suggestion(key: &str) -> Option<&'static str> {
    if key.len() > KEY_BYTES_SHOWN_MAX {
        return None;
    }
    nearest(key, keys::ALL.iter().map(|spec| spec.name))
}

/// Whether a key, known or not, looks like one and not like a part of a secret.
pub(super) fn may_show_key(key: &str) -> bool {
    let plain = key.len() <= KEY_BYTES_SHOWN_MAX
        && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !is_random(key);
    plain || suggestion(key).is_some()
}

/// Whether the value of a key that is no secret looks like one all the same: an address with a
/// password or a query, one of our keys, or a long random token.
pub(super) fn looks_secret(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let address =
        value.contains(':') && value.contains('@') || value.contains("://") && value.contains(['?', '#']);
    let labelled = ["p2p-master", "p2p-host", "sk-", "password", "passwd", "pwd", "secret", "token", "key="]
        .iter()
        .any(|label| lower.contains(label));
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    let token = value.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '=' | '-' | '_'));
    address || labelled || value.bytes().all(base64) && is_random(value) || token.into_iter().any(is_random)
}

/// Whether a value is, or lists, a key by its fixed beginning. Unlike [`looks_secret`], which only
/// hides, this is sure enough to refuse a value.
pub(super) fn holds_key(value: &str) -> bool {
    value.split([',', ' ']).any(|part| {
        part.starts_with("p2p-master:")
            || part.starts_with("p2p-host:")
            || part.starts_with("sk-") && !part.contains('.') && is_random(part)
    })
}

/// Whether a token is long and mixed enough to be random.
fn is_random(token: &str) -> bool {
    token.len() >= TOKEN_BYTES_MIN
        && token.bytes().any(|b| b.is_ascii_digit())
        && token.bytes().any(|b| b.is_ascii_alphabetic())
}

const KEY_BYTES_SHOWN_MAX: usize = 32;
const TOKEN_BYTES_MIN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_as_far_as_it_holds_no_secret() {
        let check = |line: &str, expected: &str| assert_eq!(Excerpt::of(line).text, expected);
        check("redis_port = 6379", "redis_port = 6379");
        check("  redis_port=6379  ", "  redis_port=6379");
        check("redis_password = hunter2", "redis_password = ***");
        check("redis_passwrd = hunter2", "redis_passwrd = ***");
        check("redis_password =", "redis_password =");
        check("encryption_key=p2p-host:a:1:xyz", "encryption_key=***");
        check("anything = 7", "anything = ***");
        check("Encryption_Key = xyz", "Encryption_Key = ***");
        check("QUJDREVGR0hJSktM==", "***");
        check("p2p-master:a:QUJD", "***");
        check("redis_port 6379", "redis_port ***");
        check("# encryption_key = x", "# ***");
        check("redis_host = redis://:hunter2@cache", "redis_host = ***");
        check("main_server_endpoint = https://h/p?token=1", "main_server_endpoint = ***");
        check("redis_host = AKIA0123456789ABCDEFGH", "redis_host = ***");
        check("vector_eligible_maps = 1@tower,2 x", "vector_eligible_maps = 1@tower,2 x");
    }

    #[test]
    fn a_key_is_known_by_its_beginning() {
        let check = |value: &str, expected| assert_eq!(holds_key(value), expected, "{value}");
        check("p2p-host:a:1:x", true);
        check("prontera, p2p-master:a:x", true);
        check("sk-0123456789abcdefgh", true);
        check("sk-redis", false);
        check("sk-1.redis.example.com.0123456789", false);
        check("text-embedding-ada-002", false);
    }

    #[test]
    fn the_mask_has_a_place() {
        assert_eq!(Excerpt::of("redis_password = x").mask_column, Some(18));
        assert_eq!(Excerpt::of("redis_port = 1").mask_column, None);
        assert_eq!(Excerpt::of("nonsense").mask_column, Some(1));
    }
}
