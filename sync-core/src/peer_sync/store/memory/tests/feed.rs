//! Pages of the feed.

use super::*;

#[test]
fn a_late_commit_is_not_skipped_and_holds_nobody_back() {
    let (mut a, mut b) = (store("a"), store("b"));
    let late = a.begin();
    write(&mut a, late, 10, put(1, "late"));
    transact(&mut a, 11, [put(2, "early")]);
    assert_eq!(pull(&mut b, &mut a, 12), 1);
    a.commit(late, at(13)).unwrap();
    assert_eq!(pull(&mut b, &mut a, 14), 1);
    assert_eq!(content(&a), content(&b));
    assert_eq!(pull(&mut b, &mut a, 15), 0);
}

#[test]
fn a_page_has_whole_transactions_and_at_least_one() {
    let mut a = store("a");
    transact(&mut a, 10, (0..5).map(|id| put(id, "x")));
    transact(&mut a, 11, (5..7).map(|id| put(id, "x")));
    transact(&mut a, 12, (7..8).map(|id| put(id, "x")));
    let mut b = store("b");
    let mut groups = Vec::new();
    loop {
        let request = question(&mut b, &a, 3);
        let page = read(&mut a, request).unwrap();
        groups.push(page.groups.clone());
        let end = page.frontier.is_some();
        merge(&mut b, 20, &node("a"), page);
        if end {
            break;
        }
        assert!(b.frontier().is_empty(), "only the end of a feed says what is covered");
    }
    assert_eq!(groups, [vec![5], vec![2, 1]]);
    assert_eq!(content(&a), content(&b));
}

#[test]
fn who_took_a_row_of_a_transaction_comes_with_it_and_is_not_sent_twice() {
    let mut a = store("a");
    transact(&mut a, 10, [put(1, "one"), put(2, "one")]);
    transact(&mut a, 11, [put(3, "two"), put(4, "two")]);
    transact(&mut a, 12, [put(1, "three"), put(5, "three")]);
    transact(&mut a, 13, [put(5, "four"), put(6, "four")]);
    let mut b = store("b");
    let request = question(&mut b, &a, 1);
    let first = read(&mut a, request).unwrap();
    assert_eq!(first.groups, [4], "the first with what took a row of it, and what took a row of that");
    assert_eq!(first.position.snapshot.to_string(), "2:5:2");
    merge(&mut b, 20, &node("a"), first);
    let request = question(&mut b, &a, 1);
    let second = read(&mut a, request).unwrap();
    assert_eq!((second.groups.as_slice(), second.frontier.is_some()), (&[2][..], true));
    merge(&mut b, 20, &node("a"), second);
    assert_eq!(content(&a), content(&b));
    // Who has read the first needs of the later ones only these.
    transact(&mut a, 14, [put(1, "five")]);
    assert_eq!(pull(&mut b, &mut a, 21), 1);
}

#[test]
fn a_transaction_beyond_the_bound_comes_in_parts_and_says_so() {
    let mut a = store("a");
    let many = limits::TRANSACTION_ROWS_MAX as u32 + 10;
    transact(&mut a, 10, (0..many).map(|id| put(id, "x")));
    transact(&mut a, 11, [put(many, "x")]);
    let mut b = store("b");
    let (mut pages, mut split) = (0, 0);
    loop {
        let request = question(&mut b, &a, 4_000);
        let page = read(&mut a, request).unwrap();
        pages += 1;
        split += page.split;
        // A transaction that began before and commits while the reader stands within the large one.
        if pages == 1 {
            transact(&mut a, 12, [put(3, "overwritten")]);
        }
        let end = page.frontier.is_some();
        let rows = page.rows.len();
        assert!(rows <= 4_000, "{rows}");
        merge(&mut b, 20, &node("a"), page);
        if end {
            break;
        }
    }
    assert_eq!((pages, split), (3, 3));
    assert_eq!(content(&a), content(&b));
}

#[test]
fn a_late_commit_within_a_large_transaction_loses_neither() {
    let mut a = store("a");
    let late = a.begin();
    write(&mut a, late, 9, put(0, "late"));
    let many = limits::TRANSACTION_ROWS_MAX as u32 + 10;
    transact(&mut a, 10, (1..many).map(|id| put(id, "x")));
    let mut b = store("b");
    let request = question(&mut b, &a, 4_000);
    let page = read(&mut a, request).unwrap();
    assert!(page.position.within.is_some());
    merge(&mut b, 20, &node("a"), page);
    a.commit(late, at(11)).unwrap();
    let request = question(&mut b, &a, 1);
    let page = read(&mut a, request).unwrap();
    assert_eq!(page.rows.len(), 1, "the late one has its turn");
    assert!(page.position.within.is_some(), "and the place in the large one is kept");
    merge(&mut b, 20, &node("a"), page);
    assert_eq!(pull(&mut b, &mut a, 21), many as usize - 1 - 4_000);
    assert_eq!(content(&a), content(&b));
}

#[test]
fn bytes_bound_a_page_too() {
    let mut a = store("a");
    for id in 0..10 {
        transact(&mut a, 10, [put(id, &"x".repeat(1_000))]);
    }
    let mut b = store("b");
    let request = ReadFeed { bytes_max: 4_000, ..question(&mut b, &a, 100) };
    let page = read(&mut a, request).unwrap();
    assert_eq!(page.groups, [1, 1, 1]);
}

#[test]
fn what_a_page_names_as_known_belongs_to_a_group_that_it_brings() {
    let [mut a, mut b, mut c, mut d] = ["a", "b", "c", "d"].map(store);
    transact(&mut a, 10, [put(1, "first"), put(2, "first")]);
    pull(&mut c, &mut a, 20);
    transact(&mut a, 21, [put(3, "second")]);
    // b merges both at once; c has the first.
    pull(&mut b, &mut a, 22);
    let request = question(&mut c, &b, 10);
    let page = read(&mut b, request).unwrap();
    assert_eq!((page.groups.as_slice(), page.known.as_slice()), (&[1][..], &[][..]));
    // Of d's first transaction c's write beats one row before it comes to b: to b's readers both belong together.
    transact(&mut d, 22, [put(6, "fourth"), put(7, "fourth")]);
    transact(&mut d, 23, [put(8, "fifth")]);
    transact(&mut c, 24, [put(6, "greater")]);
    pull(&mut b, &mut c, 25);
    pull(&mut b, &mut d, 26);
    let request = question(&mut c, &b, 10);
    let page = read(&mut b, request).unwrap();
    let rows: Vec<&RowId> = page.rows.iter().map(|version| &version.row).collect();
    assert_eq!(rows, [&row(3), &row(7), &row(8)]);
    assert_eq!((page.groups.as_slice(), page.known.as_slice()), (&[1, 1, 1][..], &[(1, row(6))][..]));
    // d has its own; who passes c's on from there passes the rest of the transaction on with it.
    merge(&mut c, 27, &node("b"), page);
    let mut e = store("e");
    pull(&mut e, &mut c, 28);
    assert_eq!(content(&e), content(&c));
}

#[test]
fn groups_that_share_a_row_stay_together_on_their_way() {
    let [mut a, mut w, mut b, mut c, mut d, mut e] = ["a", "w", "b", "c", "d", "e"].map(store);
    transact(&mut a, 10, [put(1, "both"), put(2, "both")]);
    transact(&mut w, 11, [put(1, "greater")]);
    pull(&mut d, &mut w, 20);
    // To b's readers, what beat a part of the first transaction belongs to it.
    pull(&mut b, &mut a, 21);
    pull(&mut b, &mut w, 22);
    let request = question(&mut c, &b, 10);
    let page = read(&mut b, request).unwrap();
    assert_eq!(page.groups, [2]);
    merge(&mut c, 23, &node("b"), page);
    // d has the one and takes the other from c. Then it writes the one again, in a later transaction.
    let request = question(&mut d, &c, 10);
    let page = read(&mut c, request).unwrap();
    assert_eq!(page.known, [(0, row(1))]);
    merge(&mut d, 24, &node("c"), page);
    transact(&mut d, 25, [put(1, "greatest")]);
    let request = question(&mut e, &d, 1);
    let page = read(&mut d, request).unwrap();
    assert_eq!(page.groups, [2], "one without the other is a part of a's transaction");
}
