use super::*;
use crate::id::Incarnation;
use crate::peer_sync::content::Content;
use crate::peer_sync::row::{Extra, Image, Origin, TableName};
use crate::peer_sync::schema::Table;
use crate::peer_sync::store::memory::{MemoryPeerStore, Write};
use crate::peer_sync::store::{MergeRows, Purge};
use crate::peer_sync::version::NodeId;
use crate::peer_sync::version::Stamp;
use crate::time::{Span, Timestamp};

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

fn schema() -> Schema {
    Schema::new([Table::new("items", &["id", "value"], &["id"]).unwrap()]).unwrap()
}

fn row(id: u64, value: &str, us: u64) -> RowVersion {
    let image = Image::Row(Content::new([Some(id.to_string().as_str()), Some(value)]));
    let version =
        Version { stamp: Stamp { us, counter: 0 }, node: NodeId::new("w").unwrap(), hash: image.hash() };
    let key = Content::new([Some(id.to_string().as_str())]);
    RowVersion {
        row: RowId { table: TableName("items".into()), key },
        version,
        image,
        origin: Origin { incarnation: Incarnation(3), xid: us },
        extra: Extra::None,
    }
}

fn store(name: &str) -> MemoryPeerStore {
    MemoryPeerStore::new(NodeId::new(name).unwrap(), schema(), Incarnation(1), limits::STAMP_AHEAD_MAX)
}

fn merge(store: &mut MemoryPeerStore, rows: Vec<RowVersion>) -> Vec<Outcome> {
    let request = MergeRows {
        from: NodeId::new("w").unwrap(),
        rows,
        groups: Vec::new(),
        known: Vec::new(),
        advance: None,
        repair: false,
    };
    match store.execute(NOW, PeerRequest::Merge(request)) {
        PeerReply::Merged(merged) => merged.outcomes,
        other => panic!("{other:?}"),
    }
}

/// Compares until done; what it came to, and the bytes of questions and answers.
fn run(mine: &mut MemoryPeerStore, theirs: &mut MemoryPeerStore) -> (Found, u64) {
    run_with(mine, theirs, |_| {})
}

/// The same; `meanwhile` happens to the peer before it gives rows.
fn run_with(
    mine: &mut MemoryPeerStore,
    theirs: &mut MemoryPeerStore,
    meanwhile: impl Fn(&mut MemoryPeerStore),
) -> (Found, u64) {
    let mut reconcile = Reconcile::new(Arc::new(schema()), true, true, Vec::new());
    let mut bytes = 0;
    loop {
        let actions = reconcile.begin();
        assert!(!actions.is_empty());
        for action in actions {
            match action {
                Action::Own(request) => reconcile.own(mine.execute(NOW, request)).unwrap(),
                Action::Ask(question) => {
                    bytes += serde_json::to_vec(&question).unwrap().len() as u64;
                    if matches!(question, PeerQuestion::Rows(_)) {
                        meanwhile(theirs);
                    }
                    let answer = match question {
                        PeerQuestion::Digests(parts) => PeerRequest::Digests(parts),
                        PeerQuestion::Entries(parts) => PeerRequest::Entries(parts),
                        PeerQuestion::Rows(rows) => PeerRequest::FetchVersions(rows),
                        PeerQuestion::Push(rows) => PeerRequest::Merge(MergeRows {
                            from: mine.node().clone(),
                            rows,
                            groups: Vec::new(),
                            known: Vec::new(),
                            advance: None,
                            repair: false,
                        }),
                        other => panic!("{other:?}"),
                    };
                    let answer = match theirs.execute(NOW, answer) {
                        PeerReply::Digests(digests) => PeerAnswer::Digests(digests),
                        PeerReply::Entries(entries) => PeerAnswer::Entries(entries),
                        // Never more than three rows at once, as if they were large.
                        PeerReply::Versions(versions) => {
                            PeerAnswer::Rows(versions.into_iter().flatten().take(3).collect())
                        }
                        PeerReply::Merged(merged) => PeerAnswer::Pushed(merged.outcomes),
                        other => panic!("{other:?}"),
                    };
                    bytes += serde_json::to_vec(&answer).unwrap().len() as u64;
                    reconcile.theirs(answer).unwrap();
                }
                Action::Merge(rows) => {
                    merge(mine, rows);
                    reconcile.merged();
                }
                Action::Done => return (reconcile.found(), bytes),
            }
        }
    }
}

fn held(store: &MemoryPeerStore) -> Vec<RowVersion> {
    store.versions().into_iter().map(|(row, _)| row.clone()).collect()
}

#[test]
fn the_cost_grows_with_the_difference_and_both_sides_get_what_they_lack() {
    let (mut a, mut b) = (store("a"), store("b"));
    let rows: Vec<_> = (0..3_000).map(|id| row(id, "as it was", 1_000 + id)).collect();
    let copy: u64 = rows.iter().map(|row| serde_json::to_vec(row).unwrap().len() as u64).sum();
    merge(&mut a, rows.clone());
    merge(&mut b, rows);
    let mut costs = Vec::new();
    for (step, count) in [0u64, 4, 40, 400].into_iter().enumerate() {
        for n in 0..count {
            // A fourth each: newer here, newer there, new here, new there.
            let us = 100_000 * (1 + step as u64) + n;
            let (id, new) = (n * 7 % 3_000, 10_000 * (1 + step as u64) + n);
            let target = if n % 2 == 0 { &mut a } else { &mut b };
            merge(target, vec![row(if n % 4 < 2 { id } else { new }, "changed", us)]);
        }
        let (found, bytes) = run(&mut a, &mut b);
        assert_eq!(held(&a), held(&b));
        assert_eq!((found.fetched, found.pushed), (count / 2, count / 2));
        costs.push(bytes);
    }
    assert!(costs[0] < 200, "nothing differs: {costs:?}");
    assert!(costs[1] < copy / 20, "{costs:?} of {copy}");
    assert!(costs[2] < 15 * costs[1] && costs[3] < 15 * costs[2], "{costs:?}");
}

#[test]
fn a_transaction_goes_in_one_merge() {
    let (mut a, mut b) = (store("a"), store("b"));
    // One transaction of 2,500 rows, asked for in several questions.
    let rows: Vec<_> = (0..2_500)
        .map(|id| RowVersion { origin: Origin { incarnation: Incarnation(3), xid: 9 }, ..row(id, "x", 9) })
        .collect();
    merge(&mut b, rows);
    let (found, _) = run(&mut a, &mut b);
    assert_eq!((found.fetched, found.merges), (2_500, 1));
    assert_eq!(held(&a), held(&b));
}

#[test]
fn an_answer_to_another_question_ends_it() {
    let mut reconcile = Reconcile::new(Arc::new(schema()), true, true, Vec::new());
    reconcile.begin();
    assert_eq!(reconcile.theirs(PeerAnswer::Noted), Err(RoundFailure::Nonsense));
    let mut reconcile = Reconcile::new(Arc::new(schema()), true, true, Vec::new());
    reconcile.begin();
    reconcile.own(PeerReply::Digests(vec![Digest::default()])).unwrap();
    assert_eq!(reconcile.theirs(PeerAnswer::Digests(Vec::new())), Err(RoundFailure::Nonsense));
    assert_eq!(reconcile.theirs(PeerAnswer::Busy), Err(RoundFailure::Busy));
}

#[test]
fn a_tombstone_that_is_purged_while_it_is_compared_takes_the_row_with_it() {
    let (mut a, mut b) = (store("a"), store("b"));
    let mut write = |write| {
        let transaction = b.begin();
        b.write(transaction, NOW, write).unwrap();
        b.commit(transaction, NOW).unwrap();
        held(&b)
    };
    let content = Content::new([Some("1"), Some("x")]);
    let rows = write(Write::Put { table: TableName("items".into()), content });
    let row = rows[0].row.clone();
    merge(&mut a, rows);
    write(Write::Delete(row));
    let later = NOW + Span::from_secs(10);
    let purge = Purge { peers: Vec::new(), retention: Span::from_secs(1), rows_max: 10 };
    let purges = |b: &mut MemoryPeerStore| {
        assert_eq!(b.execute(later, PeerRequest::Purge(purge.clone())), PeerReply::Purged(1));
    };
    let (found, _) = run_with(&mut a, &mut b, purges);
    assert_eq!((found.fetched, found.dropped), (0, 1));
    assert_eq!((held(&a), held(&b)), (vec![], vec![]));
}
