//! The requests of random runs, beside merges of pages.

use sync_core::id::Incarnation;
use sync_core::limits;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::position::{Frontier, Position};
use sync_core::peer_sync::resolver::{Resolvers, merged};
use sync_core::peer_sync::row::{Image, RowVersion};
use sync_core::peer_sync::snapshot::Snapshot;
use sync_core::peer_sync::store::memory::Write;
use sync_core::peer_sync::store::{
    ApplyIf, DigestEntry, DigestPart, DropRows, MergeRows, PeerReply, PeerRequest, Purge, ReadFeed, RowHash,
    Scrub,
};
use sync_core::peer_sync::version::NodeId;
use sync_core::time::Span;

use super::differential::{Reader, World};
use super::tables::{BY_POLICY, BY_VERSION, random_write};

impl World {
    /// A page of the feed for a reader that goes on, or begins anew.
    pub(super) async fn read(&mut self) {
        let which = self.draw.index(2);
        if self.draw.one_in(6) {
            self.readers[which] = Reader::default();
        }
        let (rows_max, bytes_max) = (1 + self.draw.index(8), [200, 1_000, 1_000_000][self.draw.index(3)]);
        let feed = |(since, frontier): &(Option<Position>, Frontier)| {
            let (since, frontier) = (since.clone(), frontier.clone());
            PeerRequest::Feed(ReadFeed { since, frontier, rows_max, bytes_max })
        };
        let reader = &self.readers[which];
        let (postgres, memory) = (feed(&reader.postgres), feed(&reader.memory));
        let (postgres, memory) = self.both(postgres, memory).await;
        let reader = &mut self.readers[which];
        for (reply, (position, frontier)) in [(postgres, &mut reader.postgres), (memory, &mut reader.memory)]
        {
            match reply {
                PeerReply::Page(page) => {
                    *position = Some(page.position);
                    if let Some(end) = page.frontier {
                        frontier.join(&end);
                    }
                }
                PeerReply::MustReconcile(begin) => *position = Some(begin),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn passed(&mut self) {
        let which = self.draw.index(2);
        let refused = self.draw.one_in(5);
        let is_ahead = self.draw.one_in(6);
        let passed = |position: &Option<Position>| {
            let mut position = position.clone()?;
            if is_ahead {
                position.snapshot = Snapshot::new(position.snapshot.xmax() + 1_000_000, []);
            }
            Some(PeerRequest::Passed { peer: reader_name(which), position, refused })
        };
        let reader = &self.readers[which];
        if let (Some(postgres), Some(memory)) = (passed(&reader.postgres.0), passed(&reader.memory.0)) {
            self.both(postgres, memory).await;
        }
    }

    pub(super) async fn digests(&mut self) {
        let versions = self.memory.versions();
        let leaves: Vec<DigestPart> =
            versions.iter().map(|(row, _)| DigestPart::leaf_of(RowHash::of(&row.row))).collect();
        let mut parts =
            vec![DigestPart::ALL, DigestPart { level: 9, prefix: 3 }, DigestPart { level: 1, prefix: 99 }];
        for leaf in leaves.iter().take(20) {
            parts.push(leaf.ancestor(u8::try_from(self.draw.below(6)).unwrap()));
        }
        self.same(PeerRequest::Digests(parts.clone())).await;
        let some = parts.split_off(self.draw.index(parts.len()));
        self.same(PeerRequest::Entries(some)).await;
        self.same(PeerRequest::Entries(vec![DigestPart::ALL])).await;
    }

    pub(super) async fn versions(&mut self) {
        let ids = (0..8).map(|n| {
            match random_write(&mut self.draw, &self.schema, if n < 4 { &BY_VERSION } else { &BY_POLICY }) {
                Write::Put { table, content } => self.schema.row_id(&table, &content).unwrap(),
                Write::Delete(row) => row,
            }
        });
        let ids = ids.collect::<Vec<_>>();
        self.same(PeerRequest::FetchVersions(ids)).await;
    }

    pub(super) async fn purge(&mut self) {
        let mut peers: Vec<NodeId> = (0..2).map(reader_name).collect();
        peers.truncate(self.draw.index(3));
        let retention =
            [Span::from_us(1), Span::from_secs(20), limits::TOMBSTONE_RETENTION][self.draw.index(3)];
        let rows_max = 1 + self.draw.index(3);
        self.same(PeerRequest::Purge(Purge { peers, retention, rows_max })).await;
    }

    pub(super) async fn drop_rows(&mut self) {
        let versions: Vec<RowVersion> =
            self.memory.versions().into_iter().map(|(row, _)| row.clone()).collect();
        let mut entries: Vec<DigestEntry> = Vec::new();
        for row in versions {
            if self.draw.one_in(6) {
                let mut version = row.version;
                if self.draw.one_in(3) {
                    version.stamp.us += 1;
                }
                entries.push(DigestEntry { row: row.row, version });
            }
        }
        let readers = (0..entries.len() % 3).map(reader_name).collect();
        self.same(PeerRequest::Drop(DropRows { entries, readers })).await;
    }

    pub(super) async fn scrub(&mut self) {
        let mut after = None;
        loop {
            let rows_max = 1 + self.draw.index(5);
            let reply = self.same(PeerRequest::Scrub(Scrub { after, rows_max })).await;
            let PeerReply::Scrubbed(scrubbed) = reply else { panic!("{reply:?}") };
            after = scrubbed.next;
            if after.is_none() {
                break;
            }
        }
    }

    pub(super) async fn renew(&mut self) {
        if self.draw.one_in(3) {
            self.lives += 1;
            self.same(PeerRequest::Renew(Incarnation(1_000 + self.lives))).await;
        } else {
            let peer = self.others[self.draw.index(2)].node().clone();
            self.same(PeerRequest::Settle(peer)).await;
        }
    }

    /// Some rows of others, some of them twice, altered, or beaten long ago.
    fn some_rows(&mut self) -> Vec<RowVersion> {
        let mut rows = Vec::new();
        for which in 0..2 {
            let versions: Vec<RowVersion> =
                self.others[which].versions().into_iter().map(|(row, _)| row.clone()).collect();
            for mut row in versions {
                if !self.draw.one_in(3) {
                    continue;
                }
                match self.draw.below(12) {
                    0 => row.version.stamp.us += 90_000_000,
                    1 => row.image = Image::Row(Content::new([Some("1")])),
                    2 => row.version.hash.0[0] ^= 1,
                    3 => rows.push(row.clone()),
                    _ => {}
                }
                rows.push(row);
            }
        }
        rows
    }

    pub(super) async fn push(&mut self) {
        let rows = self.some_rows();
        let repair = self.draw.one_in(2);
        let from = self.others[0].node().clone();
        let merge = |rows| {
            let from = from.clone();
            PeerRequest::Merge(MergeRows {
                from,
                rows,
                groups: Vec::new(),
                known: Vec::new(),
                advance: None,
                repair,
            })
        };
        let postgres = merge(rows.iter().map(|row| self.numbers.back_row(row.clone())).collect());
        self.both(postgres, merge(rows)).await;
    }

    pub(super) async fn apply_if(&mut self) {
        let mut rows = Vec::new();
        let resolvers = Resolvers::declared(&self.schema);
        for mut row in self.some_rows() {
            let stored = self.memory.stored(&row.row);
            // As an engine would decide it.
            if let Some(stored) = stored.filter(|_| row.is_sound() && self.draw.one_in(2)) {
                let table = self.schema.table(&row.row.table).unwrap();
                row = merged(resolvers.of(&table.name).unwrap(), table, stored, &row);
            }
            let stored = stored.map(|stored| stored.version.clone());
            let expected = if self.draw.one_in(5) { Some(row.version.clone()) } else { stored };
            rows.push((row, expected));
        }
        let from = self.others[1].node().clone();
        let apply = |rows| {
            PeerRequest::ApplyIf(ApplyIf { from: from.clone(), rows, known: Vec::new(), advance: None })
        };
        let back =
            rows.iter().map(|(row, seen)| (self.numbers.back_row(row.clone()), seen.clone())).collect();
        let postgres = apply(back);
        self.both(postgres, apply(rows)).await;
    }
}

fn reader_name(which: usize) -> NodeId {
    NodeId::new(&format!("reader{which}")).unwrap()
}
