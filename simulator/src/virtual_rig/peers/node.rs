//! One peer of the world: its database, its replica while it is up, its clock, and the sessions of its applications.

use std::collections::{BTreeMap, VecDeque};

use sync_core::peer_sync::message::{PROTOCOL, ProtocolRange};
use sync_core::peer_sync::position::Position;
use sync_core::peer_sync::replica::Replica;
use sync_core::peer_sync::store::memory::{MemoryPeerStore, TransactionId};

use super::locks::Waiting;
use crate::draw::SimEntropy;
use crate::history::OpRef;
use crate::history::peers::Written;
use crate::plan::Body;
use crate::virtual_rig::clock::NodeClock;

/// A peer.
pub(super) struct Node<P> {
    pub(super) store: MemoryPeerStore,
    /// None while it is down.
    pub(super) replica: Option<Replica<SimEntropy, P>>,
    pub(super) clock: NodeClock,
    /// The greatest that the database's clock showed before it stepped.
    pub(super) clock_us_max: u64,
    /// Counts lives of its process; what is meant for an earlier one is lost.
    pub(super) life: u32,
    /// What its releases speak, by the fault that brought them; the last counts.
    pub(super) releases: Vec<(u32, ProtocolRange)>,
    /// Faults that hold it down.
    pub(super) held_down_by: Vec<u32>,
    /// When its replica is due to be woken, by an event in the queue.
    pub(super) wakes_at_us: Option<u64>,
    pub(super) sessions: BTreeMap<u32, Session>,
    /// Older copies of the database, by the moment of their making.
    pub(super) copies: Vec<(u64, MemoryPeerStore)>,
    /// By source: where it is to read on once it has compared everything.
    pub(super) reads_on: BTreeMap<u32, Position>,
    /// Whether its replica is yet to be told of local commits.
    pub(super) change_pending: bool,
    /// Requests of its replica that wait for locks, the longest first.
    pub(super) waiting: Vec<Waiting>,
}

/// What one session of an application is at, and what waits for it.
#[derive(Default)]
pub(super) struct Session {
    pub(super) running: Option<Running>,
    pub(super) waiting: VecDeque<(OpRef, u64, Body)>,
}

/// A transaction under way.
pub(super) struct Running {
    pub(super) op: OpRef,
    pub(super) transaction: TransactionId,
    pub(super) body: Body,
    /// The next statement.
    pub(super) next: usize,
    /// What it has written, the last for each row.
    pub(super) written: Vec<Written>,
    /// When it gives up waiting for a lock.
    pub(super) patience_us: u64,
}

impl<P> Node<P> {
    pub(super) fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// The versions of the protocol that it speaks.
    pub(super) fn speaks(&self) -> ProtocolRange {
        self.releases.last().map_or(PROTOCOL, |(_, speaks)| *speaks)
    }
}
