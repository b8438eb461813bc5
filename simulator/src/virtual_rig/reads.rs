//! What becomes of reads at the main servers, reported as events where a check asks for them.

use rustc_hash::FxHashMap;
use sync_core::cache::{CacheKey, CacheReply, CacheRequest};
use sync_core::id::Token;
use sync_core::store::{StateKey, StoreReply, StoreRequest};

use super::clock::NodeClock;
use super::services::About;
use super::variant::Variant;
use super::world::{Observer, World};
use crate::history::{ReadStage, StateName, What};

/// Requests under way that reads and writes of states wait for; empty unless they are reported.
#[derive(Debug, Default)]
pub(super) struct ReadWatch {
    is_on: bool,
    /// By the life of the main server that asked.
    loads: FxHashMap<(u32, Token), StateKey>,
    looks: FxHashMap<(u32, Token), StateKey>,
    writes: FxHashMap<(u32, Token), Vec<StateKey>>,
}

impl ReadWatch {
    /// On when one of the properties demanded is judged by reads.
    pub(super) fn new(demanded: &[String]) -> Self {
        Self { is_on: demanded.iter().any(|id| id == "P23" || id == "P24"), ..Self::default() }
    }

    /// What a main server has under way is forgotten with it.
    pub(super) fn forget(&mut self, life: u32) {
        self.loads.retain(|(other, _), _| *other != life);
        self.looks.retain(|(other, _), _| *other != life);
        self.writes.retain(|(other, _), _| *other != life);
    }
}

impl<V: Variant, O: Observer> World<V, O> {
    /// A main server asks the database.
    pub(super) fn watch_store(&mut self, life: u32, token: Token, request: &StoreRequest) {
        if !self.read_watch.is_on {
            return;
        }
        match request {
            StoreRequest::Load(key) => {
                self.read_watch.loads.insert((life, token), key.clone());
            }
            StoreRequest::ApplyBatch(operations) => {
                let keys = operations.iter().filter_map(|operation| operation.state_key());
                self.read_watch.writes.insert((life, token), keys.collect());
            }
            _ => {}
        }
    }

    /// A main server is about to learn what the database says, or that it says nothing.
    pub(super) fn watch_stored(&mut self, at: usize, life: u32, token: Token, answer: Option<&StoreReply>) {
        if !self.read_watch.is_on {
            return;
        }
        if let Some(key) = self.read_watch.loads.remove(&(life, token)) {
            let version = match answer {
                Some(StoreReply::Loaded(Some(row))) => Some(row.version),
                _ => None,
            };
            let now = NodeClock::default().now(self.queue.now_us()).wall;
            if let (None, Some(request)) = (answer, self.variant.failure_kept(now, &key)) {
                self.cache.put(now, &request);
            }
            let key = self.variant.meant(key);
            self.observe_read(at, key, self.serving, ReadStage::Loaded { version });
        }
        let written = self.read_watch.writes.remove(&(life, token)).unwrap_or_default();
        if answer.is_some() {
            for key in written {
                self.observe(What::WriteAnswered { server: at as u32, key: StateName(key) });
            }
        }
    }

    /// A main server asks the cache: so a read of a state begins.
    pub(super) fn watch_cache(&mut self, at: usize, life: u32, token: Option<Token>, request: &CacheRequest) {
        if let (true, Some(token), CacheRequest::Get(CacheKey::State(key))) =
            (self.read_watch.is_on, token, request)
        {
            let key = self.variant.meant(key.clone());
            self.read_watch.looks.insert((life, token), key.clone());
            self.observe_read(at, key, self.serving, ReadStage::Began);
        }
    }

    /// The cache does what it was asked for.
    pub(super) fn watch_cache_run(&mut self, life: u32, token: Option<Token>, reply: &CacheReply) {
        let (true, Some(token), CacheReply::Value(Some(value))) = (self.read_watch.is_on, token, reply)
        else {
            return;
        };
        let at = life as usize % self.servers.len();
        if let Some(key) = self.read_watch.looks.get(&(life, token)).cloned() {
            let about = self.servers[at].about_read(token);
            self.observe_read(at, key, about, ReadStage::Cached { version: value.version });
        }
    }

    /// A main server is about to learn what the cache says.
    pub(super) fn watch_cached(&mut self, at: usize, life: u32, token: Token, answer: Option<&CacheReply>) {
        if !self.read_watch.is_on {
            return;
        }
        if let Some(key) = self.read_watch.looks.remove(&(life, token))
            && matches!(answer, Some(CacheReply::Value(Some(_))))
        {
            self.observe_read(at, key, self.serving, ReadStage::Served);
        }
    }

    fn observe_read(&mut self, at: usize, key: StateKey, about: About, stage: ReadStage) {
        let (op, attempt) = about.op();
        self.observe(What::Read { server: at as u32, key: StateName(key), op, attempt, stage });
    }
}
