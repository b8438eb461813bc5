//! References and natural keys: what applications are told, and what rows from others come to.

use proptest::prelude::*;

use super::*;
use crate::peer_sync::constraints::standings;
use crate::peer_sync::schema::{OnDeleted, Reference};
use crate::peer_sync::store::memory::{Committed, WriteError};
use crate::peer_sync::store::{AsideChange, Outcome, Purge, Standing};
use crate::time::Span;

fn name(table: &str) -> TableName {
    TableName(table.into())
}

/// Users with an e-mail; posts that revive, notes that go with their user, and badges that hold it.
fn schema() -> Schema {
    let child = |table: &str, on_deleted| {
        let mut table = Table::new(table, &["id", "user"], &["id"]).unwrap();
        let (columns, parent) = (vec!["user".to_owned()], name("users"));
        table.references.push(Reference { columns, table: parent, on_deleted });
        table
    };
    let mut users = Table::new("users", &["id", "email"], &["id"]).unwrap();
    users.unique.push(vec!["email".to_owned()]);
    let [posts, notes, badges] = [
        child("posts", OnDeleted::Revive),
        child("notes", OnDeleted::Cascade),
        child("badges", OnDeleted::Restrict),
    ];
    Schema::new([users, posts, notes, badges]).unwrap()
}

fn peer(id: &str) -> MemoryPeerStore {
    MemoryPeerStore::new(node(id), schema(), Incarnation(1), limits::STAMP_AHEAD_MAX)
}

fn id(table: &str, id: u32) -> RowId {
    RowId { table: name(table), key: Content::new([Some(id.to_string().as_str())]) }
}

fn set(table: &str, id: u32, value: Option<&str>) -> Write {
    Write::Put { table: name(table), content: Content::new([Some(id.to_string().as_str()), value]) }
}

fn fails(store: &mut MemoryPeerStore, now: u64, write: Write) -> WriteError {
    let transaction = store.begin();
    let error = store.write(transaction, at(now), write).expect_err("it breaks a rule");
    store.rollback(transaction);
    error
}

/// How rows stand, by the rules over the whole set of versions.
fn check_standings(store: &mut MemoryPeerStore) {
    let rows = content(store);
    let expected = standings(&schema(), &rows);
    let mut totals = std::collections::BTreeMap::new();
    for (row, standing) in &expected {
        assert_eq!(store.standing(row).as_ref(), Some(standing), "{row} at {}", store.node());
        let of_table: &mut [u64; 3] = totals.entry(row.table.clone()).or_default();
        match standing {
            Standing::Visible | Standing::Revived => of_table[0] += 1,
            Standing::Deleted => of_table[1] += 1,
            _ => of_table[2] += 1,
        }
        let visible = matches!(standing, Standing::Visible | Standing::Revived);
        assert_eq!(store.read(row).is_some(), visible, "{row}");
    }
    for (table, description) in describe(store).tables {
        let counted = [description.rows, description.tombstones, description.set_aside];
        assert_eq!(counted, totals.remove(&table).unwrap_or_default(), "{table}");
    }
}

#[test]
fn a_statement_that_breaks_a_rule_fails_as_in_a_database() {
    let mut a = peer("a");
    transact(&mut a, 10, [set("users", 1, Some("x")), set("posts", 1, Some("1"))]);
    let [user, post, other] = [id("users", 1), id("posts", 1), id("users", 2)];
    assert_eq!(
        fails(&mut a, 11, set("users", 2, Some("x"))),
        WriteError::NaturalKey { row: other.clone(), holder: user.clone() }
    );
    assert_eq!(
        fails(&mut a, 11, set("posts", 1, Some("2"))),
        WriteError::NoParent { row: post.clone(), parent: other.clone() }
    );
    let held = WriteError::HasChildren { row: user.clone(), child: post };
    assert_eq!(fails(&mut a, 11, Write::Delete(user.clone())), held);
    // A null is like nothing and names nothing.
    transact(&mut a, 12, [set("users", 3, None), set("users", 4, None), set("posts", 2, None)]);
    // In one transaction a key may pass on, and the children go first.
    transact(&mut a, 13, [set("users", 1, Some("y")), set("users", 2, Some("x"))]);
    transact(&mut a, 14, [set("posts", 1, Some("2")), Write::Delete(user)]);
    assert_eq!(a.rows(&name("users")).len(), 3);
    let twice = a.begin();
    write(&mut a, twice, 15, set("users", 5, Some("z")));
    let taken = WriteError::NaturalKey { row: id("users", 6), holder: id("users", 5) };
    assert_eq!(a.write(twice, at(15), set("users", 6, Some("z"))), Err(taken));
    check_standings(&mut a);
}

#[test]
fn children_that_cascade_go_in_the_same_transaction() {
    let mut a = peer("a");
    transact(&mut a, 10, [set("users", 1, Some("x")), set("notes", 1, Some("1")), set("notes", 2, None)]);
    let transaction = a.begin();
    write(&mut a, transaction, 11, Write::Delete(id("users", 1)));
    assert_eq!(a.read_in(transaction, &id("notes", 1)), None);
    let Committed { cascaded, aside, .. } = a.commit(transaction, at(12)).unwrap();
    let stored = a.stored(&id("notes", 1)).unwrap();
    assert_eq!(cascaded, [(id("notes", 1), stored.version.clone())]);
    assert!(stored.image.is_tombstone() && aside.is_empty());
    assert_eq!(a.rows(&name("notes")).len(), 1);
    check_standings(&mut a);
}

#[test]
fn transactions_under_way_wait_for_each_other() {
    let mut a = peer("a");
    transact(&mut a, 10, [set("users", 1, Some("x"))]);
    let one = a.begin();
    write(&mut a, one, 11, set("posts", 1, Some("1")));
    write(&mut a, one, 11, set("users", 2, Some("y")));
    let two = a.begin();
    let waits = |row: RowId| Err(WriteError::Locked { row, by: one });
    assert_eq!(a.write(two, at(12), Write::Delete(id("users", 1))), waits(id("users", 1)));
    assert_eq!(a.write(two, at(12), set("users", 3, Some("y"))), waits(id("users", 2)));
    let no_parent = WriteError::NoParent { row: id("posts", 2), parent: id("users", 2) };
    assert_eq!(fails(&mut a, 12, set("posts", 2, Some("2"))), no_parent, "not visible to others yet");
    a.rollback(one);
    write(&mut a, two, 13, Write::Delete(id("users", 1)));
    write(&mut a, two, 13, set("users", 3, Some("y")));
    let three = a.begin();
    let waits = |row: RowId| Err(WriteError::Locked { row, by: two });
    assert_eq!(a.write(three, at(14), set("posts", 1, Some("1"))), waits(id("users", 1)));
    assert_eq!(a.write(three, at(14), set("users", 4, Some("x"))), waits(id("users", 1)));
    a.commit(two, at(15)).unwrap();
    write(&mut a, three, 16, set("users", 4, Some("x")));
    a.crash();
    transact(&mut a, 17, [set("users", 5, Some("x"))]);
    check_standings(&mut a);
}

#[test]
fn what_collides_only_at_a_merge_is_set_aside_and_stands_again() {
    let (mut a, mut b) = (peer("a"), peer("b"));
    transact(&mut a, 10, [set("users", 1, Some("x"))]);
    transact(&mut b, 20, [set("users", 2, Some("x"))]);
    let request = question(&mut a, &b, 10);
    let page = read(&mut b, request).unwrap();
    let merged = merge(&mut a, 30, &node("b"), page);
    let loser = Standing::NaturalKey { winner: id("users", 2) };
    assert_eq!(merged.aside, [AsideChange { row: id("users", 1), standing: loser }]);
    assert_eq!(a.rows(&name("users")).len(), 1);
    check_standings(&mut a);
    // An application does not see it, and what it deletes lets the other stand again.
    let transaction = a.begin();
    assert_eq!(a.write(transaction, at(31), Write::Delete(id("users", 1))), Ok(None));
    write(&mut a, transaction, 31, Write::Delete(id("users", 2)));
    let committed = a.commit(transaction, at(31)).unwrap();
    assert_eq!(committed.aside, [AsideChange { row: id("users", 1), standing: Standing::Visible }]);
    check_standings(&mut a);
}

#[test]
fn a_parent_that_is_had_back_is_not_purged() {
    let (mut a, mut b) = (peer("a"), peer("b"));
    transact(&mut a, 10, [set("users", 1, Some("x"))]);
    pull(&mut b, &mut a, 11);
    transact(&mut a, 20, [Write::Delete(id("users", 1))]);
    transact(&mut b, 20, [set("posts", 1, Some("1"))]);
    pull(&mut a, &mut b, 30);
    assert_eq!(a.standing(&id("users", 1)), Some(Standing::Revived));
    assert_eq!(a.read(&id("users", 1)).and_then(|content| content.column(1)), Some("x"));
    let purge = || PeerRequest::Purge(Purge { peers: vec![], retention: Span::ZERO, rows_max: 10 });
    assert_eq!(a.execute(at(100), purge()), PeerReply::Purged(0));
    transact(&mut a, 110, [Write::Delete(id("posts", 1)), Write::Delete(id("users", 1))]);
    check_standings(&mut a);
    assert_eq!(a.execute(at(200), purge()), PeerReply::Purged(2));
    check_standings(&mut a);
}

#[test]
fn a_parent_that_was_purged_comes_back_for_a_child_from_further_off() {
    let (mut a, mut b, mut c) = (peer("a"), peer("b"), peer("c"));
    transact(&mut a, 10, [set("users", 1, Some("x"))]);
    pull(&mut b, &mut a, 11);
    pull(&mut c, &mut b, 12);
    transact(&mut a, 20, [Write::Delete(id("users", 1))]);
    transact(&mut c, 20, [set("posts", 1, Some("1"))]);
    pull(&mut b, &mut a, 30);
    let purge = || PeerRequest::Purge(Purge { peers: vec![], retention: Span::ZERO, rows_max: 10 });
    assert_eq!(a.execute(at(100), purge()), PeerReply::Purged(1));
    pull(&mut b, &mut c, 110);
    assert_eq!(b.standing(&id("users", 1)), Some(Standing::Revived));
    let dead = b.stored(&id("users", 1)).cloned().unwrap();
    let bring = || MergeRows {
        from: node("b"),
        rows: vec![dead.clone()],
        groups: vec![],
        known: vec![],
        advance: None,
        repair: false,
    };
    // Nobody demands it here yet: it is gone, but where it is demanded it is not dropped for that.
    assert_eq!(merge_rows(&mut a, 120, bring()).outcomes, [Outcome::Expired]);
    let entry = DigestEntry { row: dead.row.clone(), version: dead.version.clone() };
    assert_eq!(b.execute(at(121), drop_rows(vec![entry])), PeerReply::Dropped(vec![]));
    pull(&mut a, &mut b, 130);
    assert_eq!(a.standing(&id("posts", 1)), Some(Standing::Orphaned { parent: id("users", 1) }));
    assert_eq!(merge_rows(&mut a, 140, bring()).outcomes, [Outcome::Inserted]);
    pull(&mut c, &mut b, 150);
    for store in [&mut a, &mut b, &mut c] {
        assert_eq!(store.standing(&id("users", 1)), Some(Standing::Revived), "at {}", store.node());
        assert!(store.read(&id("posts", 1)).is_some());
        check_standings(store);
    }
}

/// A statement, or a reader (by the first number) that reads another.
#[derive(Clone, Debug)]
enum Step {
    Put { node: usize, table: &'static str, id: u32, value: Option<u32> },
    Delete { node: usize, table: &'static str, id: u32 },
    Pull { reader: usize, by: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    let table = || prop_oneof![Just("users"), Just("posts"), Just("notes"), Just("badges")];
    prop_oneof![
        6 => (0..3usize, table(), 0u32..4, proptest::option::weighted(0.9, 0u32..4))
            .prop_map(|(node, table, id, value)| Step::Put { node, table, id, value }),
        2 => (0..3usize, table(), 0u32..4).prop_map(|(node, table, id)| Step::Delete { node, table, id }),
        3 => (0..3usize, 1..3usize).prop_map(|(reader, by)| Step::Pull { reader, by }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Local statements keep what is visible within the rules, and rows that meet at merges stand as the rules
    /// over the whole set say, at every moment and in the end everywhere alike.
    #[test]
    fn rows_stand_as_the_set_of_versions_says(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut stores = ["a", "b", "c"].map(peer);
        let mut now = 1_000;
        let pull_from = |stores: &mut [MemoryPeerStore; 3], reader: usize, by: usize, now: u64| {
            let [reader, source] = stores.get_disjoint_mut([reader, (reader + by) % 3]).unwrap();
            pull(reader, source, now);
            check_standings(reader);
        };
        for step in steps {
            now += 1;
            let (node, write) = match step {
                Step::Pull { reader, by } => {
                    pull_from(&mut stores, reader, by, now);
                    continue;
                }
                Step::Put { node, table, id, value } => {
                    (node, set(table, id, value.map(|value| value.to_string()).as_deref()))
                }
                Step::Delete { node, table, id: number } => (node, Write::Delete(id(table, number))),
            };
            let store = &mut stores[node];
            let set_aside = |store: &mut MemoryPeerStore| -> u64 {
                describe(store).tables.values().map(|table| table.set_aside).sum()
            };
            let before = set_aside(store);
            // Who deletes the last child that had its parent back lets go, with that, what only goes with the parent.
            let lets_go = store.versions().iter().any(|(_, standing)| *standing == Standing::Revived);
            let transaction = store.begin();
            match store.write(transaction, at(now), write) {
                Ok(_) => {
                    store.commit(transaction, at(now)).unwrap();
                }
                Err(_) => store.rollback(transaction),
            }
            prop_assert!(lets_go || set_aside(store) <= before, "a statement that is allowed sets nothing aside");
            check_standings(store);
        }
        for _ in 0..2 {
            (0..3).for_each(|reader| [1, 2].into_iter().for_each(|by| pull_from(&mut stores, reader, by, now)));
        }
        let versions = stores[0].versions();
        prop_assert_eq!(&versions, &stores[1].versions());
        prop_assert_eq!(&versions, &stores[2].versions());
    }
}
