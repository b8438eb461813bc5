//! A page of the feed: what became visible since a position, in whole transactions.

use std::collections::BTreeSet;

use super::MemoryPeerStore;
use super::feed::Group;
use super::rows::Place;
use crate::limits;
use crate::peer_sync::position::{Position, Within};
use crate::peer_sync::row::{RowId, RowVersion};
use crate::peer_sync::snapshot::Snapshot;
use crate::peer_sync::store::together::{self, Part, Together};
use crate::peer_sync::store::{Page, PeerReply, ReadFeed};

/// Transactions that a position may have left out behind those that were read ahead of their turn. With more, the
/// latter are read again when it is their turn.
const LEFT_OUT_MAX: usize = 1_000;

/// A page in the making.
#[derive(Default)]
struct Draft {
    rows: Vec<RowVersion>,
    groups: Vec<u32>,
    bytes: usize,
    /// Transactions that are in it.
    taken: BTreeSet<u64>,
    /// Places of rows that are left out, each with the place of its group.
    known: Vec<(u32, Place)>,
    split: u32,
    omitted: u64,
    /// The first transaction that is not in it, and where in it the page ends.
    stop: Option<u64>,
    within: Option<Within>,
}

impl MemoryPeerStore {
    /// A position at the end of what is visible.
    pub(super) fn here(&self) -> Position {
        Position { incarnation: self.incarnation, snapshot: self.snapshot(), within: None }
    }

    pub(super) fn read_feed(&mut self, request: &ReadFeed) -> PeerReply {
        if self.is_cut_off(request) {
            return PeerReply::MustReconcile(self.here());
        }
        let read = request.since.as_ref().map(|since| since.snapshot.clone()).unwrap_or_default();
        let within = request.since.as_ref().and_then(|since| since.within.clone());
        let mut draft = Draft::default();
        let mut from = read.xmin();
        while let Some(xid) = self.feed.next(from) {
            from = xid + 1;
            if read.sees(xid) || draft.taken.contains(&xid) {
                continue;
            }
            let begun = within.as_ref().filter(|within| within.xid == xid);
            let fits = if begun.is_some() || self.feed.living(xid) > limits::TRANSACTION_ROWS_MAX {
                self.add_part(&mut draft, request, xid, begun)
            } else {
                self.add_group(&mut draft, request, xid, &read)
            };
            if !fits {
                draft.stop = Some(xid);
                break;
            }
        }
        PeerReply::Page(self.finish(draft, &read, within))
    }

    /// Adds a transaction and all that has to come with it; false if there is no room.
    fn add_group(&self, draft: &mut Draft, request: &ReadFeed, xid: u64, read: &Snapshot) -> bool {
        let needs = |row: &RowVersion| !request.frontier.covers(row.node(), row.origin);
        let has = |xid| read.sees(xid) || draft.taken.contains(&xid);
        let Group { xids, known, ties, cut } = self.feed.group(xid, &self.rows, has, needs);
        let together = Together::new(ties);
        let mut rows: Vec<(Part, &RowVersion)> = Vec::new();
        let mut known: Vec<(Part, Place)> =
            known.into_iter().map(|(part, place)| (together.of(part), place)).collect();
        let mut omitted = 0;
        for xid in &xids {
            for (place, row) in self.feed.rows(*xid, &self.rows) {
                if needs(&row.stored) {
                    rows.push((together.of(row.part()), &row.stored));
                } else {
                    omitted += 1;
                    known.push((together.of(row.part()), place));
                }
            }
        }
        rows.sort_unstable_by(|a, b| (a.0, &a.1.row).cmp(&(b.0, &b.1.row)));
        known.sort_unstable();
        known.dedup();
        let (groups, known) = together::numbered(&rows, known);
        let bytes = rows.iter().map(|(_, row)| row.bytes()).sum::<usize>()
            + known.iter().filter_map(|(_, place)| self.named(*place)).map(RowId::bytes).sum::<usize>();
        let full =
            draft.rows.len() + rows.len() > request.rows_max || draft.bytes + bytes > request.bytes_max;
        if full && !draft.rows.is_empty() && !rows.is_empty() {
            return false;
        }
        draft.split += u32::from(cut && !rows.is_empty());
        draft.taken.extend(xids);
        let first = draft.groups.len() as u32;
        draft.known.extend(known.into_iter().map(|(group, place)| (first + group, place)));
        draft.omitted += omitted;
        draft.add(groups, rows.into_iter().map(|(_, row)| row.clone()), bytes);
        true
    }

    /// Adds what there is room for of a transaction beyond the bound; false if that is not all.
    fn add_part(&mut self, draft: &mut Draft, request: &ReadFeed, xid: u64, begun: Option<&Within>) -> bool {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut full = false;
        for row in self.feed.rows_after(xid, begun.map(|within| &within.after), &self.rows) {
            if request.frontier.covers(row.node(), row.origin) {
                draft.omitted += 1;
                continue;
            }
            let empty = draft.rows.is_empty() && rows.is_empty();
            full = draft.rows.len() + rows.len() >= request.rows_max
                || draft.bytes + bytes + row.bytes() > request.bytes_max;
            if full && !empty {
                break;
            }
            full = false;
            bytes += row.bytes();
            rows.push(row.clone());
        }
        if full {
            let last = rows.last().map(|row| row.row.clone());
            draft.within = last.map(|after| Within { xid, after }).or_else(|| begun.cloned());
        } else {
            draft.taken.insert(xid);
        }
        draft.split += u32::from(!rows.is_empty());
        draft.add(Vec::from_iter((!rows.is_empty()).then_some(rows.len() as u32)), rows, bytes);
        !full
    }

    fn finish(&self, draft: Draft, read: &Snapshot, within: Option<Within>) -> Page {
        let visible = self.snapshot();
        let snapshot = match draft.stop {
            None => read.union(&visible),
            Some(stop) => {
                let up_to = read.union(&visible.up_to(stop - 1));
                self.with_ahead(&draft, stop, &visible, &up_to).unwrap_or(up_to)
            }
        };
        let known = draft.known.into_iter();
        let mut known: Vec<(u32, RowId)> =
            known.filter_map(|(group, place)| Some((group, self.named(place)?.clone()))).collect();
        known.sort_unstable();
        // A part that was begun and whose turn has not come again stays begun.
        let within = draft.within.or(within).filter(|within| !snapshot.sees(within.xid));
        Page {
            rows: draft.rows,
            groups: draft.groups,
            known,
            position: Position { incarnation: self.incarnation, snapshot, within },
            frontier: draft.stop.is_none().then(|| self.frontier()),
            split: draft.split,
            omitted: draft.omitted,
        }
    }

    /// The id of the row at this place.
    fn named(&self, place: Place) -> Option<&RowId> {
        self.rows.at(place).map(|row| &row.stored.row)
    }

    /// What is read, with the transactions that came ahead of their turn; none if that would leave out too many.
    fn with_ahead(&self, draft: &Draft, stop: u64, visible: &Snapshot, up_to: &Snapshot) -> Option<Snapshot> {
        let last = *draft.taken.last().filter(|last| **last > stop)?;
        // What has no rows any more need not be read, so only the others are left out.
        let unread = |xid: &u64| !draft.taken.contains(xid) && !up_to.sees(*xid);
        let mut left_out: Vec<u64> =
            self.feed.between(stop, last).filter(unread).take(LEFT_OUT_MAX + 1).collect();
        if left_out.len() > LEFT_OUT_MAX {
            return None;
        }
        left_out.extend_from_slice(visible.under_way());
        Some(up_to.union(&Snapshot::new(last + 1, left_out)))
    }
}

impl Draft {
    /// A page is bounded far below 2^32 rows, and a group by the bound of transactions.
    fn add(&mut self, groups: Vec<u32>, rows: impl IntoIterator<Item = RowVersion>, bytes: usize) {
        self.groups.extend(groups);
        self.rows.extend(rows);
        self.bytes += bytes;
    }
}
