//! Tombstones that are purged, peers that were away, and databases that were set back: with reconciliation
//! as a replica does it, in its simplest form.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::peer_sync::position::Position;
use crate::peer_sync::store::{Outcome, Purge, Scrub, Scrubbed};
use crate::time::Span;

fn entries(store: &mut MemoryPeerStore) -> BTreeMap<RowId, Version> {
    match store.execute(at(0), PeerRequest::Entries(vec![DigestPart::ALL])) {
        PeerReply::Entries(entries) => entries.into_iter().map(|entry| (entry.row, entry.version)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Gives the rows of one to the other, where that lacks them or has them older, and drops what the other says is
/// deleted.
pub(super) fn give(from: &mut MemoryPeerStore, to: &mut MemoryPeerStore, now: u64) {
    let theirs = entries(to);
    let lacking = content(from).into_iter().filter(|row| theirs.get(&row.row) < Some(&row.version));
    let rows: Vec<RowVersion> = lacking.collect();
    let names = rows.iter().map(|row| DigestEntry { row: row.row.clone(), version: row.version.clone() });
    let names: Vec<DigestEntry> = names.collect();
    let request = MergeRows {
        from: from.node.clone(),
        rows,
        groups: Vec::new(),
        known: Vec::new(),
        advance: None,
        repair: false,
    };
    let outcomes = merge_rows(to, now, request).outcomes;
    let expired = names.into_iter().zip(outcomes).filter(|(_, outcome)| *outcome == Outcome::Expired);
    from.execute(at(now), drop_rows(expired.map(|(name, _)| name).collect()));
}

fn reconcile(reader: &mut MemoryPeerStore, source: &mut MemoryPeerStore, now: u64, then: Position) {
    give(source, reader, now);
    give(reader, source, now);
    let advance = Some(Advance { position: then, frontier: Frontier::default() });
    let from = source.node.clone();
    merge_rows(
        reader,
        now,
        MergeRows { from, rows: vec![], groups: vec![], known: vec![], advance, repair: false },
    );
}

/// Reads a source to the end, by reconciliation where it has to be. A source that was set back begins `life`.
pub(super) fn sync(reader: &mut MemoryPeerStore, source: &mut MemoryPeerStore, now: u64, life: Incarnation) {
    loop {
        let request = question(reader, source, 3);
        if let Some(position) = request.since.clone() {
            let peer = reader.node.clone();
            let refused = describe(reader).refused.contains(source.node());
            let passed = PeerRequest::Passed { peer, position, refused };
            if source.execute(at(now), passed) == (PeerReply::Noted { ahead: true }) {
                assert_eq!(source.execute(at(now), PeerRequest::Renew(life)), PeerReply::Renewed);
            }
        }
        match source.execute(at(now), PeerRequest::Feed(request)) {
            PeerReply::MustReconcile(then) => reconcile(reader, source, now, then),
            PeerReply::Page(page) => {
                let end = page.frontier.is_some();
                merge(reader, now, &source.node, page);
                if end {
                    return;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn purge(store: &mut MemoryPeerStore, now: u64, peers: &[&str], retention: u64) -> u64 {
    let peers = peers.iter().map(|name| node(name)).collect();
    let request = Purge { peers, retention: Span::from_us(retention), rows_max: 100 };
    match store.execute(at(now), PeerRequest::Purge(request)) {
        PeerReply::Purged(purged) => purged,
        other => panic!("{other:?}"),
    }
}

pub(super) const LIFE: Incarnation = Incarnation(2);

pub(super) fn pair() -> (MemoryPeerStore, MemoryPeerStore) {
    let (mut a, mut b) = (store("a"), store("b"));
    transact(&mut a, 10, [put(1, "x"), put(2, "x")]);
    sync(&mut b, &mut a, 11, LIFE);
    sync(&mut a, &mut b, 12, LIFE);
    (a, b)
}

#[test]
fn a_tombstone_waits_for_every_known_peer_or_for_the_retention() {
    let (mut a, mut b) = pair();
    let mut c = store("c");
    sync(&mut c, &mut b, 13, LIFE);
    sync(&mut c, &mut b, 14, LIFE);
    transact(&mut b, 20, [delete(1)]);
    assert_eq!(purge(&mut b, 20, &["a"], 100), 0);
    assert_eq!(purge(&mut b, 20, &[], 100), 0, "who knows nobody does not know who needs it");
    sync(&mut a, &mut b, 21, LIFE);
    assert_eq!(purge(&mut b, 22, &["a"], 100), 0, "applied, but nobody has said so");
    sync(&mut a, &mut b, 23, LIFE);
    assert_eq!(purge(&mut b, 24, &["a", "c"], 100), 0, "another has not come so far");
    assert_eq!(purge(&mut b, 24, &["a", "d"], 100), 0, "another has said nothing");
    assert_eq!(purge(&mut b, 24, &["a"], 100), 1);
    assert_eq!(purge(&mut a, 121, &["b", "c"], 100), 0);
    assert_eq!(purge(&mut a, 122, &["b", "c"], 100), 1, "older than the retention here");
    assert_eq!(content(&a), content(&b));
    check_derived(&mut a);
}

#[test]
fn a_tombstone_that_another_has_purged_stays_for_those_who_read_here() {
    let (mut a, mut b) = pair();
    let mut c = store("c");
    sync(&mut c, &mut b, 13, LIFE);
    transact(&mut a, 20, [delete(1)]);
    sync(&mut b, &mut a, 21, LIFE);
    let dead = b.stored(&row(1)).cloned().unwrap();
    let entries = vec![DigestEntry { row: row(1), version: dead.version }];
    let drop =
        || PeerRequest::Drop(DropRows { entries: entries.clone(), readers: vec![node("a"), node("c")] });
    assert_eq!(b.execute(at(22), drop()), PeerReply::Dropped(vec![]), "nobody has said that it has it");
    for (reader, now) in [("a", 23), ("c", 25)] {
        assert_eq!(b.execute(at(now), drop()), PeerReply::Dropped(vec![]), "not all have passed it");
        let reader = if reader == "a" { &mut a } else { &mut c };
        sync(reader, &mut b, now, LIFE);
        sync(reader, &mut b, now + 1, LIFE);
    }
    assert_eq!(b.execute(at(30), drop()), PeerReply::Dropped(vec![row(1)]));
    assert_eq!((b.stored(&row(1)), c.read(&row(1))), (None, None));
    check_derived(&mut b);
}

#[test]
fn who_has_read_half_of_a_feed_has_what_may_be_deleted() {
    let (mut a, mut b) = pair();
    let mut c = store("c");
    transact(&mut b, 15, [put(3, "x")]);
    let request = question(&mut c, &b, 1);
    let page = read(&mut b, request).unwrap();
    assert_eq!((page.rows.len(), &page.frontier), (2, &None));
    merge(&mut c, 16, &node("b"), page);
    assert!(c.frontier().is_empty(), "it claims nothing");
    transact(&mut a, 20, [delete(1)]);
    sync(&mut b, &mut a, 21, LIFE);
    assert_eq!(purge(&mut a, 200, &["b"], 100), 1);
    let request = question(&mut c, &a, 10);
    assert_eq!(read(&mut a, request), None, "it has to reconcile");
    sync(&mut c, &mut a, 201, LIFE);
    assert_eq!(c.stored(&row(1)), None);
    sync(&mut c, &mut b, 202, LIFE);
    assert_eq!(c.rows(&notes()), b.rows(&notes()));
    check_derived(&mut c);
}

#[test]
fn who_was_away_longer_drops_what_was_deleted_and_keeps_what_it_wrote() {
    let (mut a, mut b) = pair();
    transact(&mut b, 15, [put(3, "written while away")]);
    transact(&mut a, 20, [delete(1)]);
    assert_eq!(purge(&mut a, 200, &["b"], 100), 1);
    let expired = b.stored(&row(1)).cloned().unwrap();
    let request = question(&mut b, &a, 10);
    assert_eq!(read(&mut a, request), None, "it has to reconcile");
    sync(&mut b, &mut a, 201, LIFE);
    sync(&mut a, &mut b, 202, LIFE);
    assert_eq!(a.rows(&notes()).len(), 2);
    assert_eq!((b.stored(&row(1)), content(&a)), (None, content(&b)));
    // And nobody takes it back from whoever still has it.
    let rows = vec![expired];
    let request =
        MergeRows { from: node("z"), rows, groups: vec![], known: vec![], advance: None, repair: false };
    assert_eq!(merge_rows(&mut b, 203, request).outcomes, [Outcome::Expired]);
    check_derived(&mut b);
}

#[test]
fn what_was_written_away_stays_deleted_if_the_purged_delete_was_later() {
    let (mut a, mut b) = pair();
    transact(&mut b, 15, [put(1, "before the delete")]);
    transact(&mut a, 20, [delete(1), delete(2)]);
    transact(&mut b, 25, [put(2, "after the delete")]);
    assert_eq!(purge(&mut a, 200, &["b"], 100), 2);
    sync(&mut a, &mut b, 201, LIFE);
    assert_eq!(a.stored(&row(1)), None, "nobody deleted it later, but it is not new");
    assert!(a.read(&row(2)).is_some(), "written later than it was deleted");
    sync(&mut b, &mut a, 202, LIFE);
    assert_eq!((b.stored(&row(1)), content(&a)), (None, content(&b)));
    // An insert is new, whatever was there.
    transact(&mut a, 210, [put(1, "again")]);
    sync(&mut b, &mut a, 211, LIFE);
    assert_eq!(content(&a).len(), 2);
    assert_eq!(content(&a), content(&b));
    check_derived(&mut a);
}

#[test]
fn what_another_has_purged_is_known_to_who_read_it_to_the_end() {
    let (mut a, b) = pair();
    let expired = b.stored(&row(1)).cloned().unwrap();
    transact(&mut a, 20, [delete(1)]);
    purge(&mut a, 200, &["b"], 100);
    let mut new = store("new");
    sync(&mut new, &mut a, 201, LIFE);
    let request = MergeRows {
        from: node("b"),
        rows: vec![expired],
        groups: vec![],
        known: vec![],
        advance: None,
        repair: false,
    };
    assert_eq!(merge_rows(&mut new, 202, request).outcomes, [Outcome::Expired]);
}

#[test]
fn an_open_transaction_does_not_make_readers_reconcile_for_ever() {
    let (mut a, mut b) = pair();
    let open = a.begin();
    write(&mut a, open, 20, put(9, "x"));
    transact(&mut a, 21, [delete(1)]);
    purge(&mut a, 200, &["b"], 100);
    sync(&mut b, &mut a, 201, LIFE);
    let request = question(&mut b, &a, 10);
    assert!(read(&mut a, request).is_some());
    // What it writes is purged before anybody has read it.
    a.commit(open, at(202)).unwrap();
    transact(&mut a, 203, [delete(9)]);
    purge(&mut a, 400, &["b"], 100);
    let request = question(&mut b, &a, 10);
    assert_eq!(read(&mut a, request), None);
}

#[test]
fn a_database_that_was_set_back_begins_a_new_life_and_nobody_loses_anything() {
    let (mut a, mut b) = pair();
    let copy = a.durable_copy();
    transact(&mut a, 20, [put(3, "lost"), put(4, "lost")]);
    transact(&mut a, 21, [put(4, "lost, too")]);
    let mut c = store("c");
    sync(&mut b, &mut a, 22, LIFE);
    sync(&mut c, &mut b, 23, LIFE);
    a = copy;
    // Under a number of what was lost, something else.
    transact(&mut a, 30, [put(5, "new")]);
    sync(&mut b, &mut a, 32, LIFE);
    assert_eq!(a.incarnation(), LIFE);
    assert_eq!(a.rows(&notes()).len(), 5, "it has back what was lost");
    transact(&mut a, 33, [put(6, "new")]);
    sync(&mut b, &mut a, 33, LIFE);
    sync(&mut c, &mut b, 33, LIFE);
    assert_eq!(content(&c).len(), 6, "a reader of a reader takes new rows under numbers that it had read");
    sync(&mut a, &mut b, 34, LIFE);
    sync(&mut a, &mut c, 35, LIFE);
    sync(&mut b, &mut a, 36, LIFE);
    let visible = |store: &MemoryPeerStore| {
        store.rows(&notes()).into_iter().map(|(_, content)| content.clone()).collect::<Vec<_>>()
    };
    assert_eq!((visible(&a), visible(&b)), (visible(&c), visible(&c)));
}

#[test]
fn a_database_under_another_name_keeps_what_was_written_there_and_takes_no_numbers_for_others() {
    let (mut a, mut b) = pair();
    // A copy of `a` is written under that name, under numbers that `a` gives, too.
    let mut double = a.durable_copy();
    transact(&mut double, 20, [put(3, "at the double")]);
    transact(&mut a, 20, [put(4, "at the first")]);
    sync(&mut b, &mut a, 21, LIFE);
    double.rename(node("c"), Incarnation(3));
    let mut c = double;
    assert_eq!((c.node(), c.incarnation()), (&node("c"), Incarnation(3)));
    assert_eq!(c.stored(&row(3)).unwrap().version.node, node("a"), "who wrote it wrote it");
    transact(&mut c, 22, [put(5, "as another"), delete(2)]);
    for now in [30, 40] {
        sync(&mut b, &mut c, now, LIFE);
        sync(&mut c, &mut b, now + 1, LIFE);
        sync(&mut a, &mut c, now + 2, LIFE);
        sync(&mut c, &mut a, now + 3, LIFE);
        sync(&mut a, &mut b, now + 4, LIFE);
    }
    assert_eq!(content(&a).len(), 5);
    assert_eq!((a.rows(&notes()), b.rows(&notes())), (c.rows(&notes()), c.rows(&notes())));
    assert_eq!(a.rows(&notes()).len(), 4, "all but what was deleted");
    // Nothing that it had before is in the way of purges.
    assert_eq!(purge(&mut c, 50, &["a", "b"], u64::MAX), 1);
    check_derived(&mut c);
}

#[test]
fn a_scrub_finds_a_changed_byte_and_a_repair_mends_it() {
    let (mut a, mut b) = pair();
    let scrub = |store: &mut MemoryPeerStore| {
        let (mut corrupt, mut looked_at, mut after) = (Vec::new(), 0, None);
        loop {
            let request = PeerRequest::Scrub(Scrub { after, rows_max: 1 });
            let PeerReply::Scrubbed(Scrubbed { corrupt: more, next, rows }) = store.execute(at(0), request)
            else {
                panic!("a scrub is answered")
            };
            corrupt.extend(more);
            looked_at += rows;
            after = next;
            if after.is_none() {
                return (corrupt, looked_at);
            }
        }
    };
    assert_eq!(scrub(&mut a), (vec![], 2));
    let digest = describe(&mut a).digest;
    a.corrupt(&row(2), Content::new([Some("2"), Some("y")]));
    assert_eq!(describe(&mut a).digest, digest, "a digest over carried hashes does not see it");
    assert_eq!(scrub(&mut a), (vec![row(2)], 2));
    let good = vec![b.stored(&row(2)).cloned().unwrap()];
    let repair = |repair| MergeRows {
        from: node("b"),
        rows: good.clone(),
        groups: vec![],
        known: vec![],
        advance: None,
        repair,
    };
    assert_eq!(merge_rows(&mut a, 30, repair(false)).outcomes, [Outcome::Equal]);
    let beaten = good[0].version.clone();
    assert_eq!(merge_rows(&mut a, 30, repair(true)).outcomes, [Outcome::Updated { beaten }]);
    assert_eq!(merge_rows(&mut a, 30, repair(true)).outcomes, [Outcome::Equal]);
    assert_eq!((scrub(&mut a), scrub(&mut b)), ((vec![], 2), (vec![], 2)));
    assert_eq!(content(&a), content(&b));
    check_derived(&mut a);
}

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Write {
        node: usize,
        id: u32,
        delete: bool,
    },
    Sync {
        reader: usize,
        source: usize,
    },
    /// By what peers have passed.
    Purge(usize),
    /// By age, whoever has not passed it.
    Expire(usize),
    Copy(usize),
    Restore(usize),
}

fn any_step(restores: u32) -> impl Strategy<Value = Step> {
    let node = 0..NAMES.len();
    prop_oneof![
        8 => (node.clone(), 0u32..5, proptest::bool::weighted(0.4))
            .prop_map(|(node, id, delete)| Step::Write { node, id, delete }),
        10 => (node.clone(), 1..NAMES.len())
            .prop_map(|(reader, by)| Step::Sync { reader, source: (reader + by) % NAMES.len() }),
        3 => node.clone().prop_map(Step::Purge),
        2 => node.clone().prop_map(Step::Expire),
        restores => node.clone().prop_map(Step::Copy),
        restores => node.prop_map(Step::Restore),
    ]
}

struct World {
    now: u64,
    lives: u64,
    stores: Vec<MemoryPeerStore>,
    copies: Vec<MemoryPeerStore>,
    /// Everything that was ever written, by row, and whether it deletes.
    written: BTreeMap<RowId, BTreeMap<Version, bool>>,
    /// Versions that a deleter saw or knew to be beaten: they must never live again.
    deleted: BTreeSet<(RowId, Version)>,
}

impl World {
    fn new() -> Self {
        let stores: Vec<_> = NAMES.iter().map(|name| store(name)).collect();
        let (written, deleted) = (BTreeMap::new(), BTreeSet::new());
        Self { now: 1_000, lives: 1, copies: stores.clone(), stores, written, deleted }
    }

    fn step(&mut self, step: &Step) {
        self.now += 10;
        let now = self.now;
        match *step {
            Step::Write { node, id, delete } => {
                let store = &mut self.stores[node];
                if delete && store.read(&row(id)).is_none() {
                    return;
                }
                let write = if delete { super::delete(id) } else { put(id, &now.to_string()) };
                let before = store.stored(&row(id)).map(|stored| stored.version.clone());
                transact(store, now, [write]);
                let version = store.stored(&row(id)).unwrap().version.clone();
                self.written.entry(row(id)).or_default().insert(version, delete);
                self.deleted.extend(before.filter(|_| delete).map(|version| (row(id), version)));
            }
            Step::Sync { reader, source } => {
                self.lives += 1;
                let [reader, source] = self.stores.get_disjoint_mut([reader, source]).unwrap();
                sync(reader, source, now, Incarnation(self.lives));
            }
            Step::Purge(node) => {
                let others: Vec<&str> = NAMES.iter().copied().filter(|name| *name != NAMES[node]).collect();
                purge(&mut self.stores[node], now, &others, u64::MAX);
            }
            Step::Expire(node) => {
                purge(&mut self.stores[node], now, &NAMES, 30);
            }
            Step::Copy(node) => self.copies[node] = self.stores[node].durable_copy(),
            Step::Restore(node) => self.stores[node] = self.copies[node].clone(),
        }
    }

    /// Everybody reads everybody; then whoever still differs compares everything, as anti-entropy does now and then.
    fn settle(&mut self, compare: bool) {
        let pairs = [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)];
        for _ in 0..3 {
            for (reader, source) in pairs {
                self.step(&Step::Sync { reader, source });
                let [reader, source] = self.stores.get_disjoint_mut([reader, source]).unwrap();
                if compare && entries(reader) != entries(source) {
                    give(source, reader, self.now);
                    give(reader, source, self.now);
                }
            }
        }
    }

    fn check(&mut self, lossless: bool) -> Result<(), TestCaseError> {
        let visible = |store: &MemoryPeerStore| -> Vec<(RowId, Content)> {
            store.rows(&notes()).into_iter().map(|(row, content)| (row.clone(), content.clone())).collect()
        };
        let expected = visible(&self.stores[0]);
        for store in &mut self.stores {
            prop_assert_eq!(&visible(store), &expected);
            prop_assert!(store.versions().windows(2).all(|pair| pair[0].0.row < pair[1].0.row));
        }
        for (row, versions) in &self.written {
            let stored = self.stores[0].stored(row).filter(|stored| !stored.image.is_tombstone());
            let living = stored.map(|stored| &stored.version);
            if let Some(version) = living {
                prop_assert_eq!(versions.get(version), Some(&false), "a phantom: {}", row);
                if lossless {
                    let again = self.deleted.contains(&(row.clone(), version.clone()));
                    prop_assert!(!again, "{row} lives again with {version}");
                }
            }
            let (greatest, deletes) = versions.last_key_value().unwrap();
            if lossless && !deletes {
                prop_assert_eq!(living, Some(greatest), "{} is lost", row);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// P1, P5, P7: whoever purges what and when, nothing that was deleted lives again and nothing else is lost.
    #[test]
    fn p5_p7_purges_neither_revive_nor_lose(steps in proptest::collection::vec(any_step(0), 1..80)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        // A write that the deleter did not know may come to where the tombstone is already gone by age: it is taken
        // for a new one, which only a comparison sets right.
        world.settle(steps.iter().any(|step| matches!(step, Step::Expire(_))));
        world.check(true)?;
    }

    /// P1 and P6 where databases are set back to older copies, and write before anybody notices.
    #[test]
    fn p1_databases_that_were_set_back_converge(steps in proptest::collection::vec(any_step(1), 1..80)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.settle(true);
        world.check(false)?;
    }
}
