//! What becomes of received rows.

use super::*;
use crate::peer_sync::row::Image;
use crate::peer_sync::store::{ApplyIf, Outcome, Unsound};
use crate::time::Span;

fn received(store: &mut MemoryPeerStore, now: u64, rows: Vec<RowVersion>) -> Vec<Outcome> {
    merge_rows(
        store,
        now,
        MergeRows {
            from: node("z"),
            rows,
            groups: Vec::new(),
            known: Vec::new(),
            advance: None,
            repair: false,
        },
    )
    .outcomes
}

#[test]
fn the_greater_version_wins_whatever_the_order_and_however_often() {
    let (mut a, mut b, mut c) = (store("a"), store("b"), store("c"));
    transact(&mut a, 10, [put(1, "old")]);
    transact(&mut b, 20, [put(1, "new"), delete(1)]);
    let (old, new) = (content(&a)[0].clone(), content(&b)[0].clone());
    let outcomes = received(&mut c, 30, vec![old.clone(), new.clone(), old.clone(), new.clone()]);
    let expected = [
        Outcome::Inserted,
        Outcome::Updated { beaten: old.version.clone() },
        Outcome::Beaten { by: new.version.clone() },
        Outcome::Equal,
    ];
    assert_eq!(outcomes, expected);
    received(&mut a, 30, vec![new.clone()]);
    assert_eq!((content(&a), content(&c)), (vec![new.clone()], vec![new]));
    check_derived(&mut c);
    let quiet = c.snapshot();
    received(&mut c, 40, vec![old]);
    assert_eq!(c.snapshot(), quiet, "what stores nothing is no transaction");
}

#[test]
fn what_is_no_row_is_refused_and_the_others_are_not() {
    let (mut a, mut b) = (store("a"), store("b"));
    transact(&mut a, 10, [put(1, "x"), put(2, "y")]);
    let [good, other] = content(&a).try_into().unwrap();
    let altered = |change: &dyn Fn(&mut RowVersion)| {
        let mut row = other.clone();
        change(&mut row);
        row
    };
    let rows = vec![
        altered(&|row| row.row.table = TableName("users".into())),
        altered(&|row| row.row.key = Content::new([Some("3")])),
        altered(&|row| row.row.key = Content::new([None])),
        altered(&|row| row.image = Image::Row(Content::new([Some("2")]))),
        altered(&|row| row.image = Image::Row(Content::new([Some("2"), Some("z")]))),
        altered(&|row| row.version.stamp.us = 10 + limits::STAMP_AHEAD_MAX.as_us() + 1),
        good,
    ];
    let expected = [
        Outcome::Unsound(Unsound::Table),
        Outcome::Unsound(Unsound::Columns),
        Outcome::Unsound(Unsound::Columns),
        Outcome::Unsound(Unsound::Columns),
        Outcome::Unsound(Unsound::Hash),
        Outcome::TooFarAhead { ahead: limits::STAMP_AHEAD_MAX + Span::from_us(1) },
        Outcome::Inserted,
    ];
    assert_eq!(received(&mut b, 10, rows), expected);
    check_derived(&mut b);
    // A refused stamp leaves no trace in the clock.
    transact(&mut b, 11, [put(5, "x")]);
    assert_eq!(b.stored(&row(5)).unwrap().version.stamp.us, 11);
}

#[test]
fn a_decision_is_applied_only_on_what_it_saw() {
    let (mut a, mut b) = (store("a"), store("b"));
    transact(&mut a, 10, [put(1, "x"), put(2, "x")]);
    let rows = content(&a);
    let advance = Some(Advance { position: a.here(), frontier: a.frontier() });
    let apply = |expected: [Option<Version>; 2]| {
        let rows = rows.iter().cloned().zip(expected).collect();
        PeerRequest::ApplyIf(ApplyIf { from: node("a"), rows, known: Vec::new(), advance: advance.clone() })
    };
    let version = rows[0].version.clone();
    let PeerReply::Merged(merged) = b.execute(at(20), apply([Some(version.clone()), None])) else { panic!() };
    assert_eq!((merged.outcomes, merged.advanced), (vec![Outcome::Changed, Outcome::Inserted], false));
    assert!(describe(&mut b).positions.is_empty());
    let again = apply([None, Some(rows[1].version.clone())]);
    let PeerReply::Merged(merged) = b.execute(at(20), again) else { panic!() };
    assert_eq!((merged.outcomes, merged.advanced), (vec![Outcome::Inserted, Outcome::Equal], true));
    assert_eq!((content(&b), b.frontier().includes(&a.frontier())), (rows, true));
}

#[test]
fn where_a_policy_decides_a_merge_stores_only_what_is_new() {
    let mut table = Table::new("notes", &["id", "text"], &["id"]).unwrap();
    table.policy = crate::peer_sync::schema::Policy::FirstWriter;
    let schema = Schema::new([table]).unwrap();
    let mut b = MemoryPeerStore::new(node("b"), schema, Incarnation(1), limits::STAMP_AHEAD_MAX);
    let mut a = store("a");
    transact(&mut a, 10, [put(1, "x")]);
    let old = content(&a);
    transact(&mut a, 20, [put(1, "y")]);
    assert_eq!(received(&mut b, 30, old.clone()), [Outcome::Inserted]);
    assert_eq!(received(&mut b, 30, content(&a)), [Outcome::Changed]);
    assert_eq!(content(&b), old);
}
