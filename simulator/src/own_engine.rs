//! A team's whole own engine in the world of peers: what it has to be, and what it is told.
//!
//! [`PeerEngine`] is one peer, its database included. The world tells it what applications write, what other peers have
//! sent and that a moment has come; it answers what applications see, and says what is to be sent. How it synchronises,
//! what its messages are and who wins is its own business: stamps and positions stay hidden, so it is judged from the outside,
//! by what applications write and read at each peer ([`check::peers`](crate::check::peers)).
//!
//! # Calling contract
//!
//! 1. [`load`](PeerEngine::load) first, at most once: rows that all peers hold before anything happens.
//! 2. [`start`](PeerEngine::start) whenever its process starts: at the beginning, and again after each crash. Between a crash
//!    and the next start nothing is called, and what was asked of it before never comes. Of all that it has, only what its
//!    disk would hold may be left: above all, what [`commit`](PeerEngine::commit) answered.
//! 3. Then, in any order, [`commit`](PeerEngine::commit), [`receive`](PeerEngine::receive) and [`wake`](PeerEngine::wake), one
//!    after the other, never one within another. [`read`](PeerEngine::read) any time.
//! 4. After each of those calls the world asks [`next_wakeup`](PeerEngine::next_wakeup), and wakes it then; earlier, or without
//!    need, may happen, too.
//!
//! An engine has to be a function of what it is told: it reads no clock and draws no numbers but from the seed that it is
//! given. The same calls then give the same run, so that a failure can be repeated. `Now` holds its own two clocks: the
//! monotonic one for timers, the wall clock, which may be off, drift and step, for stamps.
//!
//! Messages are bytes. The network loses them, delivers them twice, late and out of order, as the scenario says.

use std::sync::Arc;

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::version::NodeId;
use sync_core::time::{Instant, Now, Span};

/// What an engine is told of its peer.
#[derive(Clone, Debug)]
pub struct Place {
    /// The peer's number, from 0.
    pub peer: u32,
    /// How many peers there are.
    pub count: u32,
    /// Its node id: `n0`, or `n07` among more than ten.
    pub name: NodeId,
    /// The peers that it has a link to, ascending.
    pub neighbours: Vec<u32>,
    /// The tables.
    pub schema: Arc<Schema>,
    /// The scenario's `sync_interval`.
    pub sync_interval: Span,
    /// A number of its own for whatever it draws; the same in every run of a seed.
    pub seed: u64,
}

/// One row that an application writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWrite {
    /// Which.
    pub row: RowId,
    /// All columns of the row, its key among them; none to delete it.
    pub content: Option<Content>,
}

/// What an engine sends.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: Vec<(u32, Vec<u8>)>,
}

impl Outbox {
    /// Sends bytes to another peer. One that does not exist, or is down, never gets them.
    pub fn send(&mut self, to: u32, message: impl Into<Vec<u8>>) {
        self.messages.push((to, message.into()));
    }

    pub(crate) fn take(self) -> Vec<(u32, Vec<u8>)> {
        self.messages
    }
}

/// An engine refuses a transaction, which then has no effect. Not a failure of the engine: the application is told why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// One peer of a team's own engine. The module's documentation has the calling contract.
pub trait PeerEngine {
    /// Rows that every peer holds from the start, each in one and the same version.
    fn load(&mut self, rows: &[LocalWrite]);

    /// The process starts, with the disk of its earlier lives.
    fn start(&mut self, now: Now, out: &mut Outbox);

    /// An application commits a transaction: at most one write for each row. When this has answered `Ok`, all of it is
    /// durable and visible here, and must reach the other peers whole.
    ///
    /// # Errors
    /// The transaction is refused whole.
    fn commit(&mut self, now: Now, writes: &[LocalWrite], out: &mut Outbox) -> Result<(), Refused>;

    /// What an application sees of a row at this peer; none if there is no such row.
    fn read(&self, row: &RowId) -> Option<Content>;

    /// A message of another peer has come.
    fn receive(&mut self, now: Now, from: u32, message: &[u8], out: &mut Outbox);

    /// The moment that was asked for has come, or another one.
    fn wake(&mut self, now: Now, out: &mut Outbox);

    /// When it wants to be woken, by its monotonic clock; none while nothing is to come.
    fn next_wakeup(&self) -> Option<Instant>;
}

/// Makes the engines of a world. Any `Fn(Place) -> Box<dyn PeerEngine>` is one.
pub trait PeerEngines {
    /// The engine of one peer, with an empty disk.
    fn engine(&self, place: Place) -> Box<dyn PeerEngine>;

    /// Whether it joins two versions of a row into a third one, column by column say. Then what applications see need
    /// not be what any of them wrote, and the properties that trace it to a write are `unknown`.
    fn joins_versions(&self) -> bool {
        false
    }
}

impl<F: Fn(Place) -> Box<dyn PeerEngine>> PeerEngines for F {
    fn engine(&self, place: Place) -> Box<dyn PeerEngine> {
        self(place)
    }
}
