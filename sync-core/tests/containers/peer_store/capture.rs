//! Whatever client writes in whatever way: others read it.

use sync_core::peer_sync::row::Image;
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::{PeerReply, PeerRequest, Scrub};
use sync_core::runtime::peer_store::ChangeMark;

use super::support::{
    Database, NOTES, describe, fail, feed, from_start, merge, note, notes, pull, row, run, since, versions,
};
use crate::runtime_support::runtime;

#[test]
fn plain_sql_of_any_client_is_captured() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        run(&mut database.raw().await, "INSERT INTO notes VALUES (100, 'there before')").await;
        let store = database.store("a", notes()).await;
        let mut client = database.raw().await;
        run(&mut client, "INSERT INTO notes SELECT n, 'bulk ' || n FROM generate_series(1, 50) AS n").await;
        run(&mut client, "UPDATE notes SET text = text || '!' WHERE id <= 2; DELETE FROM notes WHERE id = 3").await;
        run(&mut client, "UPDATE notes SET id = id + 1000 WHERE id IN (4, 5)").await;
        run(&mut client, "INSERT INTO notes VALUES (1, 'x'), (60, NULL) ON CONFLICT (id) DO UPDATE SET text = excluded.text")
            .await;
        run(&mut client, "BEGIN; UPDATE notes SET text = 'undone'; ROLLBACK").await;
        run(&mut client, "MERGE INTO notes USING (VALUES (7), (61)) AS s (id) ON notes.id = s.id
            WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged')").await;
        run(&mut client, "COPY notes FROM PROGRAM 'echo 62,copied' WITH (FORMAT csv)").await;
        let page = feed(&store, from_start()).await;
        let shows = |id: u32| {
            let version = page.rows.iter().find(|version| version.row == note(id)).unwrap();
            assert!(version.is_sound(), "{version:?}");
            match &version.image {
                Image::Row(content) => content.column(1).unwrap_or("null").to_owned(),
                Image::Tombstone(content) => format!("deleted {}", content.as_ref().unwrap().column(1).unwrap()),
            }
        };
        assert_eq!(page.rows.len(), 50 + 1 + 2 + 3);
        let shown = [100, 1, 2, 3, 4, 1005, 60, 7, 61, 62, 50].map(shows);
        let expected = ["there before", "x", "bulk 2!", "deleted bulk 3", "deleted bulk 4", "bulk 5", "null",
            "deleted bulk 7", "merged", "copied", "bulk 50"];
        assert_eq!(shown, expected);
        let mut stamps: Vec<_> = page.rows.iter().map(|version| version.version.stamp).collect();
        stamps.sort_unstable();
        stamps.dedup();
        assert_eq!(stamps.len(), page.rows.len(), "no two rows share a stamp");
        // Nothing is captured twice, and nothing of what a peer itself merges.
        assert_eq!(feed(&store, since(page.position.clone())).await.rows, []);
        store.close().await;
    });
}

#[test]
fn a_transaction_over_two_tables_stays_whole_although_others_overwrite_it_before_the_log_is_read() {
    runtime().block_on(async {
        let tables = "CREATE TABLE notes (id integer PRIMARY KEY, text text);
            CREATE TABLE texts (id integer PRIMARY KEY, text text)";
        let database = Database::with(tables).await;
        let table = |name| Table::new(name, &["id", "text"], &["id"]).unwrap();
        let store = database.store("a", Schema::new([table("notes"), table("texts")]).unwrap()).await;
        let mut client = database.raw().await;
        for (id, overwritten) in [(1, "notes"), (2, "texts")] {
            let both =
                format!("BEGIN; INSERT INTO notes VALUES ({id}); INSERT INTO texts VALUES ({id}); COMMIT");
            run(&mut client, &both).await;
            run(&mut client, &format!("UPDATE {overwritten} SET text = 'later' WHERE id = {id}")).await;
        }
        let page = feed(&store, from_start()).await;
        assert_eq!(page.groups, [2, 2], "who reads the one without the other reads a part: {page:?}");
        store.close().await;
    });
}

#[test]
fn keys_that_move_within_one_statement_end_where_they_are() {
    runtime().block_on(async {
        let database =
            Database::with("CREATE TABLE notes (id integer PRIMARY KEY DEFERRABLE, text text)").await;
        let store = database.store("a", notes()).await;
        let mut client = database.raw().await;
        run(&mut client, "INSERT INTO notes VALUES (1, 'one'), (2, 'two')").await;
        run(&mut client, "UPDATE notes SET id = id + 1").await;
        let ids = [note(1), note(2), note(3)];
        let contents: Vec<String> = versions(&store, &ids)
            .await
            .into_iter()
            .map(|version| {
                format!("{:?}", version.unwrap().image.row().and_then(|row| row.column(1).map(str::to_owned)))
            })
            .collect();
        assert_eq!(contents, ["None", "Some(\"one\")", "Some(\"two\")"]);
    });
}

#[test]
fn truncate_is_refused_with_the_remedy() {
    runtime().block_on(async {
        let database = Database::with(NOTES).await;
        let store = database.store("a", notes()).await;
        let (code, message) = fail(&mut database.raw().await, "TRUNCATE notes").await;
        assert_eq!(
            (code.as_str(), message.contains("TRUNCATE cannot be captured")),
            ("0A000", true),
            "{message}"
        );
        store.close().await;
    });
}

#[test]
fn a_late_commit_is_not_skipped_and_holds_nobody_back() {
    runtime().block_on(async {
        let (one, other) = (Database::with(NOTES).await, Database::with(NOTES).await);
        let (a, b) = (one.store("a", notes()).await, other.store("b", notes()).await);
        let (mut late, mut early) = (one.raw().await, one.raw().await);
        run(&mut late, "BEGIN; INSERT INTO notes VALUES (1, 'late')").await;
        run(&mut early, "INSERT INTO notes VALUES (2, 'early')").await;
        assert_eq!(pull(&b, &a).await, 1);
        run(&mut early, "INSERT INTO notes VALUES (3, 'next')").await;
        assert_eq!(pull(&b, &a).await, 1);
        run(&mut late, "COMMIT").await;
        assert_eq!(pull(&b, &a).await, 1);
        assert_eq!(pull(&b, &a).await, 0);
        assert_eq!(describe(&a).await.digest, describe(&b).await.digest);
        let texts: Vec<String> = sqlx::query_scalar("SELECT text FROM notes ORDER BY id")
            .fetch_all(&mut other.raw().await)
            .await
            .unwrap();
        assert_eq!(texts, ["late", "early", "next"]);
        // What was merged is nobody's local write.
        assert_eq!(b.changed(&mut ChangeMark::default()).await.unwrap(), []);
    });
}

#[test]
fn values_of_all_kinds_arrive_as_they_were() {
    runtime().block_on(async {
        let table = "CREATE TYPE mood AS ENUM ('sad', 'glad');
            CREATE TABLE things (name varchar(20), at timestamptz, f double precision, n numeric(12,3), b bytea, j jsonb,
                t text[], c char(5), m mood, d date, i interval, flag boolean, r int4range, PRIMARY KEY (name, at))";
        let columns = ["name", "at", "f", "n", "b", "j", "t", "c", "m", "d", "i", "flag", "r"];
        let schema = || Schema::new([Table::new("things", &columns, &["name", "at"]).unwrap()]).unwrap();
        let (one, other) = (Database::with(table).await, Database::with(table).await);
        let (a, b) = (one.store("a", schema()).await, other.store("b", schema()).await);
        let mut client = one.raw().await;
        run(&mut client, "SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'; SET bytea_output = 'escape';
            SET extra_float_digits = -3; SET intervalstyle = 'iso_8601'").await;
        run(&mut client, "INSERT INTO things VALUES
            ('a: \u{1f409}', '2026-01-02 03:04:05.678901+09', 0.1::float8 + 0.2, 1.5, '\\x00ff', '{\"b\": 1, \"a\": [null]}',
                ARRAY['x', NULL, '\"y\"'], 'ab', 'glad', '2024-02-29', '1 mon -2 days 03:00:00', true, '[1,5)'),
            ('', 'infinity', 'NaN', 'NaN', NULL, 'null', '{}', '', NULL, NULL, NULL, NULL, NULL)").await;
        assert_eq!(pull(&b, &a).await, 2);
        run(&mut client, "DELETE FROM things WHERE name = ''; UPDATE things SET f = -0.0").await;
        assert_eq!(pull(&b, &a).await, 2);
        let all = "SELECT string_agg(things::text, '|' ORDER BY name) FROM things";
        let texts: Vec<String> = vec![
            sqlx::query_scalar(all).fetch_one(&mut one.raw().await).await.unwrap(),
            sqlx::query_scalar(all).fetch_one(&mut other.raw().await).await.unwrap(),
        ];
        assert_eq!(texts[0], texts[1]);
        let scrub = PeerRequest::Scrub(Scrub { after: None, rows_max: 100 });
        for store in [&a, &b] {
            let PeerReply::Scrubbed(scrubbed) = store.execute(scrub.clone()).await else { panic!() };
            assert_eq!((scrubbed.rows, scrubbed.corrupt), (2, vec![]));
        }
    });
}

#[test]
fn a_large_statement_travels_in_parts() {
    runtime().block_on(async {
        let (one, other) = (Database::with(NOTES).await, Database::with(NOTES).await);
        let (a, b) = (one.store("a", notes()).await, other.store("b", notes()).await);
        run(&mut one.raw().await, "INSERT INTO notes SELECT n, 'x' FROM generate_series(1, 25000) AS n")
            .await;
        assert_eq!(pull(&b, &a).await, 25_000);
        let (a, b) = (describe(&a).await, describe(&b).await);
        assert_eq!((a.digest.rows, a.digest, &a.tables), (25_000, b.digest, &b.tables));
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut other.raw().await).await.unwrap();
        assert_eq!(count, 25_000);
    });
}

#[test]
fn what_a_merge_waits_for_is_decided_after_it() {
    runtime().block_on(async {
        let (one, other) = (Database::with(NOTES).await, Database::with(NOTES).await);
        let (a, b) = (one.store("a", notes()).await, other.store("b", notes()).await);
        run(&mut other.raw().await, "INSERT INTO notes VALUES (1, 'theirs')").await;
        let mut client = one.raw().await;
        run(&mut client, "BEGIN; INSERT INTO notes VALUES (1, 'mine')").await;
        let page = feed(&b, from_start()).await;
        let merging = async { merge(&a, b.node(), page).await };
        let committing = async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            run(&mut client, "COMMIT").await;
        };
        let (merged, ()) = tokio::join!(merging, committing);
        assert_eq!(merged.outcomes.len(), 1);
        pull(&b, &a).await;
        let (mine, theirs) = (versions(&a, &[note(1)]).await, versions(&b, &[note(1)]).await);
        assert_eq!(mine[0].as_ref().unwrap().version, theirs[0].as_ref().unwrap().version);
        let stored = row(&notes(), "notes", &["1"]);
        assert_eq!(mine[0].as_ref().unwrap().row, stored);
    });
}
