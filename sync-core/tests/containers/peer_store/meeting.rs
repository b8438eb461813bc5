//! Rows of peers that come while applications write the same rows, which could not be locked as nobody saw them.

use std::time::Duration;

use sqlx::PgConnection;
use sync_core::peer_sync::store::Outcome;

use super::support::{Database, NOTES, feed, from_start, merge, note, notes, pull, run, versions};
use crate::runtime_support::runtime;

/// What applications see of the first note.
async fn seen(client: &mut PgConnection) -> Option<String> {
    sqlx::query_scalar("SELECT text FROM notes WHERE id = 1").fetch_optional(client).await.unwrap()
}

/// Waits until somebody waits for a transaction of an application.
async fn somebody_waits(client: &mut PgConnection) {
    loop {
        let waits: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted)",
        )
        .fetch_one(&mut *client)
        .await
        .unwrap();
        if waits {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_row_that_came_and_went_while_an_older_version_was_merged_stays_deleted() {
    runtime().block_on(async {
        let (one, other) = (Database::with(NOTES).await, Database::with(NOTES).await);
        let (a, b) = (one.store("a", notes()).await, other.store("b", notes()).await);
        run(&mut other.raw().await, "INSERT INTO notes VALUES (1, 'older')").await;
        let page = feed(&b, from_start()).await;
        let (mut client, mut watcher) = (one.raw().await, one.raw().await);
        // The merge finds nothing, and waits for the key when it writes. Then the row is deleted, later than all.
        run(&mut client, "BEGIN; INSERT INTO notes VALUES (1, 'newer')").await;
        let merging = merge(&a, b.node(), page);
        let deleting = async {
            somebody_waits(&mut watcher).await;
            run(&mut client, "DELETE FROM notes; COMMIT").await;
        };
        let (merged, ()) = tokio::join!(merging, deleting);
        assert!(matches!(merged.outcomes[..], [Outcome::Beaten { .. }]), "{merged:?}");
        assert_eq!(seen(&mut watcher).await, None, "an older version came back after the delete");
        assert!(versions(&a, &[note(1)]).await[0].as_ref().unwrap().image.is_tombstone());
        pull(&b, &a).await;
        assert_eq!(seen(&mut other.raw().await).await, None);
    });
}

#[test]
fn a_row_that_is_inserted_while_a_later_delete_is_merged_goes_again() {
    runtime().block_on(async {
        let (one, other) = (Database::with(NOTES).await, Database::with(NOTES).await);
        let (a, b) = (one.store("a", notes()).await, other.store("b", notes()).await);
        let (mut client, mut watcher) = (one.raw().await, one.raw().await);
        // Stamped, but not committed when the later delete comes.
        run(&mut client, "BEGIN; INSERT INTO notes VALUES (1, 'earlier')").await;
        run(&mut other.raw().await, "INSERT INTO notes VALUES (1, 'later'); DELETE FROM notes").await;
        let merged = merge(&a, b.node(), feed(&b, from_start()).await).await;
        assert!(matches!(merged.outcomes[..], [Outcome::Inserted]), "{merged:?}");
        run(&mut client, "COMMIT").await;
        let version = |held: Vec<Option<_>>| held.into_iter().next().flatten();
        let (mine, theirs) = (versions(&a, &[note(1)]).await, versions(&b, &[note(1)]).await);
        assert_eq!(
            version(mine).map(|row: sync_core::peer_sync::row::RowVersion| row.version),
            version(theirs).map(|row| row.version)
        );
        assert_eq!(seen(&mut watcher).await, None, "the delete is later than the insert");
        // And whoever reads has nothing that comes back.
        pull(&b, &a).await;
        assert_eq!(seen(&mut other.raw().await).await, None);
    });
}
