//! What a world of peers is built with, and what a planted defect changes: the replica's policy, what its database is
//! asked and answers, and what travels.

use sync_core::peer_sync::message::{PeerAnswer, PeerQuestion};
use sync_core::peer_sync::replica::{ReplicaPolicy, Standard};
use sync_core::peer_sync::store::memory::Write;
use sync_core::peer_sync::store::{PeerReply, PeerRequest};
use sync_core::time::Timestamp;

/// One world of peers. Hooks see one peer's traffic; peers count from 0.
pub trait PeerVariant {
    /// The replicas' decisions.
    type Policy: ReplicaPolicy;

    /// The policy of one peer.
    fn policy(&self, peer: u32) -> Self::Policy;

    /// What a database is about to be asked.
    fn asks_store(&mut self, _peer: u32, _request: &mut PeerRequest) {}

    /// What a database has answered.
    fn store_answers(&mut self, _peer: u32, _request: &PeerRequest, _reply: &mut PeerReply) {}

    /// What one peer asks another.
    fn sends(&mut self, _from: u32, _to: u32, _question: &mut PeerQuestion) {}

    /// What one peer answers another.
    fn answers(&mut self, _from: u32, _to: u32, _answer: &mut PeerAnswer) {}

    /// The moment that a database takes for the present.
    fn database_clock(&self, _peer: u32, now: Timestamp) -> Timestamp {
        now
    }

    /// What an application's statement becomes.
    fn writes(&mut self, _peer: u32, _write: &mut Write) {}

    /// How far beyond its clock a database accepts stamps, given what the scenario says, in microseconds.
    fn stamp_ahead_us_max(&self, configured: u64) -> u64 {
        configured
    }
}

/// The core as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Healthy;

impl PeerVariant for Healthy {
    type Policy = Standard;

    fn policy(&self, _peer: u32) -> Standard {
        Standard
    }
}
