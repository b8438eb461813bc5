//! A row as it travels between peers: its name, its version, what it holds, and where it was written.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::version::{ContentHash, NodeId, Version};
use crate::id::Incarnation;

/// The name of a table, lower-case letters, digits and `_`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableName(pub(crate) Arc<str>);

impl TableName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one row: its table and the columns of its primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowId {
    /// The table.
    pub table: TableName,
    /// The primary key, no column of it null.
    pub key: Content,
}

impl RowId {
    /// About as many bytes as it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.as_str().len() + self.key.as_canonical().len()
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.table)?;
        for (place, column) in self.key.columns().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            f.write_str(comma)?;
            // A key may hold anything: lines of a log stay one line each.
            for char in column.unwrap_or("null").chars() {
                match char.is_control() {
                    true => write!(f, "{}", char.escape_default())?,
                    false => f.write_char(char)?,
                }
            }
        }
        f.write_str(")")
    }
}

/// What a version of a row says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// The row lives and holds this.
    Row(Content),
    /// The row was deleted. What the deleter saw is kept: a living child may demand its parent back.
    Tombstone(Option<Content>),
}

impl Image {
    /// The content, of a living row.
    pub fn row(&self) -> Option<&Content> {
        match self {
            Self::Row(content) => Some(content),
            Self::Tombstone(_) => None,
        }
    }

    /// Whether it is a tombstone.
    pub fn is_tombstone(&self) -> bool {
        matches!(self, Self::Tombstone(_))
    }

    /// The content: of a living row, or what a tombstone kept of it.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Row(content) => Some(content),
            Self::Tombstone(last) => last.as_ref(),
        }
    }

    /// The hash that a version with this image carries where nothing is kept beside it.
    pub fn hash(&self) -> ContentHash {
        self.hash_with(&Extra::None)
    }

    /// The hash that a version with this image carries. Covers what a policy keeps beside it, so that digests
    /// and scrubs see a difference there, too.
    pub fn hash_with(&self, extra: &Extra) -> ContentHash {
        let (tombstone, content) = match self {
            Self::Row(content) => (false, Some(content)),
            Self::Tombstone(last) => (true, last.as_ref()),
        };
        let state = match extra {
            Extra::None => None,
            Extra::State(state) => Some(&**state),
        };
        Content::hash_of(tombstone, content, state)
    }
}

/// Where and in which transaction a version was written. The node is the version's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The life of the writer's database, see [`super::position::Position`].
    pub incarnation: Incarnation,
    /// The transaction there.
    pub xid: u64,
}

impl Origin {
    /// Of a version that a policy combined out of several writes, each with an origin of its own.
    ///
    /// No frontier covers it: a feed never leaves such a row out. Where a row is absent and might be older
    /// than a purged tombstone, the rule is the cautious one as well: not above the horizon, it has expired.
    pub const COMBINED: Self = Self { incarnation: Incarnation(0), xid: 0 };

    /// Whether it is that of a combined version.
    pub fn is_combined(self) -> bool {
        self == Self::COMBINED
    }
}

/// What a policy other than the last writer by row keeps beside a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extra {
    /// Nothing.
    #[default]
    None,
    /// What the table's policy wrote there, as text in one canonical form.
    State(Arc<str>),
}

impl Extra {
    /// Whether there is nothing.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// One version of one row, whole: what travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowVersion {
    /// The row.
    pub row: RowId,
    /// Its version.
    pub version: Version,
    /// What it says.
    pub image: Image,
    /// Where it was written.
    pub origin: Origin,
    /// What the table's policy keeps beside it.
    #[serde(default, skip_serializing_if = "Extra::is_none")]
    pub extra: Extra,
}

impl RowVersion {
    /// Whether the hash that it carries is that of what it says.
    pub fn is_sound(&self) -> bool {
        self.image.hash_with(&self.extra) == self.version.hash
    }

    /// Whether both are the same version of the same row with the same content, wherever they came from.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (&self.row, &self.version, &self.image, &self.extra)
            == (&other.row, &other.version, &other.image, &other.extra)
    }

    /// Who wrote it.
    pub fn node(&self) -> &NodeId {
        &self.version.node
    }

    /// Bytes that it takes on its way, about: texts and 64 for all else. What bounds of pages count.
    pub fn bytes(&self) -> usize {
        let content = self.image.content().map_or(0, |content| content.as_canonical().len());
        let extra = match &self.extra {
            Extra::None => 0,
            Extra::State(state) => state.len(),
        };
        64 + self.row.table.as_str().len()
            + self.row.key.as_canonical().len()
            + self.version.node.as_str().len()
            + content
            + extra
    }
}
