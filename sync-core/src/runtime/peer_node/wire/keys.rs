//! The shared key in use: proves what is sent, and believes what is received once and only while it is fresh.

use std::sync::{Arc, Mutex, PoisonError};

use crate::limits;
use crate::peer_sync::announcement::Announcement;
use crate::peer_sync::authentication::{Nonce, Proof, ReplayGuard, Request, SharedKey, Signature};
use crate::runtime::wall_clock;

/// Cheap to clone; clones remember together what they have seen.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    key: Option<SharedKey>,
    seen: Arc<Mutex<ReplayGuard>>,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No key is set: anybody.
    Anybody,
    /// Somebody who holds the key; the answer is signed for this request.
    Peer(Nonce),
    /// Somebody who holds the key and shows its token.
    Operator,
}

impl Keys {
    pub(crate) fn new(key: Option<SharedKey>) -> Self {
        let guard = ReplayGuard::new(limits::PEER_FRESHNESS_WINDOW, limits::PEER_REQUESTS_REMEMBERED_MAX);
        Self { key, seen: Arc::new(Mutex::new(guard)) }
    }

    /// Whether there is a key.
    pub(crate) fn is_set(&self) -> bool {
        self.key.is_some()
    }

    /// Proves a request; none without a key.
    pub(crate) fn prove(&self, request: &Request<'_>) -> Option<Proof> {
        Some(self.key.as_ref()?.prove(request, wall_clock(), nonce()))
    }

    /// Who sends this, if it may be answered. Without a key everybody may.
    pub(crate) fn caller(&self, authorization: Option<&str>, request: &Request<'_>) -> Option<Caller> {
        let Some(key) = &self.key else { return Some(Caller::Anybody) };
        let authorization = authorization?;
        if let Some(token) = authorization.strip_prefix("Bearer ") {
            return key.verifies_token(token.trim()).then_some(Caller::Operator);
        }
        let proof: Proof = authorization.parse().ok()?;
        // Only what is authentic is remembered.
        (key.verifies(request, &proof) && self.is_fresh(&proof)).then_some(Caller::Peer(proof.nonce))
    }

    /// Signs an answer, for those who can check it.
    pub(crate) fn sign(&self, caller: Caller, status: u16, body: &[u8]) -> Option<Signature> {
        match (&self.key, caller) {
            (Some(key), Caller::Peer(nonce)) => Some(key.sign_answer(nonce, status, body)),
            _ => None,
        }
    }

    /// Whether an answer is to be believed. Without a key each is.
    pub(crate) fn believes(
        &self,
        proof: Option<Proof>,
        status: u16,
        body: &[u8],
        signature: Option<&str>,
    ) -> bool {
        match (&self.key, proof) {
            (Some(key), Some(proof)) => signature
                .and_then(|signature| signature.parse().ok())
                .is_some_and(|signature| key.verifies_answer(proof.nonce, status, body, signature)),
            _ => true,
        }
    }

    /// Proves an announcement; none without a key.
    pub(crate) fn prove_announcement(&self, announcement: &Announcement) -> Option<Proof> {
        Some(self.key.as_ref()?.prove_announcement(announcement, wall_clock(), nonce()))
    }

    /// Whether an announcement is to be heeded. Without a key each is.
    pub(crate) fn heeds(&self, announcement: &Announcement, proof: Option<&Proof>) -> bool {
        let Some(key) = &self.key else { return true };
        proof.is_some_and(|proof| key.verifies_announcement(announcement, proof) && self.is_fresh(proof))
    }

    fn is_fresh(&self, proof: &Proof) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.admit(wall_clock(), proof.at, proof.nonce).is_ok()
    }
}

/// A nonce of the system's generator.
///
/// # Panics
/// When the system gives no random bytes: a nonce that comes again would let a request be taken for an older one.
fn nonce() -> Nonce {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    Nonce(u128::from_be_bytes(bytes))
}
