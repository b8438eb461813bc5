//! Databases that get another name.

use sync_core::id::Incarnation;
use sync_core::peer_sync::position::Position;
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::{MergeRows, PeerReply, PeerRequest, Purge};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_store::PeerStoreError;
use sync_core::time::Span;

use super::support::*;
use crate::runtime_support::runtime;

/// As `a_database_under_another_name_keeps_what_was_written_there_and_takes_no_numbers_for_others` of the store in memory.
#[test]
fn a_database_under_another_name_keeps_what_was_written_there() {
    runtime().block_on(async {
        let (of_a, of_b) = (Database::with(NOTES).await, Database::with(NOTES).await);
        let a = of_a.store("a", notes()).await;
        let b = of_b.store("b", notes()).await;
        run(&mut of_a.raw().await, "INSERT INTO notes VALUES (1, 'x'), (2, 'y')").await;
        pull(&b, &a).await;
        a.close().await;
        // A copy that does not notice that it is one, as that of a whole machine would not.
        let of_double = of_a.copied().await;
        let (a, double) = (of_a.store("a", notes()).await, of_double.store("a", notes()).await);
        let same_life = describe(&a).await.incarnation;
        assert_eq!(describe(&double).await.incarnation, same_life);
        let mut at_double = of_double.raw().await;
        run(&mut at_double, "INSERT INTO notes VALUES (3, 'at the double')").await;
        run(&mut of_a.raw().await, "INSERT INTO notes VALUES (4, 'at the first')").await;
        pull(&b, &a).await;

        let name = NodeId::new("c").unwrap();
        let life = double.rename(name.clone()).await.unwrap();
        let refused = of_double.try_store("a", notes()).await.map(|_| ());
        assert!(matches!(refused, Err(PeerStoreError::OtherNode { .. })), "{refused:?}");
        let c = of_double.store("c", notes()).await;
        let described = describe(&c).await;
        assert_eq!((described.node, described.incarnation), (name, life));
        assert_ne!(life, same_life);
        let kept = versions(&c, &[note(3)]).await.pop().flatten().unwrap();
        assert_eq!(
            (kept.version.node.as_str(), kept.origin.incarnation),
            ("a", life),
            "who wrote it wrote it"
        );

        run(&mut at_double, "INSERT INTO notes VALUES (5, 'as another'); DELETE FROM notes WHERE id = 2")
            .await;
        for _ in 0..2 {
            for (reader, source) in [(&b, &c), (&c, &b), (&a, &c), (&c, &a), (&a, &b)] {
                pull(reader, source).await;
            }
        }
        let all: Vec<_> = (1..=5).map(note).collect();
        let held = versions(&a, &all).await;
        assert!(held.iter().all(Option::is_some), "{held:?}");
        assert_eq!(held.iter().flatten().filter(|row| row.image.is_tombstone()).count(), 1);
        for other in [&b, &c] {
            assert_eq!(describe(other).await.digest, describe(&a).await.digest);
        }
        // Nothing that it had before is in the way of purges.
        let purge = Purge { peers: [].into(), retention: Span::ZERO, rows_max: 10 };
        assert_eq!(c.execute(PeerRequest::Purge(purge)).await, PeerReply::Purged(1));
    });
}

/// A copy keeps what it knew of the node whose name it gets: it must not go on from there in a feed that is its own.
#[test]
fn a_name_that_was_a_peers_leaves_no_position_behind() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let position = Position { incarnation: Incarnation(7), snapshot: Snapshot::new(9, []), within: None };
        let advance = sync_core::peer_sync::store::Advance { position, frontier: Default::default() };
        let merge = MergeRows {
            from: NodeId::new("b").unwrap(),
            rows: Vec::new(),
            groups: Vec::new(),
            known: Vec::new(),
            advance: Some(advance),
            repair: false,
        };
        let merged = store.execute(PeerRequest::Merge(merge)).await;
        assert!(matches!(merged, PeerReply::Merged(_)), "{merged:?}");
        assert_eq!(describe(&store).await.positions.len(), 1);
        store.rename(NodeId::new("b").unwrap()).await.unwrap();
        let store = database.store("b", notes()).await;
        assert_eq!(describe(&store).await.positions.len(), 0);
    });
}

/// What an application is in the middle of writing would belong to nobody.
#[test]
fn whoever_is_writing_is_waited_for_and_not_for_ever() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let mut client = database.raw().await;
        run(&mut client, "BEGIN; INSERT INTO notes VALUES (1, 'x')").await;
        let refused = store.rename(NodeId::new("b").unwrap()).await;
        assert!(matches!(refused, Err(PeerStoreError::Postgres(_))), "{refused:?}");
        run(&mut client, "COMMIT").await;
        let store = database.store("a", notes()).await;
        store.rename(NodeId::new("b").unwrap()).await.unwrap();
        let store = database.store("b", notes()).await;
        let kept = versions(&store, &[note(1)]).await.pop().flatten().unwrap();
        assert_eq!(kept.version.node.as_str(), "a");
    });
}
