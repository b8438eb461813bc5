//! What became of rows that were merged, told to those who watch and to peers that lack them.

use std::collections::BTreeMap;

use super::apply::Apply;
use super::{Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::limits;
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::resolver::Reason;
use crate::peer_sync::row::{RowVersion, TableName};
use crate::peer_sync::store::{AsideChange, Merged, Outcome, Standing};
use crate::peer_sync::version::Version;
use crate::time::Now;

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// Counts and tells what became of rows; per table, how many changed something.
    pub(super) fn outcomes(
        &mut self,
        now: Now,
        apply: &Apply,
        merged: &Merged,
        fx: &mut Vec<ReplicaEffect>,
    ) -> BTreeMap<TableName, u64> {
        let (from, rows) = (apply.from(), apply.rows());
        let mut tables: BTreeMap<TableName, u64> = BTreeMap::new();
        let mut unchanged = 0;
        let mut told = 0;
        for (place, (row, outcome)) in rows.iter().zip(&merged.outcomes).enumerate() {
            let mut changed = false;
            match outcome {
                Outcome::Inserted => changed = true,
                Outcome::Updated { beaten } => {
                    changed = true;
                    // The peer had not seen what it beat, as far as can be told from what it was given.
                    let seen = self.peers.get(from).map(|peer| peer.has_until.as_us());
                    let unseen = seen.is_none_or(|seen| beaten.stamp.us > seen);
                    if beaten.node == self.node && row.version.node != self.node && unseen {
                        let reason = apply.reason(place, &row.version, beaten);
                        self.conflict(row, [&row.version, beaten], reason, &mut told, fx);
                    }
                }
                Outcome::Beaten { by } if by.node != row.version.node => {
                    let reason = apply.reason(place, by, &row.version);
                    self.conflict(row, [by, &row.version], reason, &mut told, fx);
                }
                Outcome::Equal | Outcome::Beaten { .. } | Outcome::Expired | Outcome::Changed => {}
                Outcome::TooFarAhead { ahead } => {
                    self.statistics.rows_refused += 1;
                    let (row, peer) = (row.row.clone(), from.clone());
                    fx.push(ReplicaEffect::Event(ReplicaEvent::TooFarAhead { row, peer, ahead: *ahead }));
                }
                Outcome::Unsound(reason) => {
                    self.statistics.rows_refused += 1;
                    let (row, peer) = (row.row.clone(), from.clone());
                    fx.push(ReplicaEffect::Event(ReplicaEvent::RowRefused { row, peer, reason: *reason }));
                }
            }
            if changed {
                *tables.entry(row.row.table.clone()).or_default() += 1;
            } else {
                unchanged += 1;
            }
        }
        let orphaned = |change: &AsideChange| matches!(change.standing, Standing::Orphaned { .. });
        if merged.aside.iter().any(orphaned) && self.frontier.horizon().is_some() {
            self.miss_parents(now);
        }
        for change in &merged.aside {
            let (row, standing) = (change.row.clone(), change.standing.clone());
            fx.push(ReplicaEffect::Event(ReplicaEvent::SetAside { row, standing }));
        }
        let count = tables.values().sum();
        self.statistics.rows_applied += count;
        self.statistics.rows_unchanged += unchanged;
        if !rows.is_empty() {
            fx.push(ReplicaEffect::Event(ReplicaEvent::ChangesApplied {
                peer: from.clone(),
                tables: tables.clone(),
                count,
                unchanged,
            }));
        }
        if count > 0 {
            self.relay(now, from, tables.keys().cloned());
        }
        tables
    }

    fn conflict(
        &mut self,
        row: &RowVersion,
        [winner, loser]: [&Version; 2],
        reason: Reason,
        told: &mut usize,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        self.statistics.conflicts += 1;
        if *told >= limits::CONFLICTS_TOLD_MAX {
            return;
        }
        *told += 1;
        fx.push(ReplicaEffect::Event(ReplicaEvent::Conflict {
            row: row.row.clone(),
            winner: winner.clone(),
            loser: loser.clone(),
            reason,
        }));
    }
}
