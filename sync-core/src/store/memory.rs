//! The in-memory database: the reference for what each request decides.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::condition::Conditions;
use super::embeddings::Embeddings;
use super::hosting::Hosting;
use super::validation::SecurityValidation;
use super::{
    Applied, Apply, EmbeddingId, EmbeddingRow, StateKey, StateRow, StoreReply, StoreRequest, Verdict,
};
use crate::data_type::{Scope, SyncDataType};
use crate::id::{AccountId, Incarnation, MapName, OperationId};
use crate::limits;
use crate::range_set::RangeSet;
use crate::time::Timestamp;

/// Executes [`StoreRequest`]s in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    states: FxHashMap<StateKey, StateRow>,
    sessions: FxHashMap<(AccountId, Incarnation), SessionRows>,
    /// Sessions in the order of their oldest remembered operation, for the purge.
    oldest: VecDeque<(AccountId, Incarnation, Timestamp)>,
    embeddings: Embeddings,
    hosting: Hosting,
    conditions: Conditions,
    /// The latest of them.
    validations: VecDeque<SecurityValidation>,
    /// Its own clock.
    now: Timestamp,
}

/// What is kept of one life of a session.
#[derive(Clone, Debug, Default)]
struct SessionRows {
    /// Operations that took effect, for ever.
    applied: RangeSet,
    /// Operations whose names are remembered, ascending by counter.
    recent: VecDeque<Record>,
    /// Greatest sequence applied, for each map and type.
    sequences: Vec<(MapName, SyncDataType, u64)>,
}

#[derive(Clone, Debug)]
struct Record {
    counter: u64,
    received: Timestamp,
    verdict: Verdict,
}

/// Everything the database holds that an application could see, in canonical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Every state.
    pub states: BTreeMap<StateKey, StateRow>,
    /// Every session's operations that took effect, by counter.
    pub sessions: BTreeMap<(AccountId, Incarnation), SessionContent>,
    /// Every embedding.
    pub embeddings: BTreeMap<EmbeddingId, EmbeddingRow>,
}

/// One session's share of the content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionContent {
    /// Counters of operations that took effect.
    pub applied: RangeSet,
}

impl MemoryStore {
    /// Says what time it is by the database's own clock, which never goes back. Which hosts live hangs on it.
    pub fn tell_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Executes one request, atomically.
    pub fn execute(&mut self, request: &StoreRequest) -> StoreReply {
        match request {
            StoreRequest::ApplyBatch(operations) => {
                StoreReply::Applied(operations.iter().map(|operation| self.apply(operation)).collect())
            }
            StoreRequest::Load(key) => StoreReply::Loaded(self.states.get(key).cloned()),
            StoreRequest::StoreEmbedding(request) => {
                let applied = self.apply(&request.apply);
                if applied.takes_effect() {
                    self.embeddings.store(request);
                }
                StoreReply::Applied(vec![applied])
            }
            StoreRequest::DeleteEmbedding(request) => {
                let applied = self.apply(&request.apply);
                if applied.takes_effect() {
                    self.embeddings.delete(&request.id);
                }
                StoreReply::Applied(vec![applied])
            }
            StoreRequest::SearchEmbeddings(request) => StoreReply::Found(self.embeddings.search(request)),
            StoreRequest::Purge { before } => {
                self.conditions.purge(*before);
                StoreReply::Purged(self.purge(*before))
            }
            StoreRequest::ReportHosts(reports) => {
                let (assignments, changes) = self.hosting.report(reports, self.now);
                StoreReply::Reported { assignments, changes }
            }
            StoreRequest::SweepHosts => {
                let (dropped, changes) = self.hosting.sweep(self.now);
                StoreReply::Swept { dropped, changes }
            }
            StoreRequest::LoadHosts(map) => StoreReply::Hosts(self.hosting.of(map)),
            StoreRequest::RecordValidations(found) => {
                self.validations.extend(found.iter().cloned());
                let over = self.validations.len().saturating_sub(limits::VALIDATIONS_KEPT);
                self.validations.drain(..over);
                StoreReply::Recorded(found.len() as u64)
            }
        }
    }

    /// Reads what these operations will need, and changes nothing: the memory that they need is fetched for all of them
    /// at once, not for one after the other. The number means nothing.
    pub fn warm(&self, operations: &[Apply]) -> u64 {
        let sessions = operations.iter().filter_map(|apply| {
            let OperationId { account, incarnation, .. } = apply.operation;
            self.sessions.get(&(account, incarnation))
        });
        let sessions = sessions.map(|session| {
            let sequence = session.sequences.first().map_or(0, |(.., sequence)| *sequence);
            sequence ^ session.recent.back().map_or(0, |record| record.counter)
        });
        let states = operations.iter().filter_map(|apply| self.states.get(&apply.state_key()?));
        let states =
            states.map(|row| row.version ^ row.data.len() as u64 ^ u64::from(row.data.starts_with('{')));
        sessions.chain(states).fold(0, u64::wrapping_add)
    }

    /// Whether an operation has been decided and its name is remembered.
    pub fn knows(&self, operation: OperationId) -> bool {
        let session = self.sessions.get(&(operation.account, operation.incarnation));
        session.is_some_and(|session| session.record(operation.counter).is_some())
    }

    /// The latest validations, the oldest first. A database keeps all of them.
    pub fn validations(&self) -> impl Iterator<Item = &SecurityValidation> {
        self.validations.iter()
    }

    /// What an application could see.
    pub fn content(&self) -> Content {
        Content {
            states: self.states.iter().map(|(key, row)| (key.clone(), row.clone())).collect(),
            sessions: self
                .sessions
                .iter()
                .map(|(id, rows)| (*id, SessionContent { applied: rows.applied.clone() }))
                .collect(),
            embeddings: self.embeddings.rows().clone(),
        }
    }

    fn apply(&mut self, apply: &Apply) -> Applied {
        let OperationId { account, incarnation, counter } = apply.operation;
        let session = self.sessions.entry((account, incarnation)).or_default();
        if let Some(record) = session.record(counter) {
            return Applied { verdict: record.verdict, duplicate: true };
        }
        let fenced = match apply.data_type.scope() {
            Scope::Map => self.hosting.fence(&apply.map, account),
            Scope::Account => None,
        };
        let last = session.last_sequence(&apply.map, apply.data_type);
        let refused = match fenced {
            Some(epoch) => Some(Verdict::Fenced { epoch }),
            None if apply.sequence <= *last => Some(Verdict::OutOfOrder { last: *last }),
            None => apply.condition.as_ref().and_then(|condition| self.conditions.decide(condition, apply)),
        };
        let verdict = if let Some(refused) = refused {
            refused
        } else {
            *last = apply.sequence;
            session.applied.insert(counter);
            Verdict::Applied { version: apply.sequence }
        };
        let verdict = match (verdict, apply.state_key()) {
            (Verdict::Applied { .. }, Some(key)) => {
                Verdict::Applied { version: write_state(&mut self.states, key, apply) }
            }
            (verdict, _) => verdict,
        };
        if session.recent.is_empty() {
            self.oldest.push_back((account, incarnation, apply.received));
        }
        session.remember(Record { counter, received: apply.received, verdict });
        Applied { verdict, duplicate: false }
    }

    /// Looks at each session at most once, and at none in vain when there is more than one purge forgets: the next
    /// one goes on where this one stopped.
    fn purge(&mut self, before: Timestamp) -> u64 {
        let mut purged = 0;
        for _ in 0..self.oldest.len() {
            if purged >= limits::PURGE_MAX {
                break;
            }
            let Some((account, incarnation, first)) = self.oldest.pop_front() else { break };
            let Some(session) = self.sessions.get_mut(&(account, incarnation)) else { continue };
            if first < before {
                while session.recent.front().is_some_and(|record| record.received < before) {
                    session.recent.pop_front();
                    purged += 1;
                }
            }
            if let Some(record) = session.recent.front() {
                self.oldest.push_back((account, incarnation, record.received));
            }
        }
        purged as u64
    }
}

fn write_state(states: &mut FxHashMap<StateKey, StateRow>, key: StateKey, apply: &Apply) -> u64 {
    let row = states.entry(key).or_insert_with(|| StateRow {
        version: 0,
        data: Arc::clone(&apply.data),
        operation: apply.operation,
        updated: apply.received,
    });
    row.version += 1;
    row.data = Arc::clone(&apply.data);
    row.operation = apply.operation;
    row.updated = apply.received;
    row.version
}

impl SessionRows {
    fn record(&self, counter: u64) -> Option<&Record> {
        match self.recent.back() {
            Some(last) if last.counter >= counter => self
                .recent
                .binary_search_by_key(&counter, |r| r.counter)
                .ok()
                .and_then(|at| self.recent.get(at)),
            _ => None,
        }
    }

    fn remember(&mut self, record: Record) {
        let at = match self.recent.back() {
            Some(last) if last.counter > record.counter => {
                self.recent.partition_point(|r| r.counter < record.counter)
            }
            _ => self.recent.len(),
        };
        if self.recent.len() == self.recent.capacity() {
            // Names are many and soon forgotten: a long list grows by half, not twofold.
            let names = self.recent.len();
            self.recent.reserve_exact(if names < 64 { names.max(4) } else { names / 2 });
        }
        self.recent.insert(at, record);
    }

    fn last_sequence(&mut self, map: &MapName, data_type: SyncDataType) -> &mut u64 {
        let at = match self.sequences.iter().position(|(m, t, _)| *t == data_type && m == map) {
            Some(at) => at,
            None => {
                self.sequences.push((map.clone(), data_type, 0));
                self.sequences.len() - 1
            }
        };
        &mut self.sequences[at].2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(account: u32, counter: u64, sequence: u64, data_type: SyncDataType, data: &str) -> Apply {
        Apply {
            operation: OperationId { account: AccountId(account), incarnation: Incarnation(1), counter },
            data_type,
            map: MapName::new("prontera").unwrap(),
            sequence,
            critical: false,
            data: data.into(),
            received: Timestamp::from_ms(counter),
            condition: None,
        }
    }

    fn execute(store: &mut MemoryStore, operations: Vec<Apply>) -> Vec<Applied> {
        match store.execute(&StoreRequest::ApplyBatch(Arc::new(operations))) {
            StoreReply::Applied(applied) => applied,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repeated_operation_is_answered_as_the_first_time_and_has_no_effect() {
        let mut store = MemoryStore::default();
        let first = execute(&mut store, vec![apply(1, 1, 1, SyncDataType::PlayerData, "a")]);
        let content = store.content();
        let again = execute(&mut store, vec![apply(1, 1, 1, SyncDataType::PlayerData, "other")]);
        assert_eq!(again, [Applied { verdict: first[0].verdict, duplicate: true }]);
        assert_eq!(store.content(), content);
    }

    #[test]
    fn a_lower_sequence_is_out_of_order() {
        let mut store = MemoryStore::default();
        let answers = execute(
            &mut store,
            vec![
                apply(1, 2, 2, SyncDataType::PlayerData, "newer"),
                apply(1, 1, 1, SyncDataType::PlayerData, "older"),
            ],
        );
        assert_eq!(answers[1].verdict, Verdict::OutOfOrder { last: 2 });
        let key = apply(1, 1, 1, SyncDataType::PlayerData, "").state_key().unwrap();
        assert_eq!(&*store.content().states[&key].data, "newer");
    }

    #[test]
    fn a_map_state_is_shared_and_a_player_state_is_not() {
        let mut store = MemoryStore::default();
        let answers = execute(
            &mut store,
            vec![
                apply(1, 1, 1, SyncDataType::MapState, "a"),
                apply(2, 1, 1, SyncDataType::MapState, "b"),
                apply(1, 2, 1, SyncDataType::PlayerData, "c"),
                apply(2, 2, 1, SyncDataType::PlayerData, "d"),
            ],
        );
        let versions: Vec<_> = answers.into_iter().map(|a| a.verdict).collect();
        let applied = |version| Verdict::Applied { version };
        assert_eq!(versions, [applied(1), applied(2), applied(1), applied(1)]);
    }

    #[test]
    fn a_purge_forgets_names_and_order_still_refuses_them() {
        let mut store = MemoryStore::default();
        execute(&mut store, vec![apply(1, 1, 1, SyncDataType::ChatMessage, "hi")]);
        let reply = store.execute(&StoreRequest::Purge { before: Timestamp::from_ms(2) });
        assert_eq!(reply, StoreReply::Purged(1));
        let again = execute(&mut store, vec![apply(1, 1, 1, SyncDataType::ChatMessage, "hi")]);
        assert_eq!(again[0].verdict, Verdict::OutOfOrder { last: 1 });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// De-duplication: however often and in whatever grouping operations are repeated, each
        /// takes effect at most once and is always answered alike.
        #[test]
        fn repeats_change_nothing(
            order in prop::collection::vec((1u32..3, 1u64..12), 1..60),
            cuts in prop::collection::vec(1usize..5, 1..60),
        ) {
            let types = [SyncDataType::PlayerData, SyncDataType::ChatMessage, SyncDataType::MapState];
            let make = |(account, counter): (u32, u64)| {
                apply(account, counter, counter, types[counter as usize % 3], &format!("{account}-{counter}"))
            };
            let mut store = MemoryStore::default();
            let mut seen: BTreeMap<(u32, u64), Verdict> = BTreeMap::new();
            let mut effects = 0u64;
            let (mut rest, mut cut) = (&order[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (batch, tail) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                rest = tail;
                let answers = execute(&mut store, batch.iter().map(|op| make(*op)).collect());
                for (op, answer) in batch.iter().zip(answers) {
                    let first = *seen.entry(*op).or_insert(answer.verdict);
                    prop_assert_eq!(first, answer.verdict);
                    if !answer.duplicate && matches!(answer.verdict, Verdict::Applied { .. }) {
                        effects += 1;
                    }
                }
            }
            let content = store.content();
            prop_assert_eq!(effects, content.sessions.values().map(|s| s.applied.len()).sum::<u64>());
            let applied = seen.values().filter(|v| matches!(v, Verdict::Applied { .. })).count() as u64;
            prop_assert_eq!(effects, applied);
        }
    }
}
