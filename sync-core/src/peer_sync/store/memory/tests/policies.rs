//! Tables whose policy is another than the last writer by row.

use std::sync::Arc;

use super::*;
use crate::peer_sync::resolver::{self, Resolution, Resolver, Resolvers, declared};
use crate::peer_sync::row::{Extra, Origin};
use crate::peer_sync::schema::Policy;
use crate::peer_sync::store::memory::WriteError;
use crate::peer_sync::store::{ApplyIf, Outcome, Unsound};

fn table(policy: Policy) -> Table {
    let mut table = Table::new("notes", &["id", "text"], &["id"]).unwrap();
    table.policy = policy;
    table
}

fn with_policy(name: &str, policy: Policy) -> MemoryPeerStore {
    let schema = Schema::new([table(policy)]).unwrap();
    MemoryPeerStore::new(node(name), schema, Incarnation(1), limits::STAMP_AHEAD_MAX)
}

/// What a replica does with received rows of such a table.
fn decide(store: &mut MemoryPeerStore, resolver: &dyn Resolver, policy: &Policy, rows: &[RowVersion]) {
    for row in rows {
        let PeerReply::Versions(versions) =
            store.execute(at(50), PeerRequest::FetchVersions(vec![row.row.clone()]))
        else {
            panic!("versions are answered")
        };
        let held = versions.into_iter().next().flatten();
        let decided = match &held {
            Some(held) => resolver::merged(resolver, &table(policy.clone()), held, row),
            None => row.clone(),
        };
        let rows = vec![(decided, held.map(|held| held.version))];
        let request = ApplyIf { from: node("z"), rows, known: vec![], advance: None };
        let PeerReply::Merged(merged) = store.execute(at(50), PeerRequest::ApplyIf(request)) else {
            panic!("a decision is answered")
        };
        assert!(!merged.outcomes.contains(&Outcome::Changed));
    }
}

/// Reads a feed to its end, deciding by the policy.
fn pull_decided(
    reader: &mut MemoryPeerStore,
    source: &mut MemoryPeerStore,
    resolver: &dyn Resolver,
    policy: &Policy,
) {
    let request = question(reader, source, 100);
    let Page { rows, position, frontier, .. } = read(source, request).expect("no reason to reconcile");
    decide(reader, resolver, policy, &rows);
    let advance = Some(Advance { position, frontier: frontier.expect("it is the last page") });
    let from = source.node.clone();
    merge_rows(
        reader,
        50,
        MergeRows { from, rows: vec![], groups: vec![], known: vec![], advance, repair: false },
    );
}

fn text(store: &MemoryPeerStore, id: u32) -> Option<&str> {
    store.read(&row(id)).and_then(|content| content.column(1))
}

#[test]
fn a_version_that_is_here_and_comes_from_another_life_is_nothing_new() {
    let policy = Policy::FirstWriter;
    let [mut a, mut b] = ["a", "b"].map(|name| with_policy(name, policy.clone()));
    transact(&mut a, 10, [put(1, "x")]);
    let rows = content(&a);
    pull_decided(&mut b, &mut a, &*declared(&policy).unwrap(), &policy);
    let mut again = rows[0].clone();
    again.origin.incarnation = Incarnation(9);
    let rows = vec![(again, Some(rows[0].version.clone()))];
    let before = b.snapshot();
    let request = ApplyIf { from: node("z"), rows, known: vec![], advance: None };
    let PeerReply::Merged(merged) = b.execute(at(50), PeerRequest::ApplyIf(request)) else {
        panic!("a decision is answered")
    };
    assert_eq!((merged.outcomes, b.snapshot()), (vec![Outcome::Equal], before));
}

#[test]
fn the_first_writer_does_not_come_back_once_it_was_deleted_and_the_row_is_anothers() {
    let policy = Policy::FirstWriter;
    let resolver = declared(&policy).unwrap();
    let [mut a, mut b] = ["a", "b"].map(|name| with_policy(name, policy.clone()));
    transact(&mut a, 10, [put(1, "first")]);
    let first = content(&a);
    pull_decided(&mut b, &mut a, &*resolver, &policy);
    transact(&mut b, 20, [delete(1)]);
    assert_eq!(super::lives::purge(&mut b, 300, &["a"], 100), 1);
    transact(&mut b, 310, [put(1, "of another")]);
    decide(&mut b, &*resolver, &policy, &first);
    assert_eq!(text(&b, 1), Some("of another"));
}

#[test]
fn the_first_writer_keeps_a_row_that_two_have_inserted() {
    let policy = Policy::FirstWriter;
    let resolver = declared(&policy).unwrap();
    let [mut a, mut b] = ["a", "b"].map(|name| with_policy(name, policy.clone()));
    transact(&mut a, 10, [put(1, "first")]);
    transact(&mut b, 20, [put(1, "second")]);
    transact(&mut a, 30, [put(1, "first, again")]);
    let (from_a, from_b) = (content(&a), content(&b));
    decide(&mut b, &*resolver, &policy, &from_a);
    decide(&mut a, &*resolver, &policy, &from_b);
    assert_eq!((text(&a, 1), text(&b, 1)), (Some("first, again"), Some("first, again")));
    check_derived(&mut b);
}

#[test]
fn counters_add_up_and_hold_numbers_only() {
    let policy = Policy::CounterDelta(vec!["text".to_owned()]);
    let resolver = declared(&policy).unwrap();
    let [mut a, mut b] = ["a", "b"].map(|name| with_policy(name, policy.clone()));
    transact(&mut a, 10, [put(1, "5")]);
    let from_a = content(&a);
    decide(&mut b, &*resolver, &policy, &from_a);
    transact(&mut a, 20, [put(1, "7"), put(1, "8")]);
    transact(&mut b, 20, [put(1, "4")]);
    let (from_a, from_b) = (content(&a), content(&b));
    decide(&mut b, &*resolver, &policy, &from_a);
    decide(&mut a, &*resolver, &policy, &from_b);
    assert_eq!((text(&a, 1), text(&b, 1)), (Some("7"), Some("7")), "5 + 3 - 1");
    assert_eq!(content(&a)[0].origin, Origin::COMBINED);
    let transaction = a.begin();
    let refused = a.write(transaction, at(60), put(1, "many"));
    assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
    assert_eq!(a.commit(transaction, at(60)), Err(WriteError::Aborted));
}

#[test]
fn a_team_s_own_resolver_has_to_be_given() {
    let policy = Policy::Custom("later".to_owned());
    let mut a = with_policy("a", policy.clone());
    let transaction = a.begin();
    let missing = a.write(transaction, at(10), put(1, "x"));
    assert_eq!(missing, Err(WriteError::NoResolver { table: notes() }));
    let later = |_: &Table, one: &RowVersion, other: &RowVersion| {
        if one.version >= other.version { Resolution::One } else { Resolution::Other }
    };
    let own: Arc<dyn Resolver> = Arc::new(later);
    let resolvers = Resolvers::new(a.schema(), &[("later".to_owned(), own)].into()).unwrap();
    let mut a = with_policy("a", policy).with_resolvers(resolvers);
    transact(&mut a, 10, [put(1, "x")]);
    assert_eq!(text(&a, 1), Some("x"));
}

#[test]
fn what_is_kept_beside_a_row_has_the_form_of_its_policy() {
    let (mut a, mut b) = (store("a"), store("b"));
    transact(&mut a, 10, [put(1, "x")]);
    let mut rows = content(&a);
    rows[0].extra = Extra::State("{}".into());
    rows[0].version.hash = rows[0].image.hash_with(&rows[0].extra);
    let request =
        MergeRows { from: node("a"), rows, groups: vec![], known: vec![], advance: None, repair: false };
    assert_eq!(merge_rows(&mut b, 20, request).outcomes, [Outcome::Unsound(Unsound::Extra)]);
}
