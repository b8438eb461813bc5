//! What a world of peers is built with, and what a planted defect changes: the replica's policy, what its database is
//! asked, does and answers, and what travels.

use sync_core::peer_sync::message::PeerAnswer;
use sync_core::peer_sync::replica::{ReplicaPolicy, Standard};
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::store::memory::{MemoryPeerStore, TransactionId, Write, WriteError};
use sync_core::peer_sync::store::{PeerReply, PeerRequest};
use sync_core::peer_sync::version::Version;
use sync_core::time::Timestamp;

/// One world of peers. Hooks see one peer's traffic; peers count from 0.
pub trait PeerVariant {
    /// The replicas' decisions.
    type Policy: ReplicaPolicy + Default;

    /// The policy of one peer.
    fn policy(&self, _peer: u32) -> Self::Policy {
        Self::Policy::default()
    }

    /// What databases are told of the tables, given what the scenario says.
    fn schema(&self, declared: &Schema) -> Schema {
        declared.clone()
    }

    /// What a database is about to be asked.
    fn asks_store(&mut self, _peer: u32, _request: &mut PeerRequest) {}

    /// A database carries a request out. The history is told of the request and of this reply.
    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        store.execute(now, request)
    }

    /// What the replica is told that its database has answered.
    fn store_answers(&mut self, _peer: u32, _request: &PeerRequest, _reply: &mut PeerReply) {}

    /// What one peer, which has this database, answers another.
    fn answers(&mut self, _from: u32, _to: u32, _store: &MemoryPeerStore, _answer: &mut PeerAnswer) {}

    /// What a peer makes of an answer in a version of the protocol that it does not know.
    fn misreads(&mut self, _answer: &mut PeerAnswer) {}

    /// A database carries out an application's statement; the history is told of `now` as its moment.
    ///
    /// # Errors
    /// As [`MemoryPeerStore::write`].
    fn writes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        store.write(transaction, now, write)
    }

    /// The database that an application's read is served from, at a moment of the world in microseconds.
    fn reads<'a>(&'a mut self, _peer: u32, _at_us: u64, store: &'a MemoryPeerStore) -> &'a MemoryPeerStore {
        store
    }

    /// Whether what arrives while its session has a transaction under way is left out, without a word.
    fn sessions_hold_back(&self) -> bool {
        false
    }

    /// How far beyond its clock a database accepts stamps, given what the scenario says, in microseconds.
    fn stamp_ahead_us_max(&self, configured: u64) -> u64 {
        configured
    }
}

/// A variant that is chosen at run time.
pub type AnyVariant = Box<dyn PeerVariant<Policy = AnyPolicy>>;

/// Its replicas' decisions.
pub type AnyPolicy = Box<dyn ReplicaPolicy>;

impl PeerVariant for AnyVariant {
    type Policy = AnyPolicy;

    fn policy(&self, peer: u32) -> AnyPolicy {
        (**self).policy(peer)
    }

    fn schema(&self, declared: &Schema) -> Schema {
        (**self).schema(declared)
    }

    fn asks_store(&mut self, peer: u32, request: &mut PeerRequest) {
        (**self).asks_store(peer, request);
    }

    fn executes(
        &mut self,
        peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        (**self).executes(peer, store, now, request)
    }

    fn store_answers(&mut self, peer: u32, request: &PeerRequest, reply: &mut PeerReply) {
        (**self).store_answers(peer, request, reply);
    }

    fn answers(&mut self, from: u32, to: u32, store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        (**self).answers(from, to, store, answer);
    }

    fn misreads(&mut self, answer: &mut PeerAnswer) {
        (**self).misreads(answer);
    }

    fn writes(
        &mut self,
        peer: u32,
        store: &mut MemoryPeerStore,
        transaction: TransactionId,
        now: Timestamp,
        write: Write,
    ) -> Result<Option<Version>, WriteError> {
        (**self).writes(peer, store, transaction, now, write)
    }

    fn reads<'a>(&'a mut self, peer: u32, at_us: u64, store: &'a MemoryPeerStore) -> &'a MemoryPeerStore {
        (**self).reads(peer, at_us, store)
    }

    fn sessions_hold_back(&self) -> bool {
        (**self).sessions_hold_back()
    }

    fn stamp_ahead_us_max(&self, configured: u64) -> u64 {
        (**self).stamp_ahead_us_max(configured)
    }
}

/// The core as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Healthy;

impl PeerVariant for Healthy {
    type Policy = Standard;
}
