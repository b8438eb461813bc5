//! Databases that cannot be a peer's, and databases that are another than they were.

use sync_core::peer_sync::schema::{OnDeleted, Reference, Schema, Table};
use sync_core::peer_sync::store::{PeerReply, PeerRequest};

use super::support::{Database, NOTES, describe, feed, from_start, notes, run, since};
use crate::runtime_support::runtime;

#[test]
fn what_cannot_travel_is_refused_with_the_remedy() {
    runtime().block_on(async {
        let check = async |sql: &str, expected: &str| {
            let database = Database::with(sql).await;
            let error = database.try_store("a", notes()).await.err().unwrap().to_string();
            assert!(error.contains(expected), "{sql}: {error}");
        };
        check("SELECT 1", "there is no table `notes`").await;
        check("CREATE TABLE notes (id integer PRIMARY KEY)", "no column `text`").await;
        check("CREATE TABLE notes (id integer, text text)", "primary key is ()").await;
        check("CREATE TABLE notes (id integer, text text PRIMARY KEY)", "primary key is (text)").await;
        check("CREATE TABLE notes (id integer PRIMARY KEY, text text UNIQUE)", "notes_text_key").await;
        check("CREATE TABLE notes (id integer PRIMARY KEY, text text, n integer NOT NULL)", "column `n`").await;
        check("CREATE TABLE p (id integer PRIMARY KEY); CREATE TABLE notes (id integer PRIMARY KEY REFERENCES p, text text)", "foreign key").await;
        check("CREATE TABLE notes (id integer PRIMARY KEY, text text GENERATED ALWAYS AS ('x') STORED)", "generated").await;
        check("CREATE VIEW notes AS SELECT 1 AS id, '' AS text", "no ordinary table").await;
    });
}

#[test]
fn declared_references_and_natural_keys_may_be_enforced_by_the_database() {
    runtime().block_on(async {
        let mut users = Table::new("users", &["id", "email"], &["id"]).unwrap();
        users.unique.push(vec!["email".to_owned()]);
        let mut posts = Table::new("posts", &["id", "user_id"], &["id"]).unwrap();
        posts.references.push(Reference {
            columns: vec!["user_id".to_owned()],
            table: users.name.clone(),
            on_deleted: OnDeleted::Revive,
        });
        let schema = Schema::new([users, posts]).unwrap();
        let database = Database::with(
            "CREATE TABLE users (id integer PRIMARY KEY, email text UNIQUE);
             CREATE TABLE posts (id integer PRIMARY KEY, user_id integer REFERENCES users)",
        )
        .await;
        database.store("a", schema).await.close().await;
    });
}

#[test]
fn a_database_belongs_to_one_peer_and_one_process() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let error = database.try_store("a", notes()).await.err().unwrap().to_string();
        assert!(error.contains("another peer works on this database"), "{error}");
        store.close().await;
        let error = database.try_store("b", notes()).await.err().unwrap().to_string();
        assert!(error.contains("belongs to the peer `a`"), "{error}");
        database.store("a", notes()).await.close().await;
    });
}

#[test]
fn a_lost_connection_is_answered_and_found_again() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let mut client = database.raw().await;
        for _ in 0..2 {
            run(
                &mut client,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
            run(&mut client, "INSERT INTO notes SELECT coalesce(max(id), 0) + 1, 'x' FROM notes").await;
            describe(&store).await;
        }
        assert_eq!(describe(&store).await.digest.rows, 2);
    });
}

/// A dump that is restored into another database carries numbers of transactions that mean nothing there.
#[test]
fn a_database_that_was_moved_begins_a_new_life() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let mut client = database.raw().await;
        run(&mut client, "INSERT INTO notes VALUES (1, 'x'), (2, 'y'); DELETE FROM notes WHERE id = 2").await;
        let before = describe(&store).await;
        let position = feed(&store, from_start()).await.position;
        store.close().await;
        run(
            &mut client,
            "UPDATE p2p_peer.node SET system_id = 1; UPDATE p2p_peer.versions SET xid = xid + 1000000",
        )
        .await;
        let store = database.store("a", notes()).await;
        let after = describe(&store).await;
        assert_ne!(before.incarnation, after.incarnation);
        assert_eq!(before.digest, after.digest);
        let reply = store.execute(PeerRequest::Feed(since(position))).await;
        let PeerReply::MustReconcile(position) = reply else { panic!("{reply:?}") };
        assert_eq!(position.incarnation, after.incarnation);
        let page = feed(&store, from_start()).await;
        // They keep the life in which they were written: who has read them there knows what became of them.
        assert_eq!(page.rows.len(), 2);
        assert!(page.rows.iter().all(|row| row.origin.incarnation == before.incarnation), "{:?}", page.rows);
        run(&mut client, "INSERT INTO notes VALUES (3, 'z')").await;
        let page = feed(&store, since(page.position)).await;
        assert!(
            page.rows.len() == 1 && page.rows[0].origin.incarnation == after.incarnation,
            "{:?}",
            page.rows
        );
        assert_eq!(feed(&store, since(page.position)).await.rows, []);
        store.close().await;
        // The same again is no new life.
        let store = database.store("a", notes()).await;
        assert_eq!(describe(&store).await.incarnation, after.incarnation);
    });
}
