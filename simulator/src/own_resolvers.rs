//! Resolvers that scenarios name under `policy: { custom: NAME }`: those of the examples, and a team's own.
//!
//! They are not held to the laws here: a scenario may show what a wrong one comes to.

#[path = "../../sync-core/examples/resolvers/best_score.rs"]
pub mod best_score;
#[path = "../../sync-core/examples/resolvers/later_or_dearer.rs"]
pub mod later_or_dearer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sync_core::peer_sync::resolver::{Resolver, Resolvers};
use sync_core::peer_sync::schema::Schema;

/// Resolvers by their names. Cheap to clone.
#[derive(Clone)]
pub struct OwnResolvers(BTreeMap<String, Arc<dyn Resolver>>);

impl OwnResolvers {
    /// Adds a resolver, or replaces the one of this name.
    #[must_use]
    pub fn with(mut self, name: &str, resolver: impl Resolver + 'static) -> Self {
        self.0.insert(name.to_owned(), Arc::new(resolver));
        self
    }

    /// Whether there is one of this name.
    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Their names, ascending.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The resolver of each table. One whose resolver is not among these takes no writes.
    pub fn of(&self, schema: &Schema) -> Resolvers {
        Resolvers::untried(schema, &self.0)
    }
}

/// Those of the examples: `example-correct`, `example-wrong`, `example-repaired`.
impl Default for OwnResolvers {
    fn default() -> Self {
        Self(BTreeMap::new())
            .with("example-correct", best_score::BestScore)
            .with("example-wrong", later_or_dearer::later_or_dearer)
            .with("example-repaired", later_or_dearer::later_or_dearer_repaired)
    }
}

impl fmt::Debug for OwnResolvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
