//! What must hold between rows, as a function of the set of stored versions: the order in which they came
//! plays no part, so peers with the same versions show the same rows (P1).
//!
//! 1. Children before parents. A row is *wanted* if it lives, or if it is a tombstone with content that a wanted row
//!    demands back: by [`OnDeleted::Revive`], or by [`OnDeleted::Restrict`] if it is older than the deletion.
//! 2. Parents before children. A wanted row is *visible* if every row that it refers to is, and if no visible row of the
//!    table with a greater version has one of its natural keys. Where versions are equal the row's name decides.
//!
//! A table that refers to itself: in the first step the least set counts (tombstones in a circle do not
//! revive each other); in the second natural keys are decided first, and then whatever hangs on an
//! invisible row falls with it (rows in a circle, or that refer to themselves, hang on nothing).
//!
//! Rows that are not visible are kept and set aside, and stand again as soon as the set of versions says so.
//! [`standings`] computes all of it; [`Constraints`] keeps it up to date at a cost that follows what changes.

mod by_id;
mod demand;
mod incremental;
mod pure;
mod rules;
mod support;

use crate::peer_sync::row::{Image, RowId};
use crate::peer_sync::schema::OnDeleted;
use crate::peer_sync::store::Standing;
use crate::peer_sync::version::Version;

pub use incremental::{Change, Constraints};
pub use pure::{is_demanded, standings};
use rules::{TableRules, Ties};

/// How a row that another one refers to stands, as far as that matters to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Visible,
    /// A tombstone that nobody demands back.
    Deleted,
    /// Wanted and set aside.
    Hidden,
    Absent,
}

/// Whether a wanted row demands a deleted one back.
fn demands(on_deleted: OnDeleted, child: &Version, parent: &Version) -> bool {
    match on_deleted {
        OnDeleted::Revive => true,
        OnDeleted::Restrict => child < parent,
        OnDeleted::Cascade => false,
    }
}

/// Whether a row that is deleted could be had back.
fn can_return(image: &Image) -> bool {
    matches!(image, Image::Tombstone(Some(_)))
}

/// How a row stands, given how those stand that it depends on.
fn standing_of(
    tombstone: bool,
    wanted: bool,
    table: &TableRules,
    ties: &Ties,
    beaten_by: Option<&RowId>,
    parent: impl Fn(&RowId) -> Parent,
) -> Standing {
    if !wanted {
        return Standing::Deleted;
    }
    let lost = |own: bool| {
        let mut references = table.references.iter().zip(&ties.parents).filter(|(rule, _)| rule.own == own);
        references.find_map(|(rule, id)| {
            let id = id.as_ref()?;
            match parent(id) {
                Parent::Visible => None,
                Parent::Deleted if rule.on_deleted == OnDeleted::Cascade => {
                    Some(Standing::Cascaded { parent: id.clone() })
                }
                Parent::Deleted | Parent::Hidden | Parent::Absent => {
                    Some(Standing::Orphaned { parent: id.clone() })
                }
            }
        })
    };
    let beaten = || beaten_by.map(|winner| Standing::NaturalKey { winner: winner.clone() });
    let stands = if tombstone { Standing::Revived } else { Standing::Visible };
    lost(false).or_else(beaten).or_else(|| lost(true)).unwrap_or(stands)
}

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
