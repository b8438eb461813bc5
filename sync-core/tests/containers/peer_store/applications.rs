//! What applications may rely on, and what they may do without rights on what the synchronisation keeps.

use sqlx::Connection as _;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::interface::changes::{Existing, ReadRows, Statement};
use sync_core::peer_sync::row::Image;
use sync_core::peer_sync::schema::{OnDeleted, Reference, Schema, Table};
use sync_core::peer_sync::store::{Outcome, Unsound};
use sync_core::runtime::peer_store::PutError;
use sync_core::runtime::postgres::PostgresError;

use super::support::{
    Database, NOTES, describe, fail, feed, from_start, merge, note, notes, pull, row, run, versions,
};
use crate::runtime_support::runtime;

#[test]
fn an_application_needs_rights_on_its_own_tables_only() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let mut owner = database.raw().await;
        run(
            &mut owner,
            "DROP ROLE IF EXISTS application; CREATE ROLE application LOGIN PASSWORD 'secret';
            GRANT ALL ON notes TO application",
        )
        .await;
        let dsn = database.dsn.expose().replace("postgres:secret@", "application:secret@");
        let mut client = sqlx::PgConnection::connect(&dsn).await.unwrap();
        run(
            &mut client,
            "INSERT INTO notes VALUES (1, 'x'), (2, 'y'); UPDATE notes SET id = 3 WHERE id = 2;
            DELETE FROM notes WHERE id = 1",
        )
        .await;
        assert_eq!(describe(&store).await.digest.rows, 3);
        let (code, _) = fail(&mut client, "SELECT * FROM p2p_peer.versions").await;
        assert_eq!(code, "42501");
        client.close().await.unwrap();
        run(&mut owner, "REVOKE ALL ON notes FROM application; DROP ROLE application").await;
    });
}

#[test]
fn a_key_that_cannot_be_kept_is_refused_where_it_is_written() {
    runtime().block_on(async {
        let database = Database::with("CREATE TABLE notes (id text PRIMARY KEY, text text)").await;
        let store = database.store("a", notes()).await;
        let mut client = database.raw().await;
        let insert = |times: u32| {
            format!("INSERT INTO notes SELECT string_agg(md5(n::text), '' ORDER BY n), '' FROM generate_series(1, {times}) AS n")
        };
        let (code, message) = fail(&mut client, &insert(63)).await;
        assert_eq!((code.as_str(), message.contains("key_of_a_travelling_row_too_long")), ("23514", true));
        run(&mut client, &insert(62)).await;
        assert_eq!(describe(&store).await.digest.rows, 1);
    });
}

#[test]
fn rows_are_read_and_written_by_their_places() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let table = note(1).table;
        let put = |id: &str, text: Option<&str>, existing| Statement {
            table: table.clone(),
            columns: vec![(1, text.map(str::to_owned)), (0, Some(id.to_owned()))],
            existing,
        };
        let rows = [
            put("1", Some("x"), Existing::Refuse),
            put("2", None, Existing::Refuse),
            put("1", Some("y"), Existing::Update),
        ];
        assert_eq!(store.put(&rows).await, Ok(3));
        let refused = store.put(&[put("3", None, Existing::Refuse), put("1", None, Existing::Refuse)]).await;
        let error = PostgresError::Refused { code: "23505".to_owned() };
        assert_eq!(refused, Err(PutError::Postgres { error, constraint: Some("notes_pkey".to_owned()) }));
        let nonsense = Statement { columns: vec![(7, None)], ..put("1", None, Existing::Refuse) };
        assert_eq!(store.put(&[nonsense]).await, Err(PutError::Unknown));
        run(&mut database.raw().await, "DELETE FROM notes WHERE id = 2").await;
        let read = async |since, after: Option<&str>, rows_max| {
            let after = after.map(|key| Content::new([Some(key)]));
            store.rows(ReadRows { table: table.clone(), since, after, rows_max }).await.unwrap()
        };
        let all = read(None, None, 10).await;
        assert_eq!(
            all.iter().map(|row| row.visible.clone().unwrap()).collect::<Vec<_>>(),
            [Content::new([Some("1"), Some("y")])]
        );
        let since = read(Some(sync_core::time::Timestamp::from_us(0)), None, 10).await;
        assert_eq!(since.iter().map(|row| row.visible.is_some()).collect::<Vec<_>>(), [true, false]);
        assert_eq!(read(Some(sync_core::time::Timestamp::from_us(0)), Some("1"), 1).await.len(), 1);
    });
}

#[test]
fn a_row_that_the_table_cannot_hold_is_refused_alone() {
    runtime().block_on(async {
        let one = Database::with("CREATE TABLE notes (id integer PRIMARY KEY, text text)").await;
        let other = Database::with(
            "CREATE TABLE notes (id integer PRIMARY KEY, text varchar(3) CHECK (text <> 'no'))",
        )
        .await;
        let (a, b) = (one.store("a", notes()).await, other.store("b", notes()).await);
        run(
            &mut one.raw().await,
            "INSERT INTO notes VALUES (1, 'yes'), (2, 'too long'), (3, 'no'), (4, NULL)",
        )
        .await;
        let merged = merge(&b, a.node(), feed(&a, from_start()).await).await;
        let unsound = Outcome::Unsound(Unsound::Columns);
        assert_eq!(merged.outcomes, [Outcome::Inserted, unsound.clone(), unsound, Outcome::Inserted]);
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut other.raw().await).await.unwrap();
        assert_eq!(count, 2);
    });
}

#[test]
fn a_row_whose_key_the_table_cannot_hold_is_refused_alone() {
    runtime().block_on(async {
        let one = Database::with("CREATE TABLE notes (id text PRIMARY KEY, text text)").await;
        let other = Database::with("CREATE TABLE notes (id integer PRIMARY KEY, text text)").await;
        let (a, b) = (one.store("a", notes()).await, other.store("b", notes()).await);
        run(&mut one.raw().await, "INSERT INTO notes VALUES ('1', 'yes'), ('no number', 'no'), ('2', 'yes')")
            .await;
        let mut page = feed(&a, from_start()).await;
        // Nor does any text of PostgreSQL hold a NUL.
        let mut with_nul = page.rows[0].clone();
        with_nul.row.key = Content::new([Some("\0")]);
        with_nul.image = Image::Tombstone(None);
        with_nul.version.hash = Content::tombstone_hash(None);
        page.rows.push(with_nul);
        let merged = merge(&b, a.node(), page).await;
        let refused =
            merged.outcomes.iter().filter(|outcome| **outcome == Outcome::Unsound(Unsound::Columns));
        assert_eq!(refused.count(), 2, "{:?}", merged.outcomes);
        let ids = "SELECT string_agg(id::text, ',' ORDER BY id) FROM notes";
        let ids: String = sqlx::query_scalar(ids).fetch_one(&mut other.raw().await).await.unwrap();
        assert_eq!(ids, "1,2");
    });
}

#[test]
fn natural_keys_that_change_hands_do_not_stall_a_merge() {
    runtime().block_on(async {
        let table =
            "CREATE TABLE users (id integer PRIMARY KEY, email text UNIQUE, local text DEFAULT 'kept')";
        let schema = || {
            let mut users = Table::new("users", &["id", "email"], &["id"]).unwrap();
            users.unique.push(vec!["email".to_owned()]);
            Schema::new([users]).unwrap()
        };
        let (one, other) = (Database::with(table).await, Database::with(table).await);
        let (a, b) = (one.store("a", schema()).await, other.store("b", schema()).await);
        run(&mut one.raw().await, "INSERT INTO users VALUES (1, 'x'), (2, 'y')").await;
        pull(&b, &a).await;
        run(
            &mut one.raw().await,
            "UPDATE users SET email = NULL; UPDATE users SET email = CASE id WHEN 1 THEN 'y' ELSE 'x' END",
        )
        .await;
        pull(&b, &a).await;
        let emails = "SELECT string_agg(id || email, ',' ORDER BY id) FROM users";
        let shown: String = sqlx::query_scalar(emails).fetch_one(&mut other.raw().await).await.unwrap();
        assert_eq!(shown, "1y,2x");
        // Both give one e-mail to a row of their own: the later one stays, at both.
        run(&mut one.raw().await, "INSERT INTO users VALUES (3, 'z')").await;
        run(&mut other.raw().await, "INSERT INTO users VALUES (4, 'z')").await;
        for _ in 0..2 {
            pull(&b, &a).await;
            pull(&a, &b).await;
        }
        for database in [&one, &other] {
            let shown: String =
                sqlx::query_scalar(emails).fetch_one(&mut database.raw().await).await.unwrap();
            assert_eq!(shown, "1y,2x,4z");
        }
        assert_eq!(
            (describe(&a).await.digest, describe(&a).await.tables),
            (describe(&b).await.digest, describe(&b).await.tables)
        );
    });
}

#[test]
fn what_cascades_travels() {
    runtime().block_on(async {
        let tables = "CREATE TABLE posts (id integer PRIMARY KEY, title text);
            CREATE TABLE likes (id integer PRIMARY KEY, post_id integer REFERENCES posts ON DELETE CASCADE)";
        let schema = || {
            let posts = Table::new("posts", &["id", "title"], &["id"]).unwrap();
            let mut likes = Table::new("likes", &["id", "post_id"], &["id"]).unwrap();
            likes.references.push(Reference {
                columns: vec!["post_id".to_owned()],
                table: posts.name.clone(),
                on_deleted: OnDeleted::Cascade,
            });
            Schema::new([posts, likes]).unwrap()
        };
        let (one, other) = (Database::with(tables).await, Database::with(tables).await);
        let (a, b) = (one.store("a", schema()).await, other.store("b", schema()).await);
        let mut client = one.raw().await;
        run(&mut client, "INSERT INTO posts VALUES (1, 'x'); INSERT INTO likes SELECT n, 1 FROM generate_series(1, 5) AS n").await;
        pull(&b, &a).await;
        run(&mut client, "DELETE FROM posts").await;
        assert_eq!(pull(&b, &a).await, 6);
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM likes").fetch_one(&mut other.raw().await).await.unwrap();
        assert_eq!(count, 0);
        let stored = versions(&b, &[row(&schema(), "likes", &["3"])]).await;
        assert!(stored[0].as_ref().unwrap().image.is_tombstone());
    });
}
