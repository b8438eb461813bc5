//! Values by an id, shared by copies of a database until they change.

use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;

/// Looked up only, never iterated: its order is nobody's. The id lies beside its value, so that a copy has no more than
/// a pointer for each.
#[derive(Clone, Debug)]
pub(super) struct ById<I, V>(HashTable<Arc<(I, V)>>);

impl<I, V> Default for ById<I, V> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<I: Clone + Eq + Hash, V: Clone> ById<I, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, id: &I) -> Option<&V> {
        self.0.find(hash(id), |held| held.0 == *id).map(|held| &held.1)
    }

    pub(super) fn get_mut(&mut self, id: &I) -> Option<&mut V> {
        self.get_mut_if(id, |_| true)
    }

    /// What is not changed stays shared.
    pub(super) fn get_mut_if(&mut self, id: &I, changes: impl Fn(&V) -> bool) -> Option<&mut V> {
        let held = self.0.find_mut(hash(id), |held| held.0 == *id)?;
        changes(&held.1).then(|| &mut Arc::make_mut(held).1)
    }

    /// The value of an id, which is this if there is none yet.
    pub(super) fn entry(&mut self, id: &I, new: impl FnOnce() -> V) -> &mut V {
        let held = match self.0.entry(hash(id), |held| held.0 == *id, |held| hash(&held.0)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Arc::new((id.clone(), new()))).into_mut(),
        };
        &mut Arc::make_mut(held).1
    }

    pub(super) fn insert(&mut self, id: I, value: V) {
        match self.0.entry(hash(&id), |held| held.0 == id, |held| hash(&held.0)) {
            Entry::Occupied(mut entry) => *entry.get_mut() = Arc::new((id, value)),
            Entry::Vacant(entry) => {
                entry.insert(Arc::new((id, value)));
            }
        }
    }

    pub(super) fn remove(&mut self, id: &I) -> Option<V> {
        let entry = self.0.find_entry(hash(id), |held| held.0 == *id).ok()?;
        Some(Arc::unwrap_or_clone(entry.remove().0).1)
    }
}

fn hash(id: &impl Hash) -> u64 {
    FxBuildHasher.hash_one(id)
}
