//! PostgreSQL decides as the in-memory store does: the same transactions and requests, the same replies, and the same
//! content before the eyes of applications.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use sync_core::id::Incarnation;
use sync_core::limits;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::position::{Frontier, Position};
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::memory::{MemoryPeerStore, TransactionId, Write};
use sync_core::peer_sync::store::{Advance, MergeRows, PeerReply, PeerRequest, ReadFeed};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_store::PeerStore;
use sync_core::time::Timestamp;

use super::draw::Draw;
use super::met::Met;
use super::numbers::Numbers;
use super::support::{Database, describe, run};
use super::tables::{BY_POLICY, BY_VERSION, TABLES, random_write, schema, statement};
use crate::runtime_support::runtime;

/// Random runs, and what happens in each; `P2P_TEST_SEED` repeats one.
const RUNS: u64 = 32;
const STEPS: usize = 120;

const CLOCK: &str = "
    CREATE TABLE p2p_peer.test_clock (at_us bigint NOT NULL);
    INSERT INTO p2p_peer.test_clock VALUES (0);
    CREATE OR REPLACE FUNCTION p2p_peer.clock_us() RETURNS bigint LANGUAGE sql VOLATILE AS $$
        SELECT at_us FROM p2p_peer.test_clock
    $$";

/// Somebody who reads the feed of both stores.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) postgres: (Option<Position>, Frontier),
    pub(super) memory: (Option<Position>, Frontier),
}

/// Both stores of one node, and two other nodes.
pub(super) struct World {
    pub(super) met: Met,
    /// Without purges, wrong clocks and new lives: then writes that know nothing of each other meet more often.
    pub(super) is_calm: bool,
    pub(super) schema: Schema,
    pub(super) postgres: PeerStore,
    pub(super) memory: MemoryPeerStore,
    pub(super) others: Vec<MemoryPeerStore>,
    pub(super) readers: [Reader; 2],
    pub(super) numbers: Numbers,
    pub(super) now: u64,
    pub(super) database: Database,
    pub(super) client: PgConnection,
    pub(super) control: PgConnection,
    /// A transaction that is left open for a while, with its row.
    pub(super) late: Option<(PgConnection, TransactionId)>,
    pub(super) rows_late: u32,
    pub(super) lives: u64,
    pub(super) draw: Draw,
}

#[test]
fn postgres_decides_as_memory_does() {
    let seeds: Vec<u64> = match std::env::var("P2P_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("P2P_TEST_SEED is a number")],
        Err(_) => (1..=RUNS).collect(),
    };
    let mut met = Met::default();
    let is_whole = seeds.len() > 1;
    for seed in seeds {
        println!("seed {seed}; repeat it with P2P_TEST_SEED={seed}");
        runtime().block_on(async {
            let mut world = World::new(seed).await;
            std::mem::swap(&mut world.met, &mut met);
            for step in 0..STEPS {
                world.step(step).await;
            }
            world.check("at the end").await;
            world.postgres.close().await;
            std::mem::swap(&mut world.met, &mut met);
        });
    }
    println!("{met:?}");
    let missing: Vec<_> =
        Met::ALL.iter().filter(|what| met.0.get(**what).is_none_or(|times| *times == 0)).collect();
    assert!(!is_whole || missing.is_empty(), "never met: {missing:?}");
}

impl World {
    async fn new(seed: u64) -> Self {
        let database = Database::with(TABLES).await;
        let schema = schema();
        let postgres = database.store("a", schema.clone()).await;
        let mut control = database.raw().await;
        run(&mut control, CLOCK).await;
        let store = |name: &str, life| {
            MemoryPeerStore::new(NodeId::new(name).unwrap(), schema.clone(), life, limits::STAMP_AHEAD_MAX)
        };
        let life = describe(&postgres).await.incarnation;
        Self {
            met: Met::default(),
            is_calm: seed.is_multiple_of(2),
            memory: store("a", life),
            others: vec![store("b", Incarnation(1)), store("c", Incarnation(1))],
            schema: schema.clone(),
            postgres,
            readers: <[Reader; 2]>::default(),
            numbers: Numbers::new(NodeId::new("a").unwrap()),
            now: 1_000_000,
            client: database.raw().await,
            control,
            database,
            late: None,
            rows_late: 1_000,
            lives: 0,
            draw: Draw(seed),
        }
    }

    async fn step(&mut self, step: usize) {
        self.now += self.draw.below(3);
        if self.draw.one_in(40) {
            self.now += limits::STAMP_AHEAD_MAX.as_us() / 2;
        }
        let clock = format!("UPDATE p2p_peer.test_clock SET at_us = {}", self.now);
        run(&mut self.control, &clock).await;
        match self.draw.below(if self.is_calm { 28 } else { 40 }) {
            0..8 => self.local().await,
            8 | 9 => self.late().await,
            10..15 => self.elsewhere(),
            15..17 => self.elsewhere_pull(),
            17..22 => self.pull().await,
            22..24 => self.given(),
            24..28 => self.read().await,
            28 => self.passed().await,
            29 => self.digests().await,
            30 => self.versions().await,
            31 | 32 => self.purge().await,
            33 => self.drop_rows().await,
            34 => self.scrub().await,
            35 => self.renew().await,
            36 | 37 => self.apply_if().await,
            _ => self.push().await,
        }
        if self.draw.one_in(3) {
            self.check(&format!("after step {step}")).await;
        }
    }

    /// Has both stores execute a request, and compares.
    pub(super) async fn both(
        &mut self,
        postgres: PeerRequest,
        memory: PeerRequest,
    ) -> (PeerReply, PeerReply) {
        let before = self.memory.snapshot().xmax();
        let replied = self.postgres.execute(postgres).await;
        let expected = self.memory.execute(Timestamp::from_us(self.now), memory.clone());
        self.enter_merge(before).await;
        let fault = self.postgres.fault();
        assert_eq!(
            self.numbers.reply(replied.clone()),
            self.numbers.plain(expected.clone()),
            "{memory:?} {fault:?}"
        );
        self.met.reply(&expected);
        (replied, expected)
    }

    pub(super) async fn same(&mut self, request: PeerRequest) -> PeerReply {
        self.both(request.clone(), request).await.1
    }

    /// A transaction that a merge has drawn a number for.
    async fn enter_merge(&mut self, before: u64) {
        let after = self.memory.snapshot().xmax().max(before);
        let xids: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT xid FROM p2p_peer.versions")
            .fetch_all(&mut self.control)
            .await
            .unwrap();
        let new: Vec<u64> = xids
            .into_iter()
            .map(|xid| u64::try_from(xid).unwrap())
            .filter(|xid| !self.numbers.knows(*xid))
            .collect();
        assert!(new.len() <= 1, "{new:?}");
        for xid in new {
            self.numbers.enter(xid, after - 1);
        }
    }

    /// Compares what both stores hold and what applications see.
    async fn check(&mut self, when: &str) {
        let PeerReply::Described(described) = self.same(PeerRequest::Describe).await else { panic!() };
        let tables: Vec<Table> = self.schema.tables().cloned().collect();
        for table in tables {
            let columns: Vec<String> = table.columns.iter().map(|column| format!("{column}::text")).collect();
            let sql = format!("SELECT {} FROM {} ORDER BY id", columns.join(", "), table.name);
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.control).await.unwrap();
            let shown: BTreeSet<Content> = rows
                .iter()
                .map(|row| {
                    let values: Vec<Option<String>> = (0..columns.len()).map(|n| row.get(n)).collect();
                    Content::new(values.iter().map(Option::as_deref))
                })
                .collect();
            let expected: BTreeSet<Content> =
                self.memory.rows(&table.name).into_iter().map(|(_, content)| content.clone()).collect();
            assert_eq!(shown, expected, "{} {when}", table.name);
        }
        assert_eq!(described.node, self.numbers.node);
        let ids: Vec<RowId> = self.memory.versions().into_iter().map(|(row, _)| row.row.clone()).collect();
        self.same(PeerRequest::FetchVersions(ids)).await;
    }

    /// A transaction of an application. What a policy keeps beside a write is decided when it is folded, so one that
    /// writes such a table writes one row, and is folded at once.
    async fn local(&mut self) {
        let is_ruled = !self.is_calm && self.draw.one_in(4);
        self.transact(is_ruled).await;
        if is_ruled {
            self.same(PeerRequest::Describe).await;
        }
    }

    async fn transact(&mut self, is_ruled: bool) {
        let transaction = self.memory.begin();
        run(&mut self.client, "BEGIN").await;
        let mut writes: Vec<Write> = Vec::new();
        if is_ruled {
            writes.push(random_write(&mut self.draw, &self.schema, &BY_POLICY));
        }
        for _ in 0..if is_ruled { 0 } else { 1 + self.draw.below(3) } {
            let write = random_write(&mut self.draw, &self.schema, &BY_VERSION);
            // What goes with its parent is stamped before it here and after it there; one by one both do alike.
            if let Write::Delete(row) = &write
                && row.table.as_str() == "posts"
            {
                let likes = self.schema.find("likes").unwrap().name.clone();
                writes.push(Write::Delete(RowId { table: likes, key: row.key.clone() }));
            }
            writes.push(write);
        }
        for write in writes {
            let sql = statement(&self.schema, &write);
            let expected = self.memory.write(transaction, Timestamp::from_us(self.now), write);
            let done = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut self.client).await;
            assert_eq!(done.is_ok(), expected.is_ok(), "{sql}: {done:?} {expected:?}");
            if expected.is_err() {
                self.memory.rollback(transaction);
                return run(&mut self.client, "ROLLBACK").await;
            }
        }
        if self.draw.one_in(8) {
            self.memory.rollback(transaction);
            return run(&mut self.client, "ROLLBACK").await;
        }
        let xid = number_of(&mut self.client).await;
        run(&mut self.client, "COMMIT").await;
        let committed = self.memory.commit(transaction, Timestamp::from_us(self.now)).unwrap();
        if let Some(memory) = committed.xid {
            self.numbers.enter(xid.unwrap(), memory);
        }
    }

    /// Begins a transaction that stays open, or ends it.
    async fn late(&mut self) {
        let at = Timestamp::from_us(self.now);
        if let Some((mut client, transaction)) = self.late.take() {
            if self.draw.one_in(4) {
                self.memory.rollback(transaction);
                return run(&mut client, "ROLLBACK").await;
            }
            run(&mut client, "COMMIT").await;
            self.memory.commit(transaction, at).unwrap();
            return self.met.count("late commit", 1);
        }
        self.rows_late += 1;
        let id = self.rows_late.to_string();
        let table = self.schema.find("notes").unwrap().name.clone();
        let write = Write::Put { table, content: Content::new([Some(id.as_str()), Some("late")]) };
        let mut client = self.database.raw().await;
        run(&mut client, "BEGIN").await;
        run(&mut client, &statement(&self.schema, &write)).await;
        // Others may speak of it before it ends.
        let memory = self.memory.snapshot().xmax();
        let transaction = self.memory.begin();
        self.memory.write(transaction, at, write).unwrap();
        self.numbers.enter(number_of(&mut client).await.unwrap(), memory);
        self.late = Some((client, transaction));
    }

    /// A transaction at another node, whose clock may be wrong.
    fn elsewhere(&mut self) {
        let which = self.draw.index(self.others.len());
        let skew = if self.is_calm { 0 } else { [0, 0, 0, 40_000_000, 70_000_000][self.draw.index(5)] };
        let at = Timestamp::from_us(self.now + skew);
        let transaction = self.others[which].begin();
        for _ in 0..=self.draw.below(4) {
            let by_policy = !self.is_calm && self.draw.one_in(3);
            let tables: &[&str] = if by_policy { &BY_POLICY } else { &BY_VERSION };
            let write = random_write(&mut self.draw, &self.schema, tables);
            if self.others[which].write(transaction, at, write).is_err() {
                return self.others[which].rollback(transaction);
            }
        }
        self.others[which].commit(transaction, at).unwrap();
    }

    /// One of the others reads the other's feed.
    fn elsewhere_pull(&mut self) {
        let which = self.draw.index(2);
        let mut reader = self.others.swap_remove(which);
        pull(&mut reader, &mut self.others[0], self.now);
        self.others.push(reader);
    }

    /// One of the others reads what is here.
    fn given(&mut self) {
        let which = self.draw.index(2);
        pull(&mut self.others[which], &mut self.memory, self.now);
    }

    /// Both stores merge a page of another's feed.
    async fn pull(&mut self) {
        let which = self.draw.index(2);
        let rows_max = 1 + self.draw.index(6);
        let read = request(&mut self.memory, self.others[which].node(), rows_max);
        let Some(page) = page(&mut self.others[which], read) else { return };
        let from = self.others[which].node().clone();
        let frontier = page.frontier.unwrap_or_default();
        let merge = |rows, frontier| {
            PeerRequest::Merge(MergeRows {
                from: from.clone(),
                rows,
                groups: page.groups.clone(),
                known: page.known.clone(),
                advance: Some(Advance { position: page.position.clone(), frontier }),
                repair: false,
            })
        };
        let rows = page.rows.iter().map(|row| self.numbers.back_row(row.clone())).collect();
        let postgres = merge(rows, self.numbers.back_frontier(&frontier));
        let memory = merge(page.rows.clone(), frontier);
        self.both(postgres, memory).await;
    }
}

async fn number_of(client: &mut PgConnection) -> Option<u64> {
    let xid: Option<String> =
        sqlx::query_scalar("SELECT pg_current_xact_id_if_assigned()::text").fetch_one(client).await.unwrap();
    xid.map(|xid| xid.parse().unwrap())
}

/// A request for the next page of a source's feed.
fn request(reader: &mut MemoryPeerStore, source: &NodeId, rows_max: usize) -> ReadFeed {
    let PeerReply::Described(mut description) = reader.execute(Timestamp::from_us(0), PeerRequest::Describe)
    else {
        panic!()
    };
    let since = description.positions.remove(source);
    ReadFeed { since, frontier: description.frontier, rows_max, bytes_max: usize::MAX }
}

/// A page, or none for a reader that has to compare first.
fn page(source: &mut MemoryPeerStore, read: ReadFeed) -> Option<sync_core::peer_sync::store::Page> {
    match source.execute(Timestamp::from_us(0), PeerRequest::Feed(read)) {
        PeerReply::Page(page) => Some(page),
        _ => None,
    }
}

/// One in-memory store reads another's feed to its end.
fn pull(reader: &mut MemoryPeerStore, source: &mut MemoryPeerStore, now: u64) {
    loop {
        let read = request(reader, source.node(), 5);
        let Some(page) = page(source, read) else { return };
        let is_end = page.frontier.is_some();
        let merge = MergeRows {
            from: source.node().clone(),
            rows: page.rows,
            groups: page.groups,
            known: page.known,
            advance: Some(Advance { position: page.position, frontier: page.frontier.unwrap_or_default() }),
            repair: false,
        };
        reader.execute(Timestamp::from_us(now), PeerRequest::Merge(merge));
        if is_end {
            return;
        }
    }
}
