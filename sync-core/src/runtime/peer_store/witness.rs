//! Somebody who watches what a store is about to commit.
//!
//! What is committed and what a process says of it part when that process is killed in between. A witness is told before
//! the commit, with the transaction's number: whether that was committed knows the database, whatever becomes of the process.

use std::fmt;

use crate::id::Incarnation;
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::time::Timestamp;

/// What a request comes to, right before it is committed.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// What was asked.
    pub request: &'a PeerRequest,
    /// What will be answered if the commit succeeds.
    pub reply: &'a PeerReply,
    /// The number of the transaction; none for one that has written nothing.
    pub xid: Option<u64>,
    /// The clock of the database by which it was decided.
    pub now: Timestamp,
    /// What was visible when the request began: what became visible while it was at work may have been seen or not.
    pub began_with: &'a Snapshot,
    /// The life of the database.
    pub incarnation: Incarnation,
}

/// Watches the requests of a store, see [`PeerStore::witnessed`](super::PeerStore::witnessed).
pub trait Witness: fmt::Debug + Send + Sync + 'static {
    /// A request was decided; it is committed after this has returned. A commit may fail: the request is then decided
    /// anew, or given up.
    fn decides(&self, decided: Decided<'_>);
}
