//! What effects that are under way were for.

use super::apply::Apply;
use super::notices::News;
use crate::id::{Incarnation, Token};
use crate::peer_sync::announcement::PeerAddress;
use crate::peer_sync::row::RowId;
use crate::peer_sync::store::ReadFeed;
use crate::peer_sync::version::NodeId;

/// What a request to the database was for.
#[derive(Debug)]
pub(super) enum Pending {
    /// To know the database, at the start.
    Describe,
    /// To begin a new life of the database; and a question that waits for it.
    Renew { incarnation: Incarnation, read: Option<Reading> },
    /// To know what to tell peers.
    Noticing(News),
    /// To purge.
    Purge,
    /// To scrub.
    Scrub,
    /// A request of the job with this number.
    JobStored(u64),
    /// A request for somebody's question.
    Answer(Answering),
}

/// What a question to a peer was for.
#[derive(Debug)]
pub(super) enum Asking {
    /// Who is there?
    Hello(PeerAddress),
    /// A notice.
    Notify(NodeId),
    /// For the job with this number.
    Job(u64),
}

/// A peer's question that the database is answering.
#[derive(Debug)]
pub(super) enum Answering {
    /// Notes how far the reader has come, before it gets its page.
    Passed(Reading),
    /// Reads the page.
    Page(Reading),
    /// Digests.
    Digests(Token),
    /// Entries.
    Entries(Token),
    /// Rows.
    Rows(Token, Vec<RowId>),
    /// Applies what was pushed.
    Push(Token, Box<Apply>),
}

/// A reader that waits for its page.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) exchange: Token,
    pub(super) reader: NodeId,
    pub(super) read: ReadFeed,
    /// Whether it has refused rows of this feed.
    pub(super) refused: bool,
}
