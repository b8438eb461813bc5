//! Rows that come from others: received ones by the greater version, and those that were decided outside.
//!
//! The rows that applications see of them are locked before anything is read, so what is decided holds until the
//! transaction ends. The decisions are those of the in-memory store, in the same order; only reading and writing are sets.

use std::collections::{BTreeMap, BTreeSet};

use super::base::Base;
use super::rows::{Class, Stored};
use super::work::{Lost, Put, Work};
use crate::limits;
use crate::peer_sync::clock::HybridClock;
use crate::peer_sync::row::{Origin, RowId, RowVersion};
use crate::peer_sync::store::together::GroupOf;
use crate::peer_sync::store::{Advance, ApplyIf, MergeRows, Merged, Outcome, PeerReply, Unsound};
use crate::peer_sync::version::{NodeId, Stamp, Version};
use crate::runtime::postgres::PostgresError;

/// What a merge has decided so far.
#[derive(Default)]
struct Decided {
    /// The rows of the request as they are stored, or will be.
    held: BTreeMap<RowId, Stored>,
    /// Rows that will be stored, with what is stored of them now.
    changed: BTreeMap<RowId, Option<Stored>>,
    /// Rows that are written anew, since what applications see of them is not what it should be.
    repaired: BTreeSet<RowId>,
    /// The group of the page that the row at hand belongs to.
    nth: u32,
    /// Rows of the merged transactions that are here already, or what beats them, each with its group.
    kept: Vec<(u32, RowId)>,
    /// What one group of the page has lost to another.
    lost: BTreeSet<Lost>,
    beats: Vec<(RowId, NodeId, Origin)>,
    /// What is remembered of rows that were purged.
    graves: BTreeMap<RowId, Version>,
    /// The greatest stamp that was accepted.
    seen: Option<Stamp>,
    outcomes: Vec<Outcome>,
}

impl Work<'_> {
    /// Merges by the greater version. `impossible` are places of rows that the tables have been seen not to hold.
    pub(super) async fn merge(
        &mut self,
        request: MergeRows,
        impossible: &BTreeSet<usize>,
    ) -> Result<PeerReply, PostgresError> {
        let mut decided = self.held(request.rows.iter()).await?;
        let corrupt = if request.repair { self.corrupt(&decided.held).await? } else { BTreeSet::new() };
        let mut groups = GroupOf::new(&request.groups);
        for (place, row) in request.rows.into_iter().enumerate() {
            decided.nth = groups.next();
            let outcome = if impossible.contains(&place) {
                Outcome::Unsound(Unsound::Columns)
            } else {
                self.merge_row(&mut decided, row, request.repair, &corrupt).await?
            };
            decided.outcomes.push(outcome);
        }
        let known = request.known.into_iter().map(|(group, row)| (groups.bound(group), row)).collect();
        self.finish_merge(decided, &request.from, known, request.advance).await
    }

    /// Applies what was decided outside, each row if what is stored is what the decision saw.
    pub(super) async fn apply_if(
        &mut self,
        request: ApplyIf,
        impossible: &BTreeSet<usize>,
    ) -> Result<PeerReply, PostgresError> {
        let mut decided = self.held(request.rows.iter().map(|(row, _)| row)).await?;
        let stored: Vec<Stored> = decided.held.values().cloned().collect();
        let whole = self.with_contents(stored).await?;
        let mut whole: BTreeMap<RowId, RowVersion> =
            whole.into_iter().map(|version| (version.row.clone(), version)).collect();
        for (place, (row, expected)) in request.rows.into_iter().enumerate() {
            let outcome = if impossible.contains(&place) {
                Outcome::Unsound(Unsound::Columns)
            } else {
                let id = row.row.clone();
                let outcome = self.apply_row(&mut decided, &whole, &row, expected.as_ref()).await?;
                if matches!(outcome, Outcome::Inserted | Outcome::Updated { .. }) {
                    whole.insert(id, row);
                }
                outcome
            };
            decided.outcomes.push(outcome);
        }
        let all = !decided.outcomes.contains(&Outcome::Changed);
        let advance = request.advance.filter(|_| all);
        let known = request.known.into_iter().map(|row| (0, row)).collect();
        self.finish_merge(decided, &request.from, known, advance).await
    }

    async fn held(&mut self, rows: impl Iterator<Item = &RowVersion>) -> Result<Decided, PostgresError> {
        let ids: BTreeSet<&RowId> = rows.map(|row| &row.row).collect();
        let graves = self.graves(ids.iter().copied()).await?;
        let held = self.find(ids).await?;
        let held = held.into_iter().map(|stored| (stored.row.clone(), stored)).collect();
        Ok(Decided { held, graves, ..Decided::default() })
    }

    async fn merge_row(
        &mut self,
        decided: &mut Decided,
        row: RowVersion,
        repair: bool,
        corrupt: &BTreeSet<RowId>,
    ) -> Result<Outcome, PostgresError> {
        if let Err(unsound) = self.shared.tables.check(&row) {
            return Ok(Outcome::Unsound(unsound));
        }
        let Some(held) = decided.held.get(&row.row) else {
            if let Err(refused) = self.accept(decided, &row) {
                return Ok(refused);
            }
            return self.insert(decided, row).await;
        };
        let beaten = held.version.clone();
        let same = beaten == row.version;
        if same {
            if !repair || !corrupt.contains(&row.row) || decided.changed.contains_key(&row.row) {
                decided.kept.push((decided.nth, row.row));
                return Ok(Outcome::Equal);
            }
        } else if self.shared.schema.table(&row.row.table).is_none_or(|table| !table.goes_by_version()) {
            // Whatever the order of the versions says, it is for the table's policy to decide.
            return Ok(Outcome::Changed);
        } else if beaten > row.version {
            decided.kept.push((decided.nth, row.row.clone()));
            if !self.covers(row.node(), row.origin) {
                decided.beats.push((row.row, row.version.node, row.origin));
            }
            return Ok(Outcome::Beaten { by: beaten });
        } else if self.is_expired(decided, &row).await? {
            return Ok(Outcome::Expired);
        }
        // The stamp of a version that is held was taken in with it.
        if same {
            decided.repaired.insert(row.row.clone());
        } else if let Err(refused) = self.accept(decided, &row) {
            return Ok(refused);
        }
        self.store(decided, row).await?;
        Ok(Outcome::Updated { beaten })
    }

    async fn apply_row(
        &mut self,
        decided: &mut Decided,
        whole: &BTreeMap<RowId, RowVersion>,
        row: &RowVersion,
        expected: Option<&Version>,
    ) -> Result<Outcome, PostgresError> {
        if let Err(unsound) = self.shared.tables.check(row) {
            return Ok(Outcome::Unsound(unsound));
        }
        let held = whole.get(&row.row);
        if held.map(|held| &held.version) != expected {
            return Ok(Outcome::Changed);
        }
        if held.is_some_and(|held| held.is_same_as(row)) {
            decided.kept.push((decided.nth, row.row.clone()));
            return Ok(Outcome::Equal);
        }
        // A policy may prefer what was deleted before the row that is here came: the dead stays dead.
        if held.is_some_and(|held| held.version != row.version) && self.is_buried(&decided.graves, row) {
            return Ok(Outcome::Expired);
        }
        if let Err(refused) = self.accept(decided, row) {
            return Ok(refused);
        }
        let Some(beaten) = held.map(|held| held.version.clone()) else {
            return self.insert(decided, row.clone()).await;
        };
        self.store(decided, row.clone()).await?;
        Ok(Outcome::Updated { beaten })
    }

    /// Whether the stamp of a row that is to be stored may be taken in.
    fn accept(&self, decided: &mut Decided, row: &RowVersion) -> Result<(), Outcome> {
        let clock = HybridClock::new(self.shared.stamp_ahead_max);
        let checked = clock.check(self.now, row.version.stamp);
        checked.map_err(|refused| Outcome::TooFarAhead { ahead: refused.ahead })?;
        decided.seen = decided.seen.max(Some(row.version.stamp));
        Ok(())
    }

    /// Whether a version that is not here had been here: it, or what beat it, was deleted and the tombstone is purged.
    /// A tombstone that is demanded back has not expired.
    async fn is_expired(&mut self, decided: &Decided, row: &RowVersion) -> Result<bool, PostgresError> {
        let known = Some(&row.version) <= self.state.others.horizon() && self.covers(row.node(), row.origin);
        let expired = known || self.is_buried(&decided.graves, row);
        Ok(expired && !self.is_demanded(row).await?)
    }

    async fn insert(&mut self, decided: &mut Decided, row: RowVersion) -> Result<Outcome, PostgresError> {
        if self.is_expired(decided, &row).await? {
            return Ok(Outcome::Expired);
        }
        self.store(decided, row).await?;
        Ok(Outcome::Inserted)
    }

    async fn store(&mut self, decided: &mut Decided, row: RowVersion) -> Result<(), PostgresError> {
        let xid = self.xid().await?;
        let id = row.row.clone();
        let found = decided.held.get(&id);
        let stored = Stored::new(row, (xid, decided.nth), found.map_or(xid, |found| found.born));
        // Stored and beaten by one and the same request.
        if let Some(found) = found.filter(|_| decided.changed.contains_key(&id)) {
            if found.part() != stored.part() {
                decided.lost.insert((found.part(), id.clone(), found.born));
            }
            if found.version != stored.version && !self.covers(&found.version.node, found.origin) {
                decided.beats.push((id.clone(), found.version.node.clone(), found.origin));
            }
        }
        let found = decided.held.insert(id.clone(), stored);
        decided.changed.entry(id).or_insert(found);
        Ok(())
    }

    async fn finish_merge(
        &mut self,
        mut decided: Decided,
        from: &NodeId,
        known: Vec<(u32, RowId)>,
        advance: Option<Advance>,
    ) -> Result<PeerReply, PostgresError> {
        self.seen = self.seen.max(decided.seen);
        let mut puts = Vec::with_capacity(decided.changed.len());
        for (id, found) in std::mem::take(&mut decided.changed) {
            if let Some(new) = decided.held.get(&id) {
                puts.push(Put { new: new.clone(), found, losers: Vec::new() });
            }
        }
        self.put(&puts).await?;
        self.beat(&decided.beats).await?;
        if !puts.is_empty() {
            self.lose_to_others(&mut decided, &known).await?;
        }
        let mut settled = self.settle(&puts, &[]).await?;
        let mut base = Base::default();
        for put in &puts {
            let was_visible = put.found.as_ref().is_some_and(|found| found.class() == Class::Visible);
            let stored = settled.take(&put.new);
            base.show(&stored, was_visible, decided.repaired.contains(&stored.row));
        }
        settled.show(&mut base);
        self.write_base(base).await?;
        let refuses = decided.outcomes.iter().any(Outcome::is_refused);
        if refuses && self.state.refused.len() < limits::PEERS_MAX {
            self.state.refused.insert(from.clone());
        }
        let advanced = advance.is_some();
        if let Some(Advance { position, frontier }) = advance {
            self.state.positions.insert(from.clone(), position);
            if !self.state.refused.contains(from) {
                self.state.others.join(&frontier);
            }
        }
        Ok(PeerReply::Merged(Merged { outcomes: decided.outcomes, aside: settled.aside, advanced }))
    }

    /// Notes which rows of the merged transactions others hold here.
    async fn lose_to_others(
        &mut self,
        decided: &mut Decided,
        known: &[(u32, RowId)],
    ) -> Result<(), PostgresError> {
        let xid = self.xid().await?;
        let ids: BTreeSet<&RowId> = known.iter().map(|(_, row)| row).collect();
        let found = self.find(ids).await?;
        let found: BTreeMap<&RowId, &Stored> = found.iter().map(|stored| (&stored.row, stored)).collect();
        let kept = decided.kept.iter().filter_map(|(nth, id)| Some((*nth, decided.held.get(id)?)));
        let known = known.iter().filter_map(|(nth, id)| Some((*nth, *found.get(id)?)));
        let lost = kept.chain(known).filter(|(nth, stored)| stored.part() != (xid, *nth));
        let lost = lost.map(|(nth, stored)| ((xid, nth), stored.row.clone(), stored.born));
        let mut lost: BTreeSet<Lost> = lost.collect();
        lost.append(&mut decided.lost);
        self.lose(lost, false).await
    }

    /// Which of these rows no longer hold what their hash says.
    async fn corrupt(&mut self, held: &BTreeMap<RowId, Stored>) -> Result<BTreeSet<RowId>, PostgresError> {
        let corrupt = self.unsound(held.values().cloned().collect()).await?;
        Ok(corrupt.into_iter().collect())
    }
}
