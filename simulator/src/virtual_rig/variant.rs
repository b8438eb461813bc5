//! What one world is made of: the codec of its frames and the policy of its sessions.
//!
//! A world is compiled once for sealed frames, once for modelled ones, and once for all planted
//! defects together, which are chosen at run time.

use sync_core::cache::CacheRequest;
use sync_core::embedding::{EmbedError, Vector, reply};
use sync_core::envelope::{HostRing, InvalidRing, KeyId, KeyUse, MasterKey, MasterRing};
use sync_core::host_sync::codec::{HostCodec, ServerCodec};
use sync_core::host_sync::policy::{SessionPolicy, Standard};
use sync_core::host_sync::sealed::{Body, SealedHost, SealedServer};
use sync_core::id::AccountId;
use sync_core::limits;
use sync_core::recording::frame::Frame;
use sync_core::secret::Secret;
use sync_core::store::{StateKey, StoreRequest};
use sync_core::time::{Span, Timestamp};

use super::modelled::{ModelledHost, ModelledReply, ModelledRequest, ModelledServer};
use super::rotation::SealMark;
use super::tamper;
use crate::draw::{Draws, Label};
use crate::scenario::model::Tamper;

/// A message on its way through the simulated network.
pub trait Message: Clone + Frame {
    /// Size of the HTTP body.
    fn bytes(&self) -> u64;
    /// Does this to it, at a place that the draw chooses; `other` is an earlier message of the same way that
    /// belongs to another operation. Says whether anything was done.
    fn tamper(&mut self, how: Tamper, draw: u64, other: Option<&Self>) -> bool;
    /// What stands in clear in its frame, if it has one.
    fn mark(&self) -> Option<SealMark>;
    /// Shows every text that can be read in it without a key; none where there is no cipher.
    fn texts(&self, show: impl FnMut(&[u8]));
}

/// The parts of a world that differ between worlds.
pub trait Variant {
    /// A request on its way.
    type Request: Message;
    /// A reply on its way.
    type Reply: Message;
    /// A host's end.
    type HostCodec: HostCodec<Request = Self::Request, Reply = Self::Reply>;
    /// The main server's end.
    type ServerCodec: ServerCodec<Request = Self::Request, Reply = Self::Reply>;
    /// How sessions decide.
    type Policy: SessionPolicy;
    /// Whether keys are used.
    const SEALED: bool = true;

    /// A host's end with the key of this account.
    fn host_codec(&self, keys: &WorldKeys, account: AccountId) -> Self::HostCodec;
    /// The main server's end.
    fn server_codec(&self, keys: &WorldKeys) -> Self::ServerCodec;
    /// How sessions decide.
    fn policy(&self) -> Self::Policy;

    /// For how long the database answers before what it answered is durable; `None` as it should be.
    fn durability_lag_us(&self) -> Option<u64> {
        None
    }

    /// What the database carries out in place of a request; `None` as it should be. Transactions count from 1.
    fn carried_out(&self, _request: &StoreRequest, _transaction: u64) -> Option<StoreRequest> {
        None
    }

    /// What the cache carries out in place of a request at this moment of its own; the lifetime of what it holds
    /// is `expiry` in full. `None` as it should be.
    fn cache_carries_out(
        &self,
        _now: Timestamp,
        _expiry: Option<Span>,
        _request: &CacheRequest,
    ) -> Option<Vec<CacheRequest>> {
        None
    }

    /// Whether what a cache was not told while it was away is forgotten.
    fn forgets_missed(&self) -> bool {
        false
    }

    /// Whether a main server whose notifications were cut is told that it may have missed some; yes as it should be.
    fn tells_of_gaps(&self) -> bool {
        true
    }

    /// What the cache is told of a load that failed; `None` as it should be.
    fn failure_kept(&self, _now: Timestamp, _key: &StateKey) -> Option<CacheRequest> {
        None
    }

    /// The state that a main server means by this one: itself as it should be.
    fn meant(&self, key: StateKey) -> StateKey {
        key
    }

    /// Whether a host that comes back asks again for what it was asked for last before it died.
    fn replays_after_restart(&self) -> bool {
        false
    }

    /// Reads an embedding provider's answer for so many texts.
    fn read_vectors(&self, body: &[u8], asked: usize) -> Result<Vec<Vector>, EmbedError> {
        Ok(reply::read(body, asked)?)
    }

    /// At how many operations under way at a host the generator holds back arrivals, unreported;
    /// `None` as it should be.
    fn generator_holds_back_at(&self) -> Option<usize> {
        None
    }

    /// Whether the database refuses writes of former hosts of a map; yes as it should be.
    fn fences(&self) -> bool {
        true
    }

    /// Whether the main server has the rules that the scenario gives it; yes as it should be.
    fn has_rules(&self) -> bool {
        true
    }
}

/// The keys of a world, derived from its seed: recordings and reports need none.
#[derive(Debug)]
pub struct WorldKeys {
    /// Each takes the place of the one before.
    masters: Vec<MasterKey>,
}

impl WorldKeys {
    /// The keys of the world with these draws.
    pub fn new(draws: Draws) -> Self {
        Self::rotating(draws, 0)
    }

    /// The same for a world whose keys are replaced so many times, at most [`limits::KEYS_ACCEPTED_MAX`].
    pub fn rotating(draws: Draws, rotations: usize) -> Self {
        let masters = (0..=rotations.min(limits::KEYS_ACCEPTED_MAX)).map(|number| {
            let mut secret = [0; 32];
            for (word, ordinal) in secret.chunks_exact_mut(8).zip(0..) {
                word.copy_from_slice(&draws.bits(Label::Key, number as u64, ordinal).to_le_bytes());
            }
            MasterKey::new(key_id(number), Secret::new(secret))
        });
        Self { masters: masters.collect() }
    }

    /// The name of the key that is in use after so many rotations.
    pub fn id(&self, rotations: usize) -> KeyId {
        self.masters[rotations.min(self.masters.len() - 1)].id()
    }

    /// Which keys are in use before any rotation.
    pub fn first_use() -> KeyUse {
        KeyUse { seals: key_id(0), opens: Vec::new() }
    }

    /// A host's key ring: the first key is in use.
    pub fn host(&self, account: AccountId) -> HostRing {
        let mut keys = self.masters.iter().map(|master| master.host_key(account));
        let first = keys.next().expect("there is a key");
        let ring: Result<_, InvalidRing> = HostRing::new(first, keys.collect());
        let mut ring = ring.expect("keys with names of their own are a ring");
        ring.use_keys(&Self::first_use());
        ring
    }

    /// The main server's key ring: the first key is in use.
    pub fn server(&self) -> MasterRing {
        let (first, later) = self.masters.split_first().expect("there is a key");
        let ring = MasterRing::new(first.clone(), later.to_vec());
        let mut ring = ring.expect("keys with names of their own are a ring");
        ring.use_keys(&Self::first_use());
        ring
    }
}

fn key_id(number: usize) -> KeyId {
    let text = if number == 0 { "world".to_owned() } else { format!("world-{number}") };
    text.parse().expect("a valid key id")
}

/// Frames as in production.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealed;

impl Variant for Sealed {
    type Request = Body;
    type Reply = Body;
    type HostCodec = SealedHost;
    type ServerCodec = SealedServer;
    type Policy = Standard;

    fn host_codec(&self, keys: &WorldKeys, account: AccountId) -> SealedHost {
        SealedHost::new(keys.host(account))
    }

    fn server_codec(&self, keys: &WorldKeys) -> SealedServer {
        SealedServer::new(keys.server())
    }

    fn policy(&self) -> Standard {
        Standard
    }
}

/// Frames of the same size without a cipher.
#[derive(Clone, Copy, Debug, Default)]
pub struct Modelled;

impl Variant for Modelled {
    type Request = ModelledRequest;
    type Reply = ModelledReply;
    type HostCodec = ModelledHost;
    type ServerCodec = ModelledServer;
    type Policy = Standard;
    const SEALED: bool = false;

    fn host_codec(&self, _: &WorldKeys, _: AccountId) -> ModelledHost {
        ModelledHost
    }

    fn server_codec(&self, _: &WorldKeys) -> ModelledServer {
        ModelledServer
    }

    fn policy(&self) -> Standard {
        Standard
    }
}

impl Message for Body {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn tamper(&mut self, how: Tamper, draw: u64, other: Option<&Self>) -> bool {
        tamper::body(self, how, draw, other)
    }

    fn mark(&self) -> Option<SealMark> {
        tamper::mark(self)
    }

    fn texts(&self, mut show: impl FnMut(&[u8])) {
        show(self);
        if let Some(frame) = tamper::frame(self) {
            show(&frame);
        }
    }
}
