//! The kit itself: it sees what resolvers are known to do wrong, in at most three writes.

use super::*;
use crate::peer_sync::resolver::{LastWriterByRow, Resolution, WriteId};

fn sides(one: bool) -> Resolution {
    if one { Resolution::One } else { Resolution::Other }
}

/// The first law that a resolver breaks at start, with few writes and a text that names them.
fn check_broken(resolver: &dyn Resolver, expected: &[Law]) {
    let found = probe(resolver, &law_table()).unwrap_err();
    assert!(found.history.writes.len() <= 3, "{found}");
    assert!(expected.contains(&found.law()), "{found}");
    assert!(found.to_string().contains("  1. "), "{found}");
    let again = check(resolver, &law_table(), &found.history).unwrap_err();
    assert_eq!(again, found.violation, "a counterexample repeats itself");
}

#[test]
fn the_default_passes_and_probes_are_the_same_each_time() {
    assert!(probe(&LastWriterByRow, &law_table()).is_ok());
    assert_eq!(drawn_history(&law_table(), 7), drawn_history(&law_table(), 7));
}

#[test]
fn a_tie_that_keeps_the_local_side_is_seen() {
    let tie =
        |_: &Table, one: &RowVersion, other: &RowVersion| sides(one.version.stamp >= other.version.stamp);
    check_broken(&tie, &[Law::Commutative]);
}

#[test]
fn deletes_that_always_lose_are_seen() {
    let keeps = |_: &Table, one: &RowVersion, other: &RowVersion| {
        let key = |row: &RowVersion| (!row.image.is_tombstone(), row.version.clone());
        sides(key(one) >= key(other))
    };
    check_broken(&keeps, &[Law::WriteBeatsSeen]);
}

#[test]
fn a_value_that_decides_before_the_stamp_loses_writes() {
    let largest = |_: &Table, one: &RowVersion, other: &RowVersion| {
        let key = |row: &RowVersion| (row.image.clone(), row.version.clone());
        sides(key(one) >= key(other))
    };
    check_broken(&largest, &[Law::WriteBeatsSeen]);
}

#[test]
fn floats_that_round_two_stamps_together_are_seen() {
    let rounds = |_: &Table, one: &RowVersion, other: &RowVersion| {
        let key = |row: &RowVersion| row.version.stamp.us as f64;
        sides(key(one) >= key(other))
    };
    check_broken(&rounds, &[Law::Commutative, Law::WriteBeatsSeen]);
}

#[test]
fn an_order_that_is_not_transitive_is_seen() {
    // Rows among each other go by the stamp; a delete beats a row of the same microsecond or one right before it.
    let circle = |_: &Table, one: &RowVersion, other: &RowVersion| {
        let beats = |a: &RowVersion, b: &RowVersion| match (a.image.is_tombstone(), b.image.is_tombstone()) {
            (true, false) => a.version.stamp.us + 1 >= b.version.stamp.us,
            (false, true) => a.version.stamp.us > b.version.stamp.us + 1,
            _ => a.version >= b.version,
        };
        sides(beats(one, other))
    };
    check_broken(&circle, &[Law::Transitive, Law::Associative, Law::WriteBeatsSeen]);
}

#[test]
fn sums_of_both_sides_count_twice() {
    let adds = |_: &Table, one: &RowVersion, other: &RowVersion| {
        let (Some(a), Some(b)) = (one.image.row(), other.image.row()) else {
            return sides(WriteId::of(one) >= WriteId::of(other));
        };
        let number = |content: &crate::peer_sync::content::Content| -> i64 {
            content.column(1).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let sum = number(a).wrapping_add(number(b)).to_string();
        let columns =
            a.columns().enumerate().map(|(place, value)| if place == 1 { Some(&*sum) } else { value });
        let image = crate::peer_sync::row::Image::Row(crate::peer_sync::content::Content::new(columns));
        Resolution::Combined { image, extra: crate::peer_sync::row::Extra::None }
    };
    check_broken(&adds, &[Law::Idempotent, Law::WriteBeatsSeen, Law::Commutative]);
}

#[test]
fn what_depends_on_more_than_its_arguments_is_seen() {
    let calls = std::sync::atomic::AtomicU32::new(0);
    let moody = move |_: &Table, _: &RowVersion, _: &RowVersion| {
        sides(calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(3))
    };
    assert!(probe(&moody, &law_table()).is_err());
}

#[test]
fn what_does_not_fit_the_table_is_seen() {
    let cuts = |_: &Table, _: &RowVersion, _: &RowVersion| Resolution::Combined {
        image: crate::peer_sync::row::Image::Row(crate::peer_sync::content::Content::new([Some("1")])),
        extra: crate::peer_sync::row::Extra::None,
    };
    check_broken(&cuts, &[Law::Acceptable, Law::WriteBeatsSeen]);
}

#[test]
#[should_panic(expected = "law broken")]
fn a_suite_fails_for_a_broken_resolver() {
    let tie =
        |_: &Table, one: &RowVersion, other: &RowVersion| sides(one.version.stamp >= other.version.stamp);
    hold(&tie, &law_table(), Suite::Order);
}
