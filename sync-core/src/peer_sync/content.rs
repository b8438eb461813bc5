//! What a row holds, in one canonical form, and the hash over it.
//!
//! A value is its text under pinned settings, as the origin's database rendered it; nobody renders it again.
//! The form: each column in the table's declared order, a null as `-`, a text as `<bytes in decimal>:<text>`.
//! A database can make it with plain string functions, and two different rows never look alike.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::version::ContentHash;

/// The columns of one row, or of a key, in the canonical form. Cheap to clone; one allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content(Arc<str>);

/// The text is not columns in the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the canonical form of columns: `-` or `<bytes>:<text>` for each is expected")]
pub struct InvalidContent;

impl Content {
    /// From the columns' texts; none is a null.
    pub fn new<'a>(columns: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        use fmt::Write as _;
        let mut text = String::new();
        for column in columns {
            match column {
                None => text.push('-'),
                // Writing to a string cannot fail.
                Some(value) => drop(write!(text, "{}:{value}", value.len())),
            }
        }
        Self(text.into())
    }

    /// From the canonical form.
    pub fn from_canonical(text: &str) -> Result<Self, InvalidContent> {
        let mut rest = text;
        while !rest.is_empty() {
            (_, rest) = split(rest).ok_or(InvalidContent)?;
        }
        Ok(Self(text.into()))
    }

    /// The canonical form.
    pub fn as_canonical(&self) -> &str {
        &self.0
    }

    /// The columns, in order; none is a null.
    pub fn columns(&self) -> impl Iterator<Item = Option<&str>> {
        let mut rest: &str = &self.0;
        std::iter::from_fn(move || {
            let (column, after) = split(rest)?;
            rest = after;
            Some(column)
        })
    }

    /// One column by its place; none for a null and for a place past the end.
    pub fn column(&self, place: usize) -> Option<&str> {
        self.columns().nth(place).flatten()
    }

    /// The hash of a living row with this content.
    pub fn hash(&self) -> ContentHash {
        Self::hash_of(false, Some(self), None)
    }

    /// The hash of a tombstone that remembers this content: never that of a living row.
    pub fn tombstone_hash(last: Option<&Self>) -> ContentHash {
        Self::hash_of(true, last, None)
    }

    /// The hash over content and, behind a `|` that no column begins with, what a policy keeps beside it.
    pub(super) fn hash_of(tombstone: bool, content: Option<&Self>, state: Option<&str>) -> ContentHash {
        let mut digest = Sha256::new();
        if tombstone {
            digest.update(b"deleted ");
        }
        if let Some(content) = content {
            digest.update(content.0.as_bytes());
        }
        if let Some(state) = state {
            digest.update(b"|");
            digest.update(state.as_bytes());
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest.finalize()[..16]);
        ContentHash(hash)
    }
}

/// The first column and what follows it.
fn split(text: &str) -> Option<(Option<&str>, &str)> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some((None, rest));
    }
    let (length, rest) = text.split_once(':')?;
    let canonical = !length.is_empty()
        && length.bytes().all(|b| b.is_ascii_digit())
        && (length.len() == 1 || !length.starts_with('0'));
    let length: usize = canonical.then(|| length.parse().ok())??;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((Some(value), rest))
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.columns()).finish()
    }
}

impl Serialize for Content {
    /// An array of texts and nulls.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.columns())
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let columns = Vec::<Option<String>>::deserialize(deserializer)?;
        if columns.len() > crate::limits::COLUMNS_MAX {
            return Err(D::Error::custom(format_args!(
                "a row has at most {} columns",
                crate::limits::COLUMNS_MAX
            )));
        }
        Ok(Self::new(columns.iter().map(Option::as_deref)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_tells_null_from_empty_and_survives_any_text() {
        let columns = [None, Some(""), Some("-"), Some("1:x"), Some("grüße \u{1f600}")];
        let content = Content::new(columns);
        assert!(content.columns().eq(columns));
        assert_eq!(Content::from_canonical(content.as_canonical()), Ok(content.clone()));
        assert_eq!(content.column(3), Some("1:x"));
        assert_eq!(content.column(9), None);
        let json = serde_json::to_string(&content).unwrap();
        assert_eq!(serde_json::from_str::<Content>(&json).unwrap(), content);
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for wrong in ["x", "1:", "2:a", "01:a", "+1:a", "1:é", ":", "99999999999999999999:a"] {
            assert_eq!(Content::from_canonical(wrong), Err(InvalidContent), "{wrong}");
        }
    }

    #[test]
    fn a_tombstone_never_hashes_like_a_row() {
        let content = Content::new([Some("a")]);
        assert_ne!(content.hash(), Content::tombstone_hash(Some(&content)));
        assert_ne!(Content::tombstone_hash(None), Content::tombstone_hash(Some(&content)));
    }
}
