//! What it costs to find and repair the difference between two databases by digests, against a full copy.
//!
//! ```text
//! cargo bench -p sync-core --no-default-features --bench reconcile
//! ```
//!
//! Two databases in memory with the same rows of about 200 bytes; then so many of them are changed, a half on each
//! side, and compared until both are equal. Bytes are those of questions and answers as JSON, before compression; a
//! full copy is all rows in the same form. Time is that of both sides on one core, their JSON included; rounds are
//! questions asked one after the other.
//!
//! Ends with 1 when the sides differ afterwards, or when ten differences cost more than a thousandth of a full copy.
//!
//! Optional arguments: rows (1,000,000), then numbers of differences (0 10 1000 100000).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "measures real time, and ends when something is not there"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use sync_core::id::Incarnation;
use sync_core::limits;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::message::{PeerAnswer, PeerQuestion};
use sync_core::peer_sync::reconcile::{Action, Found, Reconcile};
use sync_core::peer_sync::row::{Extra, Image, Origin, RowId, RowVersion};
use sync_core::peer_sync::schema::{Schema, Table};
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{DigestPart, MergeRows, PeerReply, PeerRequest};
use sync_core::peer_sync::version::{NodeId, Stamp, Version};
use sync_core::time::Timestamp;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);
/// Ten differences may cost one part in so many of a full copy.
const SHARE: u64 = 1_000;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let rows = numbers.first().copied().unwrap_or(1_000_000);
    let differences = if numbers.len() > 1 { numbers[1..].to_vec() } else { vec![0, 10, 1_000, 100_000] };
    let schema = Arc::new(schema());
    let mut a = store("a", &schema);
    let mut b = store("b", &schema);
    let mut copy = 0;
    let ids: Vec<u64> = (0..rows).collect();
    for chunk in ids.chunks(5_000) {
        let rows: Vec<RowVersion> = chunk.iter().map(|id| row(&schema, *id, 1)).collect();
        copy += json(&rows);
        merge(&mut a, rows.clone());
        merge(&mut b, rows);
    }
    println!("{rows} rows; a full copy has {copy} bytes");
    println!(
        "{:>11} {:>9} {:>13} {:>9} {:>9} {:>9} {:>9}",
        "differences", "questions", "bytes", "of copy", "fetched", "pushed", "seconds"
    );
    let mut kept = true;
    for (step, count) in differences.into_iter().enumerate() {
        let us = 2 + step as u64;
        for n in 0..count {
            // Spread over all rows; 7,919 is prime.
            let id = n.wrapping_mul(7_919).wrapping_add(us) % rows.max(1);
            merge(if n % 2 == 0 { &mut a } else { &mut b }, vec![row(&schema, id, us)]);
        }
        let begun = Instant::now();
        let (found, bytes) = reconcile(&mut a, &mut b, &schema);
        let seconds = begun.elapsed().as_secs_f64();
        let equal = digest(&mut a) == digest(&mut b);
        let cheap = count != 10 || bytes * SHARE < copy;
        kept &= equal && cheap;
        let verdict = match (equal, cheap) {
            (true, true) => "",
            (false, _) => "  NOT EQUAL",
            (true, false) => "  TOO DEAR",
        };
        let share = bytes as f64 / copy.max(1) as f64 * 100.0;
        println!(
            "{count:>11} {:>9} {bytes:>13} {share:>8.4}% {:>9} {:>9} {seconds:>9.3}{verdict}",
            found.questions, found.fetched, found.pushed
        );
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn schema() -> Schema {
    Schema::new([Table::new("products", &["id", "description"], &["id"]).unwrap()]).unwrap()
}

fn store(name: &str, schema: &Schema) -> MemoryPeerStore {
    let node = NodeId::new(name).unwrap();
    MemoryPeerStore::new(node, schema.clone(), Incarnation(1), limits::STAMP_AHEAD_MAX)
}

/// About 200 bytes.
fn row(schema: &Schema, id: u64, us: u64) -> RowVersion {
    let id = format!("{:032x}", u128::from(id) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835 % u128::MAX);
    let content = Content::new([Some(id.as_str()), Some(&format!("{us:>12}{}", "d".repeat(150)))]);
    let table = schema.find("products").unwrap().name.clone();
    let image = Image::Row(content);
    RowVersion {
        row: RowId { table, key: Content::new([Some(id.as_str())]) },
        version: Version {
            stamp: Stamp { us, counter: 0 },
            node: NodeId::new("w").unwrap(),
            hash: image.hash(),
        },
        image,
        origin: Origin { incarnation: Incarnation(2), xid: us },
        extra: Extra::None,
    }
}

fn merge(store: &mut MemoryPeerStore, rows: Vec<RowVersion>) {
    let from = NodeId::new("w").unwrap();
    let request =
        MergeRows { from, rows, groups: Vec::new(), known: Vec::new(), advance: None, repair: false };
    let PeerReply::Merged(_) = store.execute(NOW, PeerRequest::Merge(request)) else { panic!("not merged") };
}

fn digest(store: &mut MemoryPeerStore) -> PeerReply {
    store.execute(NOW, PeerRequest::Digests(vec![DigestPart::ALL]))
}

fn json(value: &impl serde::Serialize) -> u64 {
    serde_json::to_vec(value).unwrap().len() as u64
}

fn reconcile(a: &mut MemoryPeerStore, b: &mut MemoryPeerStore, schema: &Arc<Schema>) -> (Found, u64) {
    let mut compare = Reconcile::new(Arc::clone(schema), true, true, Vec::new());
    let mut bytes = 0;
    loop {
        for action in compare.begin() {
            match action {
                Action::Own(request) => compare.own(a.execute(NOW, request)).unwrap(),
                Action::Ask(question) => {
                    bytes += json(&question);
                    let answer = answer(b, question);
                    bytes += json(&answer);
                    compare.theirs(answer).unwrap();
                }
                Action::Merge(rows) => {
                    merge(a, rows);
                    compare.merged();
                }
                Action::Done => return (compare.found(), bytes),
            }
        }
    }
}

fn answer(store: &mut MemoryPeerStore, question: PeerQuestion) -> PeerAnswer {
    let request = match question {
        PeerQuestion::Digests(parts) => PeerRequest::Digests(parts),
        PeerQuestion::Entries(parts) => PeerRequest::Entries(parts),
        PeerQuestion::Rows(rows) => PeerRequest::FetchVersions(rows),
        PeerQuestion::Push(rows) => {
            let from = NodeId::new("w").unwrap();
            PeerRequest::Merge(MergeRows {
                from,
                rows,
                groups: Vec::new(),
                known: Vec::new(),
                advance: None,
                repair: false,
            })
        }
        other => panic!("a comparison does not ask {other:?}"),
    };
    match store.execute(NOW, request) {
        PeerReply::Digests(digests) => PeerAnswer::Digests(digests),
        PeerReply::Entries(entries) => PeerAnswer::Entries(entries),
        PeerReply::Versions(versions) => PeerAnswer::Rows(versions.into_iter().flatten().collect()),
        PeerReply::Merged(merged) => PeerAnswer::Pushed(merged.outcomes),
        other => panic!("the database replies {other:?}"),
    }
}
