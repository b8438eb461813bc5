//! What the store promises, shown with a few databases that read from one another.

mod constraints;
mod feed;
mod lives;
mod merge;
mod mesh;
mod policies;
mod refused;
mod transactions;

use super::{MemoryPeerStore, TransactionId, Write};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::content::Content;
use crate::peer_sync::position::Frontier;
use crate::peer_sync::row::{RowId, RowVersion, TableName};
use crate::peer_sync::schema::{Schema, Table};
use crate::peer_sync::store::{
    Advance, Description, Digest, DigestEntry, DigestPart, DropRows, MergeRows, Merged, Page, PeerReply,
    PeerRequest, ReadFeed, RowHash,
};
use crate::peer_sync::version::{NodeId, Version};
use crate::time::Timestamp;

pub(super) fn at(us: u64) -> Timestamp {
    Timestamp::from_us(us)
}

pub(super) fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

pub(super) fn notes() -> TableName {
    TableName("notes".into())
}

pub(super) fn store(name: &str) -> MemoryPeerStore {
    let schema = Schema::new([Table::new("notes", &["id", "text"], &["id"]).unwrap()]).unwrap();
    MemoryPeerStore::new(node(name), schema, Incarnation(1), limits::STAMP_AHEAD_MAX)
}

pub(super) fn row(id: u32) -> RowId {
    RowId { table: notes(), key: Content::new([Some(id.to_string().as_str())]) }
}

pub(super) fn put(id: u32, text: &str) -> Write {
    Write::Put { table: notes(), content: Content::new([Some(id.to_string().as_str()), Some(text)]) }
}

pub(super) fn delete(id: u32) -> Write {
    Write::Delete(row(id))
}

/// One transaction of these statements.
pub(super) fn transact(
    store: &mut MemoryPeerStore,
    now: u64,
    writes: impl IntoIterator<Item = Write>,
) -> u64 {
    let transaction = store.begin();
    for write in writes {
        store.write(transaction, at(now), write).unwrap();
    }
    store.commit(transaction, at(now)).unwrap().xid.unwrap_or(0)
}

/// One statement of an open transaction.
pub(super) fn write(
    store: &mut MemoryPeerStore,
    transaction: TransactionId,
    now: u64,
    write: Write,
) -> Version {
    store.write(transaction, at(now), write).unwrap().unwrap()
}

/// Somebody has purged these, and nobody reads here.
pub(super) fn drop_rows(entries: Vec<DigestEntry>) -> PeerRequest {
    PeerRequest::Drop(DropRows { entries, readers: Vec::new() })
}

pub(super) fn describe(store: &mut MemoryPeerStore) -> Description {
    match store.execute(at(0), PeerRequest::Describe) {
        PeerReply::Described(description) => description,
        other => panic!("{other:?}"),
    }
}

/// What a reader asks of a source's feed.
pub(super) fn question(reader: &mut MemoryPeerStore, source: &MemoryPeerStore, rows_max: usize) -> ReadFeed {
    let description = describe(reader);
    let since = description.positions.get(source.node()).cloned();
    ReadFeed { since, frontier: description.reads_with(), rows_max, bytes_max: usize::MAX }
}

pub(super) fn read(source: &mut MemoryPeerStore, request: ReadFeed) -> Option<Page> {
    match source.execute(at(0), PeerRequest::Feed(request)) {
        PeerReply::Page(page) => Some(page),
        PeerReply::MustReconcile(_) => None,
        other => panic!("{other:?}"),
    }
}

pub(super) fn merge(reader: &mut MemoryPeerStore, now: u64, from: &NodeId, page: Page) -> Merged {
    let Page { rows, groups, known, position, frontier, .. } = page;
    let advance = Some(Advance { position, frontier: frontier.unwrap_or_default() });
    merge_rows(reader, now, MergeRows { from: from.clone(), rows, groups, known, advance, repair: false })
}

pub(super) fn merge_rows(reader: &mut MemoryPeerStore, now: u64, request: MergeRows) -> Merged {
    match reader.execute(at(now), PeerRequest::Merge(request)) {
        PeerReply::Merged(merged) => merged,
        other => panic!("{other:?}"),
    }
}

/// Reads a source to the end; how many rows that brought.
pub(super) fn pull(reader: &mut MemoryPeerStore, source: &mut MemoryPeerStore, now: u64) -> usize {
    let mut rows = 0;
    loop {
        let request = question(reader, source, limits::PAGE_ROWS_MAX);
        let page = read(source, request).expect("no reason to reconcile");
        let end = page.frontier.is_some();
        rows += page.rows.len();
        merge(reader, now, &source.node, page);
        if end {
            return rows;
        }
    }
}

pub(super) fn content(store: &MemoryPeerStore) -> Vec<RowVersion> {
    store.versions().into_iter().map(|(version, _)| version.clone()).collect()
}

/// Everything derived equals what is derived from the rows anew.
pub(super) fn check_derived(store: &mut MemoryPeerStore) {
    let rows = content(store);
    let mut sums = [Digest::default(); 2];
    let some_leaf = rows.first().map(|row| DigestPart::leaf_of(RowHash::of(&row.row)));
    for row in &rows {
        let fingerprint = DigestEntry::fingerprint(RowHash::of(&row.row), &row.version);
        sums[0].add(fingerprint);
        if some_leaf
            .is_some_and(|leaf| DigestPart::leaf_of(RowHash::of(&row.row)).ancestor(4) == leaf.ancestor(4))
        {
            sums[1].add(fingerprint);
        }
    }
    let parts = vec![DigestPart::ALL, some_leaf.unwrap_or(DigestPart::ALL).ancestor(4)];
    if some_leaf.is_some() {
        let digests = store.execute(at(0), PeerRequest::Digests(parts));
        assert_eq!(digests, PeerReply::Digests(sums.to_vec()));
    }
    let entries: Vec<DigestEntry> =
        rows.iter().map(|row| DigestEntry { row: row.row.clone(), version: row.version.clone() }).collect();
    let all = store.execute(at(0), PeerRequest::Entries(vec![DigestPart::ALL]));
    assert_eq!(all, PeerReply::Entries(entries));
    let description = describe(store);
    assert_eq!(description.digest, sums[0]);
    let totals = description.tables[&notes()];
    let tombstones = rows.iter().filter(|row| row.image.is_tombstone()).count() as u64;
    assert_eq!((totals.rows, totals.tombstones), (rows.len() as u64 - tombstones, tombstones));
    assert_eq!(totals.sum, sums[0].sum);
    // Who begins with nothing reads each row once.
    let request =
        ReadFeed { since: None, frontier: Frontier::default(), rows_max: usize::MAX, bytes_max: usize::MAX };
    let mut fed = read(store, request).expect("no reason to reconcile").rows;
    fed.sort();
    assert_eq!(fed, rows);
}
