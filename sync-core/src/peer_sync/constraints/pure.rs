//! The rules as a function of a whole set of rows. Simple rather than fast: it defines what is right.

use std::collections::BTreeMap;

use super::rules::{Rules, TableRules, Ties};
use super::{Parent, can_return, demands, standing_of};
use crate::peer_sync::row::{RowId, RowVersion, TableName};
use crate::peer_sync::schema::Schema;
use crate::peer_sync::store::Standing;

/// How each row stands. Rows of tables that do not travel are left out; of two versions of one row the
/// last one counts.
pub fn standings<'a>(
    schema: &Schema,
    rows: impl IntoIterator<Item = &'a RowVersion>,
) -> BTreeMap<RowId, Standing> {
    let rules = Rules::new(schema);
    let mut all: BTreeMap<RowId, Row> = BTreeMap::new();
    for version in rows {
        if let Some(table) = rules.table(&version.row.table) {
            let wanted = !version.image.is_tombstone();
            let row = Row {
                version,
                ties: table.of(version),
                wanted,
                candidate: false,
                beaten_by: None,
                visible: false,
            };
            all.insert(version.row.clone(), row);
        }
    }
    for (name, table) in rules.order().rev() {
        demand(&mut all, name, table);
    }
    for (name, table) in rules.order() {
        support(&mut all, name, table);
    }
    let standing = |row: &Row| {
        let table = rules.table(&row.version.row.table)?;
        let tombstone = row.version.image.is_tombstone();
        Some(standing_of(tombstone, row.wanted, table, &row.ties, row.beaten_by.as_ref(), |parent| {
            presence(&all, parent)
        }))
    };
    all.iter().filter_map(|(id, row)| Some((id.clone(), standing(row)?))).collect()
}

/// Whether a tombstone that is not there would be had back if it were: one of these rows, all of which live or are
/// had back themselves, demands it.
pub fn is_demanded<'a>(
    schema: &Schema,
    tombstone: &RowVersion,
    wanted: impl IntoIterator<Item = &'a RowVersion>,
) -> bool {
    let rules = Rules::new(schema);
    can_return(&tombstone.image)
        && wanted.into_iter().any(|child| {
            let table = rules.table(&child.row.table);
            table.is_some_and(|table| table.demands_back(&table.of(child), &child.version, tombstone))
        })
}

struct Row<'a> {
    version: &'a RowVersion,
    ties: Ties,
    /// It lives, or a wanted child demands it back.
    wanted: bool,
    /// It is wanted, and its parents in other tables are visible.
    candidate: bool,
    /// The visible row with one of its natural keys.
    beaten_by: Option<RowId>,
    visible: bool,
}

/// Children before parents: the wanted rows of a table demand their parents back. The least set that follows:
/// tombstones that refer to each other in a circle do not keep each other alive.
fn demand(all: &mut BTreeMap<RowId, Row>, name: &TableName, table: &TableRules) {
    loop {
        let mut demanded = Vec::new();
        for row in all.values().filter(|row| row.version.row.table == *name && row.wanted) {
            for (rule, parent) in table.references.iter().zip(&row.ties.parents) {
                let Some((id, parent)) = parent.as_ref().and_then(|id| Some((id, all.get(id)?))) else {
                    continue;
                };
                if !parent.wanted
                    && can_return(&parent.version.image)
                    && demands(rule.on_deleted, &row.version.version, &parent.version.version)
                {
                    demanded.push(id.clone());
                }
            }
        }
        // Only a table that refers to itself has anything to add in a second round.
        if demanded.is_empty() {
            return;
        }
        for id in demanded {
            if let Some(parent) = all.get_mut(&id) {
                parent.wanted = true;
            }
        }
    }
}

/// Parents before children: which wanted rows of a table are visible.
fn support(all: &mut BTreeMap<RowId, Row>, name: &TableName, table: &TableRules) {
    let ids: Vec<RowId> = all.keys().filter(|id| id.table == *name).cloned().collect();
    let stands = |all: &BTreeMap<RowId, Row>, row: &Row, own: bool| {
        let mut references =
            table.references.iter().zip(&row.ties.parents).filter(|(rule, _)| rule.own == own);
        references.all(|(_, parent)| parent.as_ref().is_none_or(|id| presence(all, id) == Parent::Visible))
    };
    for id in &ids {
        let candidate = all.get(id).is_some_and(|row| row.wanted && stands(all, row, false));
        if let Some(row) = all.get_mut(id) {
            row.candidate = candidate;
        }
    }
    // Natural keys, the greatest version first; a row loses to a greater one that has not itself lost.
    let mut candidates: Vec<&RowId> =
        ids.iter().filter(|id| all.get(*id).is_some_and(|row| row.candidate)).collect();
    candidates.sort_by_key(|id| {
        std::cmp::Reverse(all.get(*id).map(|row| (row.version.version.clone(), (*id).clone())))
    });
    let mut holders: BTreeMap<(usize, String), (usize, RowId)> = BTreeMap::new();
    for (rank, id) in candidates.into_iter().enumerate() {
        let Some(row) = all.get_mut(id) else { continue };
        let keys = || {
            let keys = row.ties.unique.iter().enumerate();
            keys.filter_map(|(nth, key)| Some((nth, key.as_ref()?.as_canonical().to_owned())))
        };
        row.beaten_by = keys().filter_map(|key| holders.get(&key)).min().map(|(_, holder)| holder.clone());
        row.visible = row.beaten_by.is_none();
        if row.visible {
            keys().for_each(|key| drop(holders.insert(key, (rank, id.clone()))));
        }
    }
    // References within the table: whoever hangs on a row that is not visible is not. What hangs on itself stays.
    loop {
        let falls = |id: &&RowId| all.get(*id).is_some_and(|row| row.visible && !stands(all, row, true));
        let falling: Vec<RowId> = ids.iter().filter(falls).cloned().collect();
        if falling.is_empty() {
            return;
        }
        for id in falling {
            if let Some(row) = all.get_mut(&id) {
                row.visible = false;
            }
        }
    }
}

fn presence(all: &BTreeMap<RowId, Row>, id: &RowId) -> Parent {
    match all.get(id) {
        None => Parent::Absent,
        Some(row) if row.visible => Parent::Visible,
        Some(row) if !row.wanted => Parent::Deleted,
        Some(_) => Parent::Hidden,
    }
}
