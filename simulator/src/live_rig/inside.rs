//! Events of what main servers did inside, made of their facts and of the database's rows when a run is over: what
//! transactions held, and how far reads got.
//!
//! Moments are those of one clock, the machine's: the facts' own, and of effects that of their commit. A transaction is
//! what rows of one `xmin` were written by. Which request it was follows from the ids: one that asked for all of them, and
//! for nothing else but what had been decided before.

use rustc_hash::{FxHashMap, FxHashSet};

use super::facts::{Fact, Line};
use crate::history::{Event, OpRef, ReadStage, StateName, What, WireId};

/// The facts of one life of a main server.
#[derive(Clone, Debug)]
pub(super) struct LifeFacts {
    /// The number of its first engine; no two engines of a run have the same.
    pub(super) first_engine: u32,
    pub(super) lines: Vec<Line>,
}

/// An operation that the database has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) id: WireId,
    /// The transaction that wrote its row.
    pub(super) transaction: u64,
    /// When that was committed, in microseconds since 1970.
    pub(super) committed_us: u64,
}

/// What there is beside the facts.
pub(super) struct Outside<'a> {
    /// Operations that the database has decided.
    pub(super) decided: &'a FxHashMap<WireId, (u64, u64)>,
    /// Effects on states, in the moments of their commits.
    pub(super) applied: &'a [Event],
    /// The operation that travelled under an id.
    pub(super) op: &'a dyn Fn(&WireId) -> Option<OpRef>,
    /// The run's first moment, in microseconds since 1970.
    pub(super) start_us: u64,
}

/// The events in the order of their happening, effects included.
///
/// # Errors
/// Why they cannot be told.
pub(super) fn events(lives: &[LifeFacts], outside: &Outside<'_>) -> Result<Vec<Event>, String> {
    let mut told: Vec<(u64, u8, What)> = Vec::new();
    told.extend(outside.applied.iter().map(|event| (event.at_us, EFFECT, event.what.clone())));
    told.extend(transactions(lives, outside)?);
    let committed: FxHashMap<(&StateName, u64), u64> = outside
        .applied
        .iter()
        .filter_map(|event| match &event.what {
            What::Applied { key: Some(key), version, .. } => Some(((key, *version), event.at_us)),
            _ => None,
        })
        .collect();
    let mut attempts = FxHashMap::default();
    for life in lives {
        reads(life, outside, &committed, &mut attempts, &mut told)?;
    }
    // Stable: what one engine did in one moment stays in its order.
    told.sort_by_key(|(at_us, rank, _)| (*at_us, *rank));
    Ok(told.into_iter().map(|(at_us, _, what)| Event { at_us, what }).collect())
}

/// Transactions with what they were to decide, in the order of their commits.
fn transactions(lives: &[LifeFacts], outside: &Outside<'_>) -> Result<Vec<(u64, u8, What)>, String> {
    let mut batches = Vec::new();
    let mut asked_in: FxHashMap<WireId, Vec<usize>> = FxHashMap::default();
    for Line { fact, .. } in lives.iter().flat_map(|life| &life.lines) {
        if let Fact::Batch { ids } = fact {
            ids.iter().for_each(|id| asked_in.entry(*id).or_default().push(batches.len()));
            batches.push(ids);
        }
    }
    let mut transactions: FxHashMap<u64, (u64, Vec<WireId>)> = FxHashMap::default();
    for (id, (transaction, committed_us)) in outside.decided {
        transactions.entry(*transaction).or_insert((*committed_us, Vec::new())).1.push(*id);
    }
    let mut transactions: Vec<_> = transactions.into_iter().collect();
    transactions.sort_unstable_by_key(|(number, (committed_us, _))| (*committed_us, *number));
    let (mut decided, mut told) = (FxHashSet::default(), Vec::new());
    for (_, (committed_us, mut ids)) in transactions {
        ids.sort_unstable();
        let candidates = asked_in.get(&ids[0]).map_or(&[][..], Vec::as_slice);
        let mut candidates = candidates.iter().map(|place| batches[*place]);
        // Whatever it left out was there.
        let is_whole = |batch: &&Vec<WireId>| {
            ids.iter().all(|id| batch.contains(id))
                && batch.iter().all(|id| decided.contains(id) || ids.binary_search(id).is_ok())
        };
        let batch = candidates.clone().find(is_whole).or_else(|| candidates.next()).ok_or_else(|| {
            format!(
                "no main server is known to have asked for a transaction that decided operation {}",
                ids[0]
            )
        })?;
        let mut asked = batch.clone();
        asked.extend(ids.iter().filter(|id| !batch.contains(id)));
        let is_present = |id: &&WireId| decided.contains(*id) || ids.binary_search(id).is_ok();
        let present = asked.iter().filter(is_present).copied().collect();
        told.push((
            committed_us.saturating_sub(outside.start_us),
            TRANSACTION,
            What::Committed { asked, present },
        ));
        decided.extend(ids);
    }
    Ok(told)
}

/// A read under way.
struct Reading<'a> {
    key: &'a StateName,
    op: OpRef,
    attempt: u32,
    began_us: u64,
}

fn reads(
    life: &LifeFacts,
    outside: &Outside<'_>,
    committed: &FxHashMap<(&StateName, u64), u64>,
    attempts: &mut FxHashMap<OpRef, u32>,
    told: &mut Vec<(u64, u8, What)>,
) -> Result<(), String> {
    let mut under_way: FxHashMap<(u32, u64), Reading<'_>> = FxHashMap::default();
    for Line { wall_us, shard, fact, .. } in &life.lines {
        let at_us = wall_us.saturating_sub(outside.start_us);
        let server = life.first_engine + shard;
        let tell = |reading: &Reading<'_>, stage| What::Read {
            server,
            key: reading.key.clone(),
            op: reading.op,
            attempt: reading.attempt,
            stage,
        };
        let unknown = || "a read ended that never began".to_owned();
        match fact {
            Fact::Batch { .. } | Fact::End => {}
            Fact::Written { keys } => {
                let answered = |key: &StateName| What::WriteAnswered { server, key: key.clone() };
                told.extend(keys.iter().map(|key| (at_us, INSIDE, answered(key))));
            }
            Fact::Began { read, key, id } => {
                let op = (outside.op)(id)
                    .ok_or_else(|| format!("a read began for operation {id}, which no host sent"))?;
                // Each read for an operation has a number of its own.
                let attempt = attempts.entry(op).or_insert(0);
                *attempt += 1;
                let reading = Reading { key, op, attempt: *attempt, began_us: at_us };
                told.push((at_us, INSIDE, tell(&reading, ReadStage::Began)));
                under_way.insert((*shard, *read), reading);
            }
            Fact::Served { read, version } => {
                let reading = under_way.remove(&(*shard, *read)).ok_or_else(unknown)?;
                // When the cache gave it is not known; it was after the question and the commit, and before the answer.
                let written_us = committed.get(&(reading.key, *version)).copied().unwrap_or(0);
                let given_us = reading.began_us.max(written_us).min(at_us);
                told.push((given_us, GIVEN, tell(&reading, ReadStage::Cached { version: *version })));
                told.push((at_us, INSIDE, tell(&reading, ReadStage::Served)));
            }
            Fact::Loaded { read, version } => {
                let reading = under_way.remove(&(*shard, *read)).ok_or_else(unknown)?;
                told.push((at_us, INSIDE, tell(&reading, ReadStage::Loaded { version: *version })));
            }
        }
    }
    Ok(())
}

/// What comes first of several things in one microsecond.
const EFFECT: u8 = 0;
const TRANSACTION: u8 = 1;
const GIVEN: u8 = 2;
const INSIDE: u8 = 3;

#[cfg(test)]
mod tests {
    use sync_core::data_type::SyncDataType;
    use sync_core::id::MapName;

    use super::super::facts::tests::line;
    use super::*;
    use crate::check::{Jury, Terms};
    use crate::history::Kind;
    use crate::verdict::Verdict;

    const START_US: u64 = 1_000;

    fn id(counter: u64) -> WireId {
        WireId { account: 1, incarnation: 2, counter }
    }

    fn op(counter: u64) -> OpRef {
        OpRef { host: 0, ticket: counter }
    }

    fn key() -> StateName {
        "MAP_STATE/0/m".parse().unwrap()
    }

    fn batch(counters: &[u64]) -> Line {
        line(START_US, Fact::Batch { ids: counters.iter().map(|counter| id(*counter)).collect() })
    }

    fn began(wall_us: u64, read: u64) -> Line {
        line(wall_us, Fact::Began { read, key: key(), id: id(read) })
    }

    fn applied(at_us: u64, version: u64) -> Event {
        let what = What::Applied {
            op: Some(op(version)),
            id: id(version),
            data_type: SyncDataType::MapState,
            map: MapName::new("m").unwrap(),
            key: Some(key()),
            version,
            value: None,
        };
        Event { at_us, what }
    }

    /// The verdicts on P16, P23 and P24: a value may be out of date for 100 us.
    fn verdicts(lines: Vec<Line>, decided: &[(u64, u64)], applied: &[Event]) -> Result<[Verdict; 3], String> {
        let decided = decided
            .iter()
            .map(|(counter, transaction)| (id(*counter), (*transaction, START_US + transaction)));
        let outside = Outside {
            decided: &decided.collect(),
            applied,
            op: &|id| Some(op(id.counter)),
            start_us: START_US,
        };
        let terms = Terms {
            demanded: ["P16", "P23", "P24"].map(str::to_owned).to_vec(),
            stale_reads_us_max: 100,
            ..Terms::default()
        };
        let mut jury = Jury::deferring(&terms);
        let events = events(&[LifeFacts { first_engine: 4, lines }], &outside)?;
        events.iter().for_each(|event| {
            jury.observe_late(event);
        });
        let judged = jury.finish(&Kind::ALL, &terms.demanded);
        let of = |property: &str| judged.iter().find(|found| found.property == property).unwrap().verdict;
        Ok(["P16", "P23", "P24"].map(of))
    }

    #[test]
    fn whole_transactions_pass_whatever_was_repeated() {
        let lines = vec![batch(&[1, 2, 3]), batch(&[2, 4]), batch(&[5])];
        // The answer to the first one was lost, and operation 2 asked for once more.
        assert_eq!(verdicts(lines, &[(1, 7), (2, 7), (3, 7), (4, 8)], &[]).unwrap()[0], Verdict::Pass);
    }

    #[test]
    fn a_part_of_a_transaction_fails() {
        let lines = vec![batch(&[1, 2, 3, 4])];
        assert_eq!(verdicts(lines.clone(), &[(1, 7), (2, 7)], &[]).unwrap()[0], Verdict::Fail);
        // Even when the rest comes in one of its own.
        let in_two = [(1, 7), (2, 7), (3, 8), (4, 8)];
        assert_eq!(verdicts(lines.clone(), &in_two, &[]).unwrap()[0], Verdict::Fail);
        assert!(verdicts(lines, &[(9, 7)], &[]).unwrap_err().contains("0000000000000002-9"));
    }

    #[test]
    fn reads_are_told_in_their_stages() {
        let served = |wall_us, read, version| line(wall_us, Fact::Served { read, version });
        let loaded = line(2_200, Fact::Loaded { read: 1, version: Some(1) });
        let lines = vec![began(2_000, 1), loaded, began(2_300, 2), served(2_350, 2, 2)];
        // The second version took effect while the cache was asked.
        let effects = [applied(900, 1), applied(1_320, 2)];
        assert_eq!(verdicts(lines.clone(), &[], &effects).unwrap()[1..], [Verdict::Pass, Verdict::Pass]);
        let mut late = lines.clone();
        late.extend([began(2_500, 3), served(2_510, 3, 1)]);
        assert_eq!(verdicts(late, &[], &effects).unwrap()[1], Verdict::Fail, "180 us out of date");
        let mut unwritten = lines.clone();
        unwritten.extend([began(2_500, 3), served(2_510, 3, 3)]);
        assert_eq!(verdicts(unwritten, &[], &effects).unwrap()[1], Verdict::Fail);
        let mut two = lines;
        two.extend([began(2_500, 3), began(2_505, 4)]);
        assert_eq!(verdicts(two, &[], &effects).unwrap()[2], Verdict::Fail);
    }

    #[test]
    fn a_read_that_ends_without_a_beginning_is_no_evidence() {
        assert!(verdicts(vec![line(2_000, Fact::Served { read: 1, version: 1 })], &[], &[]).is_err());
    }
}
