//! Looks for the world's secrets in what its hosts, its links and its database get to see.

use std::collections::BTreeMap;

use sync_core::secret::Secret;
use sync_core::store::Content;

use super::host::account;
use super::variant::{Message, Variant, WorldKeys};
use super::world::{Observer, World};
use crate::canaries::Canaries;
use crate::history::{OpRef, What};
use crate::plan::Plan;

/// What is looked for, and how many texts were looked through at each place.
pub(super) struct Search {
    canaries: Canaries,
    texts: BTreeMap<&'static str, u64>,
}

impl Search {
    /// None unless the plan demands it.
    pub(super) fn new(plan: &Plan, keys: &WorldKeys) -> Option<Box<Self>> {
        let canaries = is_demanded(plan).then(|| canaries(plan, keys, &[]))?;
        Some(Box::new(Self { canaries, texts: BTreeMap::new() }))
    }
}

/// A secret of whoever drives a world, by a name that may be shown.
pub(crate) type Named = (&'static str, Secret<String>);

/// Whether secrets are looked for.
pub(crate) fn is_demanded(plan: &Plan) -> bool {
    plan.world.expect.properties.iter().any(|id| id == "P25")
}

/// The secrets of a plan's world: the master keys, the keys of its first hosts, and these others.
pub(crate) fn canaries(plan: &Plan, keys: &WorldKeys, others: &[Named]) -> Canaries {
    let masters = keys.server();
    let masters = masters.keys().map(|key| ("master key", key.to_text()));
    let hosts = (0..plan.world.topology.hosts.min(HOSTS_SOUGHT_MAX)).flat_map(|host| {
        let ring = keys.host(account(host));
        ring.keys().map(|key| ("key of a host", key.to_text())).collect::<Vec<_>>()
    });
    let others = others.iter().cloned();
    Canaries::new(masters.chain(hosts).chain(others)).expect("a bounded number of keys")
}

/// Hosts whose keys are looked for: each is a few patterns.
const HOSTS_SOUGHT_MAX: u32 = 1_000;

impl<V: Variant, O: Observer> World<V, O> {
    /// Looks through a message.
    pub(super) fn search_message(&mut self, place: &'static str, op: OpRef, message: &impl Message) {
        if self.search.is_some() {
            message.texts(|text| self.search(place, Some(op), text));
        }
    }

    /// Looks for these secrets as well, if secrets are looked for.
    pub(crate) fn seek(&mut self, plan: &Plan, others: &[Named]) {
        if let Some(search) = &mut self.search {
            search.canaries = canaries(plan, &self.keys, others);
        }
    }

    /// Looks through a text, if there is anything to look for.
    pub(crate) fn search(&mut self, place: &'static str, op: Option<OpRef>, text: &[u8]) {
        let Some(search) = &mut self.search else { return };
        *search.texts.entry(place).or_default() += 1;
        if let Some(secret) = search.canaries.seen_in(text).map(str::to_owned) {
            self.observe(What::CanarySeen { place: place.to_owned(), secret, op });
        }
    }

    /// Looks through the rows, and says how much was looked through.
    pub(super) fn conclude_search(&mut self, content: &Content) {
        if self.search.is_none() {
            return;
        }
        for (key, row) in &content.states {
            self.search("row", None, format!("{key} {row:?}").as_bytes());
        }
        for (id, row) in &content.embeddings {
            self.search("row", None, format!("{id:?} {:?}", row.metadata).as_bytes());
        }
        let texts = self.search.take().map(|search| search.texts).unwrap_or_default();
        for (place, texts) in texts {
            self.observe(What::CanariesSought { place: place.to_owned(), texts });
        }
    }
}
