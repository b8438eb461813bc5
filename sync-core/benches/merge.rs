//! Rows a second that a peer's store merges on one core, with the check of each hash and the lookup of each row.
//!
//! ```text
//! cargo bench -p sync-core --bench merge
//! ```
//!
//! A store of a million rows of 200 bytes merges pages of a feed: rows that are new to it, later versions of all rows
//! that it has (in another order than it has them), and those once more. The floor is what no such merge can do
//! without: SHA-256 over each row, and one lookup of each.
//!
//! Rates count the time that this thread had a processor (Linux tells; elsewhere the time that passed), so that what
//! else the machine does matters less; caches and memory are still shared.
//!
//! Ends with 1 when a bound is not kept. Optional arguments: rows (1,000,000), rounds (3).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "measures real time, and ends when something is not there"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use sync_core::id::Incarnation;
use sync_core::limits;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::{Extra, Image, Origin, RowId, RowVersion};
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{MergeRows, Merged, Outcome, PeerReply, PeerRequest};
use sync_core::peer_sync::version::{NodeId, Stamp, Version};
use sync_core::time::Timestamp;

const ROW_BYTES: usize = 200;
const ROWS_A_SECOND_MIN: f64 = 500_000.0;
/// A number without a factor in common with any number of rows that is asked for, to walk them out of order.
const STRIDE: usize = 1_000_003;

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let at = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let (rows, rounds) = (at(0, 1_000_000), at(1, 3).max(1));
    println!(
        "{rows} rows of {ROW_BYTES} bytes, pages of {}, best of {rounds} rounds, rows a second:",
        limits::PAGE_ROWS_MAX
    );

    let mut best = [0f64; 5];
    for _ in 0..rounds {
        for (best, found) in best.iter_mut().zip(round(rows)) {
            *best = best.max(found);
        }
    }
    let [hash, lookup, new, later, again] = best;
    println!("floor: hash only        {hash:12.0}");
    println!("floor: lookup only      {lookup:12.0}");
    println!("floor: one, then other  {:12.0}", 1.0 / (1.0 / hash + 1.0 / lookup));
    println!("merge: new rows         {new:12.0} (at least {ROWS_A_SECOND_MIN:.0})");
    println!("merge: later versions   {later:12.0} (at least {ROWS_A_SECOND_MIN:.0})");
    println!("merge: the same again   {again:12.0} (at least {ROWS_A_SECOND_MIN:.0})");
    let kept = [new, later, again].iter().all(|rate| *rate >= ROWS_A_SECOND_MIN);
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Rates of hash, lookup, and the three merges.
fn round(rows: usize) -> [f64; 5] {
    let table = Table::new("products", &["id", "text"], &["id"]).unwrap();
    let schema = Schema::new([table.clone()]).unwrap();
    let node = |name: &str| NodeId::new(name).unwrap();
    let mut store = MemoryPeerStore::new(node("here"), schema, Incarnation(1), limits::STAMP_AHEAD_MAX);

    let first: Vec<RowVersion> = (0..rows).map(|row| version(&table, row, 1, node("there"))).collect();
    let (new, outcomes) = merge(&mut store, first);
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Inserted));

    let order = (0..rows).map(|place| place * STRIDE % rows);
    let later: Vec<RowVersion> = order.map(|row| version(&table, row, 2, node("there"))).collect();
    let again = later.clone();

    let started = Watch::start();
    assert!(later.iter().all(|row| black_box(row.is_sound())));
    let hash = rate(rows, started);
    let started = Watch::start();
    assert!(later.iter().all(|row| black_box(store.stored(&row.row)).is_some()));
    let lookup = rate(rows, started);

    let (later, outcomes) = merge(&mut store, later);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Updated { .. })));
    let (again, outcomes) = merge(&mut store, again);
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Equal));
    [hash, lookup, new, later, again]
}

/// Merges rows page by page. What is measured is the store's work: the pages are there before.
fn merge(store: &mut MemoryPeerStore, rows: Vec<RowVersion>) -> (f64, Vec<Outcome>) {
    let count = rows.len();
    let mut rows = rows.into_iter();
    let mut pages = Vec::new();
    while !rows.as_slice().is_empty() {
        pages.push(PeerRequest::Merge(MergeRows {
            from: NodeId::new("there").unwrap(),
            rows: rows.by_ref().take(limits::PAGE_ROWS_MAX).collect(),
            groups: Vec::new(),
            known: Vec::new(),
            advance: None,
            repair: false,
        }));
    }
    let now = Timestamp::from_us(1_000_000_000);
    let started = Watch::start();
    let replies: Vec<PeerReply> = pages.into_iter().map(|page| store.execute(now, page)).collect();
    let rate = rate(count, started);
    let outcomes = replies.into_iter().flat_map(|reply| match reply {
        PeerReply::Merged(Merged { outcomes, .. }) => outcomes,
        _ => Vec::new(),
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    assert_eq!(outcomes.len(), count);
    (rate, outcomes)
}

fn version(table: &Table, row: usize, us: u64, node: NodeId) -> RowVersion {
    let id = format!("{row:08x}-0000-4000-8000-{row:012x}");
    let mut text = format!("{us} {row} ");
    while text.len() + id.len() < ROW_BYTES {
        text.push(char::from(b'a' + (text.len() * 7 + row) as u8 % 26));
    }
    let image = Image::Row(Content::new([Some(&*id), Some(&*text)]));
    let stamp = Stamp { us, counter: u32::try_from(row).unwrap() };
    RowVersion {
        row: RowId { table: table.name.clone(), key: Content::new([Some(&*id)]) },
        version: Version { stamp, node, hash: image.hash() },
        image,
        origin: Origin { incarnation: Incarnation(2), xid: us * 1_000_000 + row as u64 },
        extra: Extra::None,
    }
}

fn rate(rows: usize, started: Watch) -> f64 {
    rows as f64 / started.seconds()
}

/// What a stretch of work takes of one core.
struct Watch {
    wall: Instant,
    on_core_ns: Option<u64>,
}

impl Watch {
    fn start() -> Self {
        Self { wall: Instant::now(), on_core_ns: on_core_ns() }
    }

    fn seconds(&self) -> f64 {
        match (self.on_core_ns, on_core_ns()) {
            (Some(before), Some(after)) if after > before => (after - before) as f64 / 1e9,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

/// Nanoseconds that this thread has run so far.
fn on_core_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}
