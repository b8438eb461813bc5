//! The second step, kept up to date: who is visible. Table by table, parents before children.

use std::collections::{BTreeMap, BTreeSet};

use super::incremental::{Agenda, Constraints, Stored};
use super::{Parent, standing_of};
use crate::peer_sync::row::{RowId, TableName};
use crate::peer_sync::store::Standing;
use crate::peer_sync::version::Version;

impl Constraints {
    /// Decides what is on the agenda of one table, and puts on it whom that concerns in the tables after it.
    pub(super) fn settle_support(
        &mut self,
        place: usize,
        agenda: &mut Agenda,
        changed: &mut BTreeMap<RowId, Standing>,
    ) {
        let Some((name, rules)) = self.rules.at(place) else { return };
        let (name, refers_to_itself) = (name.clone(), rules.references.iter().any(|rule| rule.own));
        // A row that was removed is on no agenda, but a natural key that it left can be.
        let mut rows = agenda.rows.remove(&name).unwrap_or_default();
        for id in &rows {
            let candidate =
                self.rows.get(id).is_some_and(|row| row.wanted && self.is_supported(id, row, false));
            self.set_candidate(id, candidate, agenda);
        }
        self.settle_natural_keys(&name, &mut rows, agenda);
        if refers_to_itself {
            self.settle_own_references(&mut rows);
        } else {
            for id in &rows {
                if let Some(row) = self.rows.get_mut(id) {
                    row.visible = holds(row);
                }
            }
        }
        for id in rows.clone() {
            let now = self.parent(&id);
            let Some(row) = self.rows.get_mut_if(&id, |row| row.told != now) else {
                continue;
            };
            row.told = now;
            for child in self.children_of(&id) {
                // One of the same table may have to give another reason; whether it is visible is settled.
                if child.table == name {
                    rows.insert(child);
                } else {
                    agenda.add(&child);
                }
            }
        }
        for id in rows {
            self.tell(id, changed);
        }
    }

    /// Who loses its natural keys to whom, among the candidates of a table. Only greater versions have a
    /// say in what becomes of a row, so one pass from the greatest down is enough.
    fn settle_natural_keys(&mut self, name: &TableName, rows: &mut BTreeSet<RowId>, agenda: &mut Agenda) {
        let mut ahead: BTreeSet<(Version, RowId)> = BTreeSet::new();
        for key in std::mem::take(&mut agenda.groups) {
            if key.0 == *name {
                ahead.extend(self.groups.get(&key).into_iter().flat_map(|group| group.iter()).cloned());
            } else {
                agenda.groups.insert(key);
            }
        }
        while let Some(member) = ahead.pop_last() {
            let Some(row) = self.rows.get(&member.1) else { continue };
            let held = holds(row);
            let mut winner: Option<&(Version, RowId)> = None;
            let mut lower: Vec<(Version, RowId)> = Vec::new();
            for (nth, key) in row.ties.unique.iter().enumerate() {
                let Some(group) =
                    key.as_ref().and_then(|key| self.groups.get(&(name.clone(), nth, key.clone())))
                else {
                    continue;
                };
                let above = group.iter().rev().take_while(|other| **other != member);
                winner =
                    winner.max(above.into_iter().find(|other| self.rows.get(&other.1).is_some_and(holds)));
                lower.extend(group.iter().take_while(|other| **other < member).cloned());
            }
            let beaten_by = winner.map(|winner| winner.1.clone());
            if beaten_by.is_none() != held {
                ahead.extend(lower);
            }
            rows.insert(member.1.clone());
            if let Some(row) = self.rows.get_mut(&member.1) {
                row.beaten_by = beaten_by;
            }
        }
    }

    /// Which rows of a table that refers to itself are visible, the greatest set that follows. First whoever
    /// lost its hold falls, and what hangs on it; then all that might rise does, and what still hangs on an invisible
    /// row falls again.
    fn settle_own_references(&mut self, rows: &mut BTreeSet<RowId>) {
        let fallen = self.fall(rows.iter().cloned().collect());
        rows.extend(fallen);
        let mut risen: Vec<RowId> = Vec::new();
        let mut ahead: Vec<RowId> = rows.iter().cloned().collect();
        while let Some(id) = ahead.pop() {
            let Some(row) = self.rows.get_mut_if(&id, |row| !row.visible && holds(row)) else {
                continue;
            };
            row.visible = true;
            ahead.extend(self.own_children_of(&id));
            risen.push(id);
        }
        rows.extend(risen.iter().cloned());
        self.fall(risen);
    }

    /// Hides visible rows that no longer hold or hang on an invisible one, and what hangs on them.
    fn fall(&mut self, mut ahead: Vec<RowId>) -> Vec<RowId> {
        let mut fallen = Vec::new();
        while let Some(id) = ahead.pop() {
            let falls = |row: &&Stored| row.visible && !(holds(row) && self.is_supported(&id, row, true));
            if self.rows.get(&id).filter(falls).is_none() {
                continue;
            }
            if let Some(row) = self.rows.get_mut(&id) {
                row.visible = false;
            }
            ahead.extend(self.own_children_of(&id));
            fallen.push(id);
        }
        fallen
    }

    fn own_children_of(&self, id: &RowId) -> impl Iterator<Item = RowId> + use<> {
        let table = id.table.clone();
        self.children_of(id).into_iter().filter(move |child| child.table == table)
    }

    /// Whether all rows that one refers to, in its own table or in others, are visible.
    fn is_supported(&self, id: &RowId, row: &Stored, own: bool) -> bool {
        let Some(rules) = self.rules.table(&id.table) else { return false };
        let mut references =
            rules.references.iter().zip(&row.ties.parents).filter(|(rule, _)| rule.own == own);
        references.all(|(_, parent)| {
            parent.as_ref().is_none_or(|parent| self.rows.get(parent).is_some_and(|parent| parent.visible))
        })
    }

    fn parent(&self, id: &RowId) -> Parent {
        match self.rows.get(id) {
            None => Parent::Absent,
            Some(row) if row.visible => Parent::Visible,
            Some(row) if !row.wanted => Parent::Deleted,
            Some(_) => Parent::Hidden,
        }
    }

    /// Notes how a row stands now, and says so if that is, or was, because of another.
    fn tell(&mut self, id: RowId, changed: &mut BTreeMap<RowId, Standing>) {
        let (Some(row), Some(rules)) = (self.rows.get(&id), self.rules.table(&id.table)) else { return };
        let now =
            standing_of(row.tombstone, row.wanted, rules, &row.ties, row.beaten_by.as_ref(), |parent| {
                self.parent(parent)
            });
        let Some(row) = self.rows.get_mut_if(&id, |row| row.standing != now) else {
            return;
        };
        let plain = |standing: &Standing| matches!(standing, Standing::Visible | Standing::Deleted);
        let goes_without_saying = plain(&row.standing) && plain(&now);
        row.standing = now.clone();
        if !goes_without_saying {
            changed.insert(id, now);
        }
    }
}

/// Whether a row would be visible if it were not for references within its table.
fn holds(row: &Stored) -> bool {
    row.candidate && row.beaten_by.is_none()
}
