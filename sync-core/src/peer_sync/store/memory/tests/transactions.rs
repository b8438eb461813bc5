//! What applications are told.

use super::*;
use crate::peer_sync::store::memory::WriteError;
use crate::peer_sync::version::Stamp;

#[test]
fn what_a_transaction_wrote_is_its_own_until_it_commits() {
    let mut store = store("a");
    let (one, two) = (store.begin(), store.begin());
    write(&mut store, one, 10, put(1, "x"));
    assert_eq!(store.read_in(one, &row(1)).and_then(|content| content.column(1)), Some("x"));
    assert_eq!((store.read_in(two, &row(1)), store.read(&row(1))), (None, None));
    let locked = store.write(two, at(11), put(1, "y"));
    assert_eq!(locked, Err(WriteError::Locked { row: row(1), by: one }));
    let committed = store.commit(one, at(12)).unwrap();
    assert_eq!(committed.xid, Some(1));
    write(&mut store, two, 13, put(1, "y"));
    store.rollback(two);
    assert_eq!(store.read(&row(1)).and_then(|content| content.column(1)), Some("x"));
    assert_eq!(store.rows(&notes()).len(), 1);
    assert_eq!(store.commit(two, at(14)), Err(WriteError::NoTransaction));
}

#[test]
fn a_number_is_drawn_at_the_first_statement_and_visible_at_the_commit() {
    let mut store = store("a");
    let (late, early) = (store.begin(), store.begin());
    write(&mut store, late, 10, put(1, "x"));
    write(&mut store, early, 11, put(2, "y"));
    store.commit(early, at(12)).unwrap();
    assert_eq!(store.snapshot().to_string(), "1:3:1");
    assert_eq!(store.frontier().of(&node("a"), Incarnation(1)).unwrap().to_string(), "1:3:1");
    store.commit(late, at(13)).unwrap();
    assert_eq!(store.snapshot().to_string(), "3:3:");
}

#[test]
fn a_failed_statement_ends_the_transaction_and_a_delete_keeps_what_it_saw() {
    let mut store = store("a");
    transact(&mut store, 10, [put(1, "x")]);
    let transaction = store.begin();
    assert_eq!(store.write(transaction, at(11), delete(2)), Ok(None));
    write(&mut store, transaction, 11, delete(1));
    let wrong = Write::Put { table: notes(), content: Content::new([Some("1")]) };
    assert_eq!(store.write(transaction, at(11), wrong), Err(WriteError::NoSuchRow { table: notes() }));
    assert_eq!(store.write(transaction, at(11), put(3, "z")), Err(WriteError::Aborted));
    assert_eq!(store.commit(transaction, at(11)), Err(WriteError::Aborted));
    assert!(store.read(&row(1)).is_some());
    transact(&mut store, 12, [delete(1)]);
    assert!(store.read(&row(1)).is_none());
    let seen = Content::new([Some("1"), Some("x")]);
    let tombstone = store.stored(&row(1)).unwrap();
    assert_eq!(tombstone.image, crate::peer_sync::row::Image::Tombstone(Some(seen)));
    check_derived(&mut store);
}

#[test]
fn a_crash_keeps_what_is_committed_and_nothing_else_and_stamps_go_on() {
    let mut store = store("a");
    transact(&mut store, 100, [put(1, "x")]);
    let open = store.begin();
    write(&mut store, open, 101, put(1, "y"));
    store.crash();
    assert_eq!(store.write(open, at(102), put(1, "z")), Err(WriteError::NoTransaction));
    assert_eq!(store.snapshot().to_string(), "3:3:", "an aborted transaction is over");
    // The clock stepped back during the restart.
    transact(&mut store, 50, [put(1, "z")]);
    assert_eq!(store.stored(&row(1)).unwrap().version.stamp, Stamp { us: 100, counter: 1 });
    check_derived(&mut store);
}

#[test]
fn a_merge_waits_for_a_lock_and_a_write_after_it_is_greater() {
    let (mut a, mut b) = (store("a"), store("b"));
    transact(&mut b, 1_000, [put(1, "theirs")]);
    let open = a.begin();
    write(&mut a, open, 10, put(1, "mine"));
    let request = question(&mut a, &b, 10);
    let page = read(&mut b, request).unwrap();
    let rows = MergeRows {
        from: node("b"),
        rows: page.rows,
        groups: page.groups,
        known: page.known,
        advance: None,
        repair: false,
    };
    assert_eq!(a.execute(at(11), PeerRequest::Merge(rows)), PeerReply::Unavailable);
    a.commit(open, at(12)).unwrap();
    pull(&mut a, &mut b, 13);
    transact(&mut a, 14, [put(1, "later")]);
    assert!(a.stored(&row(1)).unwrap().version > b.stored(&row(1)).unwrap().version);
}

#[test]
fn a_lock_keeps_others_out_and_ends_with_its_transaction() {
    let mut store = store("a");
    let (merge, open) = (store.begin(), store.begin());
    assert_eq!(store.lock(merge, &row(1)), Ok(()));
    assert_eq!(store.lock(merge, &row(1)), Ok(()), "it has it");
    let locked = WriteError::Locked { row: row(1), by: merge };
    assert_eq!(store.lock(open, &row(1)), Err(locked.clone()));
    assert_eq!(store.write(open, at(10), put(1, "x")), Err(locked));
    assert!(store.is_any_locked([row(2), row(1)].iter()) && !store.is_any_locked([row(2)].iter()));
    store.rollback(merge);
    assert_eq!(store.lock(merge, &row(1)), Err(WriteError::NoTransaction));
    write(&mut store, open, 11, put(1, "x"));
    assert_eq!(store.commit(open, at(12)).unwrap().xid, Some(1), "a lock draws no number");
    check_derived(&mut store);
}

#[test]
fn what_others_know_to_be_dead_is_dropped_once_it_is_not_locked() {
    let mut store = store("a");
    transact(&mut store, 10, [put(1, "x"), put(2, "y")]);
    let entries: Vec<_> = content(&store)
        .into_iter()
        .map(|held| DigestEntry { row: held.row, version: held.version })
        .collect();
    let open = store.begin();
    write(&mut store, open, 11, put(1, "z"));
    let before = content(&store);
    assert_eq!(store.execute(at(12), drop_rows(entries.clone())), PeerReply::Unavailable);
    assert_eq!(content(&store), before);
    store.rollback(open);
    assert_eq!(
        store.execute(at(13), drop_rows(entries.clone())),
        PeerReply::Dropped(entries.into_iter().map(|entry| entry.row).collect())
    );
    check_derived(&mut store);
}
