//! Rows that are refused since their stamps lie too far ahead: the reader goes on, and claims nothing.

use super::lives::{LIFE, give, pair, purge, sync};
use super::*;
use crate::peer_sync::store::Outcome;

/// By the clock of whoever deletes.
const AHEAD: u64 = 2 * limits::STAMP_AHEAD_MAX.as_us();

#[test]
fn what_was_refused_is_neither_passed_nor_covered() {
    let (mut a, mut b) = pair();
    transact(&mut a, AHEAD, [delete(1)]);
    let deleted = a.stored(&row(1)).cloned().unwrap();
    transact(&mut a, AHEAD, [put(3, "ahead, too")]);
    sync(&mut b, &mut a, 30, LIFE);
    sync(&mut b, &mut a, 31, LIFE);
    assert!(b.read(&row(1)).is_some());
    assert!(describe(&mut b).refused.contains(&node("a")));
    let covers = |store: &MemoryPeerStore| store.frontier().covers(&node("a"), deleted.origin);
    assert!(!covers(&b), "others would omit what is not here");
    assert_eq!(purge(&mut a, AHEAD, &["b"], u64::MAX), 0, "it has not passed what it refused");
    // Now it may have it, but only a comparison brings it: the feed is read beyond.
    let later = AHEAD + 10;
    sync(&mut b, &mut a, later, LIFE);
    assert!(b.read(&row(1)).is_some() && !covers(&b));
    give(&mut a, &mut b, later);
    assert_eq!(b.execute(at(later), PeerRequest::Settle(node("a"))), PeerReply::Settled);
    sync(&mut b, &mut a, later, LIFE);
    sync(&mut b, &mut a, later, LIFE);
    assert!(b.read(&row(1)).is_none() && covers(&b));
    assert_eq!(purge(&mut a, later, &["b"], u64::MAX), 1);
    check_derived(&mut b);
}

#[test]
fn what_is_here_already_is_not_refused() {
    let (mut a, mut b) = pair();
    transact(&mut a, AHEAD, [put(1, "y")]);
    let older = a.stored(&row(1)).cloned().unwrap();
    transact(&mut a, AHEAD, [put(1, "z")]);
    sync(&mut b, &mut a, AHEAD, LIFE);
    // The clock of its database is set to right.
    let newer = b.stored(&row(1)).cloned().unwrap();
    let by = newer.version.clone();
    let rows = vec![newer, older];
    let request =
        MergeRows { from: node("c"), rows, groups: vec![], known: vec![], advance: None, repair: false };
    assert_eq!(merge_rows(&mut b, 50, request).outcomes, [Outcome::Equal, Outcome::Beaten { by }]);
    assert!(describe(&mut b).refused.is_empty());
}
