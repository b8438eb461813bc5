//! References and natural keys that stall, lose or tear apart.

use sync_core::peer_sync::row::{RowId, RowVersion};
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{Outcome, PeerReply, PeerRequest};
use sync_core::time::Timestamp;

use super::batches::merge_but;
use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    let rule = match number {
        35 => Rule::CollisionStalls,
        66 => Rule::SetsAsideOnEachSide,
        67 => Rule::PairByPair,
        144 => return Some(Box::new(Ignored::References)),
        145 => return Some(Box::new(Ignored::NaturalKeys)),
        _ => return None,
    };
    Some(Box::new(rule))
}

/// What no database knows of the tables, so that all agree.
enum Ignored {
    /// Zoo 144: children of deleted parents stay, and nobody comes back.
    References,
    /// Zoo 145: all rows with one natural key show.
    NaturalKeys,
}

impl PeerVariant for Ignored {
    type Policy = AnyPolicy;

    fn schema(&self, declared: &Schema) -> Schema {
        let tables = declared.tables().cloned().map(|mut table| {
            match self {
                Self::References => table.references.clear(),
                Self::NaturalKeys => table.unique.clear(),
            }
            table
        });
        // Less is said of what is right already.
        Schema::new(tables).unwrap_or_else(|_| declared.clone())
    }
}

enum Rule {
    /// Zoo 35: a row with a natural key that is taken makes the whole batch fail, now and whenever it comes again.
    CollisionStalls,
    /// Zoo 66: a delete of a row that is referred to is set aside, and so is a row that refers to a deleted one; each
    /// side does so for itself.
    SetsAsideOnEachSide,
    /// Zoo 67: of two rows with one natural key the lesser is thrown away when it comes, as if it had never been.
    PairByPair,
}

impl PeerVariant for Rule {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        let PeerRequest::Merge(merge) = request else { return store.execute(now, request) };
        match self {
            Self::CollisionStalls if merge.rows.iter().any(|row| holder(store, row).is_some()) => {
                PeerReply::Unavailable
            }
            Self::CollisionStalls => store.execute(now, PeerRequest::Merge(merge)),
            Self::SetsAsideOnEachSide => {
                merge_but(store, now, merge, |store, row| hangs(store, row).then_some(Outcome::Inserted))
            }
            Self::PairByPair => merge_but(store, now, merge, |store, row| {
                let holder = store.stored(&holder(store, row)?)?;
                (holder.version > row.version).then_some(Outcome::Inserted)
            }),
        }
    }
}

/// The rows that a living row refers to.
pub(super) fn parents(schema: &Schema, row: &RowVersion) -> Vec<RowId> {
    let Some((table, content)) = schema.table(&row.row.table).zip(row.image.row()) else { return Vec::new() };
    let parent = |(columns, table_of): (&[String], _)| {
        Some(RowId { table: table_of, key: table.pick(columns, content)? })
    };
    let references = table.references.iter();
    references.filter_map(|reference| parent((&reference.columns, reference.table.clone()))).collect()
}

/// Whether a row refers to a deleted one, or is a delete of one that is referred to.
fn hangs(store: &MemoryPeerStore, row: &RowVersion) -> bool {
    if row.image.is_tombstone() {
        let versions = store.versions();
        return versions.iter().any(|(held, _)| parents(store.schema(), held).contains(&row.row));
    }
    let deleted = |parent: &RowId| store.stored(parent).is_some_and(|held| held.image.is_tombstone());
    parents(store.schema(), row).iter().any(deleted)
}

/// Another visible row that has one of a living row's natural keys.
fn holder(store: &MemoryPeerStore, row: &RowVersion) -> Option<RowId> {
    let (table, content) = store.schema().table(&row.row.table).zip(row.image.row())?;
    table.unique.iter().find_map(|columns| {
        let key = table.pick(columns, content)?;
        let rows = store.rows(&row.row.table);
        let same = |content| table.pick(columns, content).as_ref() == Some(&key);
        rows.into_iter().find(|(id, content)| **id != row.row && same(content)).map(|(id, _)| id.clone())
    })
}
