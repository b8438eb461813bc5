//! Looks for the world's secrets in what its hosts, its links and its database get to see.

use std::collections::BTreeMap;

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
        let demanded = plan.world.expect.properties.iter().any(|id| id == "P25");
        let canaries = demanded.then(|| canaries(plan, keys))?;
        Some(Box::new(Self { canaries, texts: BTreeMap::new() }))
    }
}

/// The secrets of a plan's world: the master keys, and the keys of its first hosts.
pub(crate) fn canaries(plan: &Plan, keys: &WorldKeys) -> Canaries {
    let masters = keys.server();
    let masters = masters.keys().map(|key| ("master key", key.to_text()));
    let hosts = (0..plan.world.topology.hosts.min(HOSTS_SOUGHT_MAX)).flat_map(|host| {
        let ring = keys.host(account(host));
        ring.keys().map(|key| ("key of a host", key.to_text())).collect::<Vec<_>>()
    });
    Canaries::new(masters.chain(hosts)).expect("a bounded number of keys")
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

    /// Looks through a text, if there is anything to look for.
    pub(super) fn search(&mut self, place: &'static str, op: Option<OpRef>, text: &[u8]) {
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
        let texts = self.search.take().map(|search| search.texts).unwrap_or_default();
        for (place, texts) in texts {
            self.observe(What::CanariesSought { place: place.to_owned(), texts });
        }
    }
}
