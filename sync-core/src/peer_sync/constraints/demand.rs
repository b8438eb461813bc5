//! The first step, kept up to date: who is wanted.
//!
//! A change of a row concerns only the tombstones above it. These are all taken for unwanted, and then whoever
//! is demanded from elsewhere is wanted again, and whoever those demand: the least set, circles included.

use super::demands;
use super::incremental::{Agenda, Constraints};
use crate::peer_sync::row::RowId;
use crate::peer_sync::schema::OnDeleted;

impl Constraints {
    /// Notes a row and the tombstones above it as suspects.
    pub(super) fn suspect(&self, id: &RowId, agenda: &mut Agenda) {
        let mut ahead = vec![id.clone()];
        while let Some(id) = ahead.pop() {
            let (Some(row), Some(rules)) = (self.rows.get(&id), self.rules.table(&id.table)) else {
                continue;
            };
            if row.can_return {
                agenda.suspects.insert(id);
            }
            for (rule, parent) in rules.references.iter().zip(&row.ties.parents) {
                let Some(parent) = parent else { continue };
                let above = self.rows.get(parent).is_some_and(|parent| parent.can_return);
                if above && rule.on_deleted != OnDeleted::Cascade && !agenda.suspects.contains(parent) {
                    ahead.push(parent.clone());
                }
            }
        }
    }

    /// Decides the suspects.
    pub(super) fn settle_demand(&mut self, agenda: &mut Agenda) {
        let suspects = std::mem::take(&mut agenda.suspects);
        // A suspect may have been replaced by a living row, or removed, since it was noted.
        let suspects: Vec<RowId> =
            suspects.into_iter().filter(|id| self.rows.get(id).is_some_and(|row| row.can_return)).collect();
        for id in &suspects {
            self.set_wanted(id, false);
            agenda.add(id);
        }
        let mut ahead = suspects;
        while let Some(id) = ahead.pop() {
            if !self.rows.get(&id).is_some_and(|row| !row.wanted && row.demand > 0) {
                continue;
            }
            self.set_wanted(&id, true);
            let parents = self.rows.get(&id).map(|row| row.ties.parents.clone()).unwrap_or_default();
            ahead.extend(
                parents
                    .into_iter()
                    .flatten()
                    .filter(|id| self.rows.get(id).is_some_and(|row| row.can_return)),
            );
        }
    }

    /// Says whether a row is wanted, to it and to those that it then demands.
    pub(super) fn set_wanted(&mut self, id: &RowId, wanted: bool) {
        let Some(row) = self.rows.get_mut_if(id, |row| row.wanted != wanted) else { return };
        row.wanted = wanted;
        for parent in self.demanded_by(id) {
            if let Some(parent) = self.rows.get_mut(&parent) {
                parent.demand = if wanted { parent.demand + 1 } else { parent.demand.saturating_sub(1) };
            }
        }
    }

    /// Counts the demand for a row that is new or has another version.
    pub(super) fn count_demand(&mut self, id: &RowId) {
        if !self.rows.get(id).is_some_and(|row| row.can_return) {
            return;
        }
        let children = self.children_of(id);
        let wanted = children.iter().filter(|child| self.rows.get(*child).is_some_and(|row| row.wanted));
        let demand =
            wanted.map(|child| self.demanded_by(child).iter().filter(|parent| *parent == id).count()).sum();
        if let Some(row) = self.rows.get_mut(id) {
            row.demand = demand;
        }
    }

    /// The tombstones that a row demands back while it is wanted, one for each reference.
    fn demanded_by(&self, id: &RowId) -> Vec<RowId> {
        let (Some(row), Some(rules)) = (self.rows.get(id), self.rules.table(&id.table)) else {
            return Vec::new();
        };
        let references = rules.references.iter().zip(&row.ties.parents);
        let demanded = references.filter_map(|(rule, parent)| {
            let parent = parent.as_ref()?;
            let stored = self.rows.get(parent).filter(|stored| stored.can_return)?;
            demands(rule.on_deleted, &row.version, &stored.version).then(|| parent.clone())
        });
        demanded.collect()
    }
}
