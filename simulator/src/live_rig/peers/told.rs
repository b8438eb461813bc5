//! What live applications share and tell, and what they know of their peers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sync_core::id::Incarnation;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::version::NodeId;
use tokio::sync::RwLock;

use super::database::Database;
use super::history::Number;
use super::now_us;
use super::tables::Statements;
use crate::draw::Draws;
use crate::history::peers::{Seen, Written};
use crate::history::{OpRef, What};

/// What all sessions share.
pub(super) struct Shared {
    pub(super) draws: Draws,
    pub(super) statements: Statements,
    /// Rows of each table that are there from the start.
    pub(super) parents: BTreeMap<String, u32>,
    told: Mutex<Vec<Told>>,
    /// Transactions that have arrived and not ended.
    open: AtomicI64,
}

/// What is told of applications. Moments are microseconds since 1970.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Something at this moment.
    At(u64, What),
    /// At this moment a row was altered where this peer stores it.
    Damaged(u64, u32, RowId),
    /// A session has read rows.
    Read(ReadRows),
    /// A transaction wrote something, and was asked to commit.
    Transaction(Transaction),
}

/// Rows that one statement read.
#[derive(Clone, Debug)]
pub(super) struct ReadRows {
    pub(super) op: OpRef,
    pub(super) session: u32,
    /// Which of the peer's databases.
    pub(super) era: u32,
    pub(super) rows: Vec<Seen>,
    /// What was visible to the statement.
    pub(super) snapshot: Snapshot,
    /// When it was sent.
    pub(super) sent_us: u64,
}

/// A transaction that may have committed.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) op: OpRef,
    pub(super) session: u32,
    /// Which of the peer's databases.
    pub(super) era: u32,
    pub(super) incarnation: Incarnation,
    pub(super) xid: u64,
    pub(super) writes: Vec<Written>,
    /// The peer's clock when all was written.
    pub(super) clock_us: u64,
    /// When the application learnt that it committed; none if it never did.
    pub(super) answered_us: Option<u64>,
}

impl Transaction {
    /// The transaction among all of its peer.
    pub(super) fn number(&self) -> Number {
        (self.era, self.xid)
    }
}

/// A peer as its applications know it.
pub(super) struct Place {
    /// Whose name it has: its own, or for a while another's.
    node: Mutex<NodeId>,
    pub(super) database: Database,
    pub(super) is_up: AtomicBool,
    /// Counts its lives: what was asked of an earlier one and had not begun never will.
    pub(super) life: AtomicU32,
    /// Counts the databases that it had one after the other.
    pub(super) era: AtomicU32,
    /// Counts how often all connections were ended.
    pub(super) door: AtomicU32,
    /// Held by every transaction from its connection to its end, and alone by whoever needs all to have ended.
    pub(super) gate: RwLock<()>,
    /// The greatest that its clock has ever shown.
    pub(super) clock_us_max: AtomicU64,
}

impl Shared {
    pub(super) fn new(draws: Draws, statements: Statements, parents: BTreeMap<String, u32>) -> Self {
        Self { draws, statements, parents, told: Mutex::default(), open: AtomicI64::new(0) }
    }

    /// Tells something that happens now.
    pub(super) fn tell(&self, what: What) {
        self.push(Told::At(now_us(), what));
    }

    /// Tells something of that moment.
    pub(super) fn push(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    /// A transaction has arrived.
    pub(super) fn arrives(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// One has ended, however it did.
    pub(super) fn ends(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Transactions that have arrived and not ended.
    pub(super) fn open(&self) -> u64 {
        self.open.load(Ordering::SeqCst).max(0).cast_unsigned()
    }

    /// The transactions told so far of one database of a peer.
    pub(super) fn transactions_of(&self, peer: u32, era: u32) -> Vec<Number> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = told.iter().filter_map(|told| match told {
            Told::Transaction(of) if of.op.host == peer && of.era == era => Some(of.number()),
            _ => None,
        });
        numbers.collect()
    }

    /// Everything told so far.
    pub(super) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Place {
    /// A peer that is not there yet.
    pub(super) fn new(node: NodeId, database: Database) -> Self {
        Self {
            node: Mutex::new(node),
            database,
            is_up: AtomicBool::new(false),
            life: AtomicU32::new(0),
            era: AtomicU32::new(0),
            door: AtomicU32::new(0),
            gate: RwLock::new(()),
            clock_us_max: AtomicU64::new(0),
        }
    }

    /// Whose name it has.
    pub(super) fn node(&self) -> NodeId {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has another name from now on.
    pub(super) fn rename(&self, node: NodeId) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }

    /// Its clock has shown this.
    pub(super) fn shows(&self, clock_us: u64) -> u64 {
        self.clock_us_max.fetch_max(clock_us, Ordering::SeqCst).max(clock_us)
    }
}
