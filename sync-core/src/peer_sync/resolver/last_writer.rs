//! The greater version wins, by row: the specification's rule and the default. A database decides it alone.

use super::{Reason, Resolution, Resolver, greater};
use crate::peer_sync::row::RowVersion;
use crate::peer_sync::schema::Table;

/// See [`Policy::LastWriterByRow`](crate::peer_sync::schema::Policy::LastWriterByRow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWriterByRow;

impl Resolver for LastWriterByRow {
    fn merge(&self, _: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
        greater(by_version(one), by_version(other))
    }

    fn reason(&self, _: &Table, winner: &RowVersion, loser: &RowVersion) -> Reason {
        reason_of_versions(winner, loser)
    }
}

/// The order of versions; what comes after the version tells apart only what is altered or made up.
pub(super) fn by_version(row: &RowVersion) -> impl Ord + '_ {
    (&row.version, &row.image, &row.extra)
}

/// Which part of the versions told.
pub(super) fn reason_of_versions(winner: &RowVersion, loser: &RowVersion) -> Reason {
    if winner.version.stamp != loser.version.stamp {
        Reason::Stamp
    } else if winner.version.node != loser.version.node {
        Reason::Node
    } else {
        Reason::Hash
    }
}
