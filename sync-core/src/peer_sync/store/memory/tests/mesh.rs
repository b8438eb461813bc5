//! Feeds under any order of statements, commits, crashes and pages, between several databases.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::peer_sync::store::memory::WriteError;

const NODES: usize = 3;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    /// A statement of one of the transactions that are kept open at a node.
    Write {
        node: usize,
        slot: usize,
        id: u32,
        delete: bool,
    },
    Commit {
        node: usize,
        slot: usize,
    },
    Rollback {
        node: usize,
        slot: usize,
    },
    /// Reads a page; `lost` is a page that the reader never applies.
    Pull {
        reader: usize,
        source: usize,
        rows_max: usize,
        lost: bool,
    },
    Crash(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let slot = 0..3usize;
    prop_oneof![
        12 => (node.clone(), slot.clone(), 0u32..8, proptest::bool::weighted(0.2))
            .prop_map(|(node, slot, id, delete)| Step::Write { node, slot, id, delete }),
        6 => (node.clone(), slot.clone()).prop_map(|(node, slot)| Step::Commit { node, slot }),
        1 => (node.clone(), slot).prop_map(|(node, slot)| Step::Rollback { node, slot }),
        8 => (node.clone(), 1..NODES, 1usize..5, proptest::bool::weighted(0.2)).prop_map(
            |(reader, by, rows_max, lost)| Step::Pull { reader, source: (reader + by) % NODES, rows_max, lost }
        ),
        1 => node.prop_map(Step::Crash),
    ]
}

/// Databases with transactions under way, and what was committed.
struct World {
    now: u64,
    stores: Vec<MemoryPeerStore>,
    open: Vec<[Option<TransactionId>; 3]>,
    /// What each transaction under way has written.
    pending: BTreeMap<(usize, TransactionId), BTreeMap<RowId, Version>>,
    committed: Vec<BTreeMap<RowId, Version>>,
}

impl World {
    fn new() -> Self {
        Self {
            now: 1_000,
            stores: ["a", "b", "c"].map(store).into(),
            open: vec![[None; 3]; NODES],
            pending: BTreeMap::new(),
            committed: Vec::new(),
        }
    }

    fn two(&mut self, reader: usize, source: usize) -> (&mut MemoryPeerStore, &mut MemoryPeerStore) {
        let [reader, source] = self.stores.get_disjoint_mut([reader, source]).unwrap();
        (reader, source)
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        self.now += 1;
        match step {
            Step::Write { node, slot, id, delete } => {
                let store = &mut self.stores[node];
                let transaction = *self.open[node][slot].get_or_insert_with(|| store.begin());
                let text = self.now.to_string();
                let write = if delete { super::delete(id) } else { put(id, &text) };
                match store.write(transaction, at(self.now), write) {
                    Ok(Some(version)) => {
                        let pending = self.pending.entry((node, transaction)).or_default();
                        pending.insert(row(id), version);
                    }
                    Ok(None) | Err(WriteError::Locked { .. }) => {}
                    Err(other) => return Err(TestCaseError::fail(other.to_string())),
                }
            }
            Step::Commit { node, slot } => self.commit(node, slot),
            Step::Rollback { node, slot } => {
                if let Some(transaction) = self.open[node][slot].take() {
                    self.stores[node].rollback(transaction);
                    self.pending.remove(&(node, transaction));
                }
            }
            Step::Pull { reader, source, rows_max, lost } => {
                self.page(reader, source, rows_max, lost)?;
            }
            Step::Crash(node) => {
                self.stores[node].crash();
                self.open[node] = [None; 3];
                self.pending.retain(|(other, _), _| *other != node);
            }
        }
        self.check_atomic()
    }

    fn commit(&mut self, node: usize, slot: usize) {
        if let Some(transaction) = self.open[node][slot].take() {
            self.stores[node].commit(transaction, at(self.now)).unwrap();
            self.committed.extend(self.pending.remove(&(node, transaction)));
        }
    }

    /// Reads and applies one page; how many rows it had and whether it was the last.
    fn page(
        &mut self,
        reader: usize,
        source: usize,
        rows_max: usize,
        lost: bool,
    ) -> Result<(usize, bool), TestCaseError> {
        let now = self.now;
        let (reader, source) = self.two(reader, source);
        let request = question(reader, source, rows_max);
        let page = read(source, request).expect("no reason to reconcile");
        prop_assert_eq!(page.groups.iter().sum::<u32>() as usize, page.rows.len());
        prop_assert_eq!(page.split, 0);
        let (rows, end) = (page.rows.len(), page.frontier.is_some());
        if lost {
            return Ok((rows, end));
        }
        let advance = Advance { position: page.position, frontier: page.frontier.unwrap_or_default() };
        let request = MergeRows {
            from: source.node.clone(),
            rows: page.rows,
            groups: page.groups,
            known: page.known,
            advance: Some(advance),
            repair: false,
        };
        match reader.execute(at(now), PeerRequest::Merge(request)) {
            PeerReply::Merged(merged) => prop_assert!(merged.advanced),
            PeerReply::Unavailable => {}
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
        Ok((rows, end))
    }

    /// P16: where one row of a transaction is seen, every other row of it is seen or beaten.
    fn check_atomic(&self) -> Result<(), TestCaseError> {
        for store in &self.stores {
            let held = |row: &RowId| store.stored(row).map(|stored| &stored.version);
            for transaction in &self.committed {
                let seen = transaction.iter().any(|(row, version)| held(row) == Some(version));
                let whole = transaction.iter().all(|(row, version)| held(row) >= Some(version));
                prop_assert!(!seen || whole, "{} sees a part of {transaction:?}", store.node());
            }
        }
        Ok(())
    }

    /// Everybody ends what is under way and reads everybody until nothing is new.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for node in 0..NODES {
            (0..3).for_each(|slot| self.commit(node, slot));
        }
        for _ in 0..NODES {
            self.round(3)?;
        }
        Ok(())
    }

    fn round(&mut self, rows_max: usize) -> Result<usize, TestCaseError> {
        let mut rows = 0;
        for reader in 0..NODES {
            for by in 1..NODES {
                loop {
                    let (more, end) = self.page(reader, (reader + by) % NODES, rows_max, false)?;
                    self.check_atomic()?;
                    rows += more;
                    if end {
                        break;
                    }
                }
            }
        }
        Ok(rows)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// P15 and P16, and that a quiet mesh sends nothing.
    #[test]
    fn p15_p16_no_commit_is_skipped_and_none_is_seen_in_part(
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
        }
        world.settle()?;
        let expected = content(&world.stores[0]);
        for store in &mut world.stores {
            prop_assert_eq!(&content(store), &expected);
            check_derived(store);
        }
        // Every committed write, or one that beats it, is there.
        for (row, version) in world.committed.iter().flatten() {
            let stored = world.stores[0].stored(row).map(|stored| &stored.version);
            prop_assert!(stored >= Some(version));
        }
        prop_assert_eq!(world.round(100)?, 0);
        let frontier = world.stores[0].frontier();
        for store in &world.stores {
            prop_assert_eq!(&store.frontier(), &frontier);
        }
    }
}

#[test]
fn in_a_mesh_each_row_reaches_each_reader_once() {
    let mut world = World::new();
    for id in 0..100 {
        transact(&mut world.stores[id as usize % NODES], 1_000, [put(id, "x")]);
    }
    // a reads b and c, then b reads c and a, which has the rows of c too, then c reads a and b.
    let copies = world.round(1_000).unwrap();
    assert_eq!(copies, 200);
    assert_eq!(world.round(1_000).unwrap(), 0);
    assert_eq!(content(&world.stores[0]).len(), 100);
}

#[test]
fn what_others_wrote_travels_on() {
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(store);
    transact(&mut a, 10, [put(1, "x")]);
    assert_eq!(pull(&mut b, &mut a, 20), 1);
    assert_eq!(pull(&mut c, &mut b, 30), 1);
    assert_eq!(pull(&mut a, &mut c, 40), 0, "and not back to where it is from");
    assert_eq!(content(&a), content(&c));
    assert!(c.frontier().includes(&a.frontier()));
}
