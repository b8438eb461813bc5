//! Peers that each have a database of their own, and what their applications do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync_core::limits;

use super::distribution::Distribution;
use super::network::Link;
use super::topology::HostSet;
use super::workload::Arrivals;
use crate::scenario::units::{Length, Share};

/// Peers that each have a database of their own and synchronise with one another. A scenario has these or hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// How many, 2 to 200. Peer `n` has the node id `n<n>`, with zeros in front where there are ten and more.
    #[schemars(range(min = 2, max = 200))]
    pub count: u32,
    /// Who synchronises with whom.
    #[serde(default)]
    pub links: Links,
    /// How peers learn of those with whom they have a link.
    #[serde(default)]
    pub discovery: Discovery,
    /// Each direction between two peers.
    #[serde(default)]
    pub network: Link,
    /// The tables that travel.
    #[serde(default)]
    pub tables: Tables,
    /// Rows that every peer has at the start, by table; `users: 100` for rows 0 to 99.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub rows: std::collections::BTreeMap<String, u32>,
    /// From one round of a peer to its next, less up to a tenth (`SYNC_INTERVAL`).
    #[serde(default = "default_sync_interval")]
    pub sync_interval: Length,
    /// How often a peer compares everything with another, by digests.
    #[serde(default = "default_reconcile_interval")]
    pub reconcile_interval: Length,
    /// How often a peer looks through a part of its own rows for corruption.
    #[serde(default = "default_scrub_interval")]
    pub scrub_interval: Length,
    /// How long tombstones wait for a peer that does not come back.
    #[serde(default = "default_retention")]
    pub tombstone_retention: Length,
    /// How far ahead of a peer's clock a stamp may lie that it accepts.
    #[serde(default = "default_stamp_ahead")]
    pub stamp_ahead_max: Length,
    /// Rows that a page of a feed brings at the most; a transaction comes whole all the same.
    #[serde(default = "default_page_rows", skip_serializing_if = "is_default_page_rows")]
    #[schemars(range(min = 1, max = 5_000))]
    pub page_rows_max: u32,
    /// How often a peer is asked whether it is still there.
    #[serde(default = "default_health_interval")]
    pub health_interval: Length,
    /// A peer that does not answer, and was not heard of for longer, is removed until it is heard of again.
    #[serde(default = "default_unseen_max")]
    pub unseen_max: Length,
}

/// How peers learn of one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// Each is told at its start where those are with whom it has a link, and never gives one of them up for good.
    #[default]
    Static,
    /// Nobody is told anything. Each announces itself every `sync_interval`, and those with whom it has a link hear it as
    /// far as the network lets announcements through.
    Announcements,
}

/// Who synchronises with whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Links {
    /// Everybody with everybody.
    #[default]
    Mesh,
    /// Each with the one before and the one behind.
    Ring,
    /// Each with the first, and the first with each.
    Star,
    /// Each with the one behind, but for the last: the longest way.
    Line,
    /// A ring, and further links drawn until each peer has this many or more.
    Random(RandomLinks),
}

/// Links that are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomLinks {
    /// Links of a peer, at least 2 and less than there are peers.
    pub degree: u32,
}

/// The tables that travel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tables {
    /// The seven of the specification: users, categories, products, reviews, product_images, review_media,
    /// activity_logs, with their references and natural keys.
    #[default]
    ProductReviews,
    /// These.
    Declared(Vec<DeclaredTable>),
}

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredTable {
    /// Its name.
    pub name: String,
    /// Its columns; the first is the primary key.
    pub columns: Vec<String>,
    /// References to rows of other tables, or of this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<DeclaredReference>,
    /// Natural keys: columns that no two visible rows may have alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<Vec<String>>,
    /// Who wins.
    #[serde(default)]
    pub policy: TablePolicy,
}

/// A column that names a row of a table by its primary key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclaredReference {
    /// The column.
    pub column: String,
    /// The other table.
    pub table: String,
    /// What happens to a row whose parent is deleted.
    #[serde(default)]
    pub on_deleted: OnDeleted,
}

/// What happens to a row whose parent is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDeleted {
    /// The parent lives again.
    #[default]
    Revive,
    /// The row goes, too.
    Cascade,
    /// A row older than the deletion keeps its parent; a younger one is set aside.
    Restrict,
}

/// Who wins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TablePolicy {
    /// The greater (stamp, node id, content hash), by row.
    #[default]
    LastWriterByRow,
    /// The same for each column by itself.
    LastWriterByColumn,
    /// The first insert; of two writes of one row, the later.
    FirstWriter,
    /// Of writes side by side, that of the peer that comes first here.
    NodePriority(Vec<u32>),
    /// These columns are sums.
    CounterDelta(Vec<String>),
    /// What a resolver of this name says. `p2psim` has those of the examples (docs/resolver.md): example-correct,
    /// example-wrong and example-repaired; a program of your own has yours.
    Custom(String),
}

/// One stream of transactions at each of a set of peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transactions {
    /// Short name, unique in the file.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,64}$"))]
    pub name: String,
    /// The peers concerned.
    #[serde(default)]
    pub peers: HostSet,
    /// When transactions arrive at each peer.
    pub arrivals: Arrivals,
    /// Sessions at each peer, taken in turn. A session does one thing after the other.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub sessions: u32,
    /// What their statements are, drawn by weight.
    #[schemars(length(min = 1))]
    pub mix: Vec<StatementMix>,
    /// Statements of one transaction, 1 to this many, drawn evenly.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub statements_max: u32,
    /// From the last statement to the commit.
    #[serde(default = "at_once")]
    pub open_for: Distribution,
    /// What texts are like.
    #[serde(default)]
    pub texts: Texts,
    /// First moment at which one may arrive.
    #[serde(default)]
    pub from: Length,
    /// Moment after which none arrives; the scenario's `duration` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Length>,
}

/// One kind of statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementMix {
    /// What it does.
    #[serde(rename = "do")]
    pub action: StatementKind,
    /// Its table.
    pub table: String,
    /// Rows it may concern: number 0 up to this, drawn evenly.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rows: u32,
    /// Each peer has so many rows to itself and takes them in turn: peer 0 the first `rows` of the table, peer 1 the next
    /// `rows`, and so on. Of so many statements in a row no two concern the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_rows: bool,
    /// Relative frequency.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: u32,
    /// Share of inserted rows whose natural keys are drawn from a few, so that they collide.
    #[serde(default)]
    pub collide: Share,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    /// Updates the row, or inserts it.
    Put,
    /// Deletes it.
    Delete,
    /// Reads it.
    Read,
}

/// What texts are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Texts {
    /// Letters and digits.
    #[default]
    Plain,
    /// Floats, NaN, blanks at the end, emoji, JSON with keys in another order, control characters, nulls.
    Odd,
    /// One mebibyte each.
    Large,
}

/// One transaction, written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When it arrives.
    pub at: Length,
    /// At which peer.
    pub peer: u32,
    /// In which session of that peer.
    #[serde(default)]
    pub session: u32,
    /// Its statements.
    #[serde(rename = "do")]
    #[schemars(length(min = 1))]
    pub statements: Vec<Statement>,
    /// From the last statement to the commit.
    #[serde(default)]
    pub open_for: Length,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// Updates the row, or inserts it.
    Put(Put),
    /// Deletes it.
    Delete(RowName),
    /// Reads it.
    Read(RowName),
}

/// A row by the number of its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowName {
    /// The table.
    pub table: String,
    /// The row's number; its key is a UUID with these digits at the end.
    pub row: u32,
}

/// A row and what it is to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// The table.
    pub table: String,
    /// The row's number.
    pub row: u32,
    /// Columns and their texts; a reference takes the number of the other row. Other columns stay as they are, or, in a
    /// new row, get a text that says which statement wrote them.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub set: std::collections::BTreeMap<String, Option<String>>,
    /// What generated texts are like.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub texts: Texts,
    /// Whether natural keys of a new row are drawn from a few.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub collide: bool,
}

impl Peers {
    /// So many peers with everything else as by default.
    pub fn of(count: u32) -> Self {
        Self {
            count,
            links: Links::default(),
            network: Link::default(),
            tables: Tables::default(),
            rows: std::collections::BTreeMap::new(),
            sync_interval: default_sync_interval(),
            reconcile_interval: default_reconcile_interval(),
            scrub_interval: default_scrub_interval(),
            tombstone_retention: default_retention(),
            stamp_ahead_max: default_stamp_ahead(),
            page_rows_max: default_page_rows(),
            discovery: Discovery::default(),
            health_interval: default_health_interval(),
            unseen_max: default_unseen_max(),
        }
    }
}

fn default_sync_interval() -> Length {
    Length::from_ms(30_000)
}

fn default_reconcile_interval() -> Length {
    Length::from_ms(300_000)
}

fn default_scrub_interval() -> Length {
    Length::from_ms(60_000)
}

fn default_retention() -> Length {
    Length::from_us(limits::TOMBSTONE_RETENTION.as_us())
}

fn default_stamp_ahead() -> Length {
    Length::from_us(limits::STAMP_AHEAD_MAX.as_us())
}

fn default_page_rows() -> u32 {
    limits::PAGE_ROWS_MAX as u32
}

fn is_default_page_rows(rows: &u32) -> bool {
    *rows == default_page_rows()
}

fn default_health_interval() -> Length {
    Length::from_us(limits::PEER_HEALTH_INTERVAL.as_us())
}

fn default_unseen_max() -> Length {
    Length::from_us(limits::PEER_UNSEEN_MAX.as_us())
}

fn at_once() -> Distribution {
    Distribution::Constant(Length::ZERO)
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_plain(texts: &Texts) -> bool {
    *texts == Texts::Plain
}
