//! Rows of a peer on their way into the own database.
//!
//! Where the greater version wins in all tables concerned, the database decides by itself, in one request. Else the
//! stored versions are fetched, the policies decide, and the result is applied in one transaction, each row if
//! what is stored is still what was decided on; again for those that applications changed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits;
use crate::peer_sync::events::RoundFailure;
use crate::peer_sync::resolver::{self, Reason, Resolvers};
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::schema::{Policy, Schema};
use crate::peer_sync::store::{
    Advance, ApplyIf, MergeRows, Merged, Outcome, PeerReply, PeerRequest, Unsound,
};
use crate::peer_sync::version::{NodeId, Version};

/// What decides rows.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) schema: &'a Schema,
    pub(super) resolvers: &'a Resolvers,
}

/// Rows that are being applied.
#[derive(Debug)]
pub(super) struct Apply {
    from: NodeId,
    rows: Vec<RowVersion>,
    groups: Vec<u32>,
    known: Vec<(u32, RowId)>,
    advance: Option<Advance>,
    repair: bool,
    /// What became of each row, as far as that is known.
    merged: Merged,
    /// The rows, by their places, that are not settled.
    open: Vec<usize>,
    /// Why rows won or lost, where a policy decided.
    reasons: BTreeMap<usize, Reason>,
    step: Step,
    decisions: u32,
}

#[derive(Debug)]
enum Step {
    /// The database decides.
    Merging,
    /// The stored versions of the open rows are fetched.
    Fetching,
    /// The decisions on these rows are applied; with what is stored where that stays.
    Applying(Vec<(usize, Option<Version>)>),
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Applied {
    /// The database has to do this next.
    Next(PeerRequest),
    /// All is stored, or was refused.
    Done(Merged),
    /// The database did not do it, or it is not known whether it did; or applications changed the rows too often.
    Failed(RoundFailure),
}

impl Apply {
    /// Rows, and how far the reader comes with them.
    pub(super) fn new(from: NodeId, rows: Vec<RowVersion>, advance: Option<Advance>) -> Self {
        Self {
            from,
            rows,
            groups: Vec::new(),
            known: Vec::new(),
            advance,
            repair: false,
            merged: Merged::default(),
            open: Vec::new(),
            reasons: BTreeMap::new(),
            step: Step::Merging,
            decisions: 0,
        }
    }

    /// Which of them belong together, and what of their transactions is here already.
    pub(super) fn of_groups(self, groups: Vec<u32>, known: Vec<(u32, RowId)>) -> Self {
        Self { groups, known, ..self }
    }

    /// Rows that replace corrupt ones of the same version.
    pub(super) fn repair(from: NodeId, rows: Vec<RowVersion>) -> Self {
        Self { repair: true, ..Self::new(from, rows, None) }
    }

    /// Who sent the rows.
    pub(super) fn from(&self) -> &NodeId {
        &self.from
    }

    /// The rows.
    pub(super) fn rows(&self) -> &[RowVersion] {
        &self.rows
    }

    /// Why the winner won, at a row's place.
    pub(super) fn reason(&self, place: usize, winner: &Version, loser: &Version) -> Reason {
        self.reasons.get(&place).copied().unwrap_or_else(|| reason_of(winner, loser))
    }

    /// How far the reader comes.
    pub(super) fn advance(&self) -> Option<&Advance> {
        self.advance.as_ref()
    }

    /// What the database has to do first.
    pub(super) fn begin(&mut self, rules: Rules<'_>) -> PeerRequest {
        let by_version = |row: &RowVersion| {
            let table = rules.schema.table(&row.row.table);
            table.is_none_or(|table| table.policy == Policy::LastWriterByRow)
        };
        // A copy that replaces a corrupt one is of the same version: there is nothing to decide.
        if self.repair || self.rows.iter().all(by_version) {
            return PeerRequest::Merge(MergeRows {
                from: self.from.clone(),
                rows: self.rows.clone(),
                groups: self.groups.clone(),
                known: self.known.clone(),
                advance: self.advance.clone(),
                repair: self.repair,
            });
        }
        self.merged.outcomes = vec![Outcome::Changed; self.rows.len()];
        self.open = (0..self.rows.len()).collect();
        self.fetch()
    }

    /// What it replied.
    pub(super) fn stored(&mut self, rules: Rules<'_>, reply: PeerReply) -> Applied {
        match (std::mem::replace(&mut self.step, Step::Merging), reply) {
            (Step::Merging, PeerReply::Merged(merged)) if merged.outcomes.len() == self.rows.len() => {
                Applied::Done(merged)
            }
            (Step::Fetching, PeerReply::Versions(held)) if held.len() == self.open.len() => {
                Applied::Next(self.decide(rules, held))
            }
            (Step::Applying(places), PeerReply::Merged(merged)) if merged.outcomes.len() == places.len() => {
                self.applied(&places, merged)
            }
            _ => Applied::Failed(RoundFailure::Store),
        }
    }

    fn fetch(&mut self) -> PeerRequest {
        self.step = Step::Fetching;
        self.decisions += 1;
        PeerRequest::FetchVersions(self.open.iter().map(|place| self.rows[*place].row.clone()).collect())
    }

    /// Decides on the open rows, in view of what is stored.
    fn decide(&mut self, rules: Rules<'_>, held: Vec<Option<RowVersion>>) -> PeerRequest {
        let mut places = Vec::new();
        let mut rows: Vec<(RowVersion, Option<Version>)> = Vec::new();
        // Rows of one id are decided one after the other.
        let mut decided: BTreeSet<&RowId> = BTreeSet::new();
        for (place, held) in std::mem::take(&mut self.open).into_iter().zip(held) {
            let row = &self.rows[place];
            if !decided.insert(&row.row) {
                self.open.push(place);
                continue;
            }
            let table = rules.schema.table(&row.row.table);
            let Some((table, resolver)) = table.zip(rules.resolvers.of(&row.row.table)) else {
                self.merged.outcomes[place] = Outcome::Unsound(Unsound::Table);
                continue;
            };
            // What is not sound is for the database to refuse.
            let sound = row.is_sound();
            if sound && !resolver.accepts(table, row) {
                self.merged.outcomes[place] = Outcome::Unsound(Unsound::Columns);
                continue;
            }
            let result = match &held {
                Some(held) if sound => resolver::merged(resolver, table, held, row),
                _ => row.clone(),
            };
            let stays = held.as_ref().filter(|held| !held.is_same_as(row) && held.is_same_as(&result));
            if let Some(held) = held.as_ref().filter(|_| sound) {
                let reason = match stays {
                    Some(_) => resolver.reason(table, held, row),
                    None if result.is_same_as(row) => resolver.reason(table, row, held),
                    // What nobody has written: neither of them lost.
                    None => Reason::Combined,
                };
                self.reasons.insert(place, reason);
            }
            places.push((place, stays.map(|held| held.version.clone())));
            rows.push((result, held.map(|held| held.version)));
        }
        let advance = self.advance.clone().filter(|_| self.open.is_empty());
        self.step = Step::Applying(places);
        let known = self.known.iter().map(|(_, row)| row.clone()).collect();
        PeerRequest::ApplyIf(ApplyIf { from: self.from.clone(), rows, known, advance })
    }

    fn applied(&mut self, places: &[(usize, Option<Version>)], merged: Merged) -> Applied {
        let Merged { outcomes, aside, advanced } = merged;
        self.merged.aside.extend(aside);
        self.merged.advanced |= advanced;
        for ((place, stays), outcome) in places.iter().zip(outcomes) {
            if outcome == Outcome::Changed {
                self.open.push(*place);
            }
            self.merged.outcomes[*place] = match stays {
                Some(by) if outcome == Outcome::Equal => Outcome::Beaten { by: by.clone() },
                _ => outcome,
            };
        }
        self.open.sort_unstable();
        if self.open.is_empty() {
            return Applied::Done(std::mem::take(&mut self.merged));
        }
        if self.decisions >= limits::DECISIONS_MAX {
            return Applied::Failed(RoundFailure::Contended);
        }
        Applied::Next(self.fetch())
    }
}

/// Why the greater version won.
fn reason_of(winner: &Version, loser: &Version) -> Reason {
    if winner.stamp != loser.stamp {
        Reason::Stamp
    } else if winner.node != loser.node {
        Reason::Node
    } else {
        Reason::Hash
    }
}
