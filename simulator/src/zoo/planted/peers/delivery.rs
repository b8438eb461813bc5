//! Rows that come in parts, or take effect again.

use std::collections::BTreeMap;

use sync_core::peer_sync::message::PeerAnswer;
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{ApplyIf, MergeRows, PeerReply, PeerRequest};
use sync_core::peer_sync::version::NodeId;
use sync_core::time::Timestamp;

use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    Some(match number {
        138 => Box::new(CutsPages::default()),
        139 => Box::new(AppliesAgain::default()),
        147 => Box::new(KeepsTheRestToItself),
        _ => return None,
    })
}

/// Pages are cut at a number of rows, wherever transactions end; what is left comes with the next (zoo 138).
#[derive(Default)]
struct CutsPages {
    /// What is left, by reader and source.
    left: BTreeMap<(u32, NodeId), Vec<RowVersion>>,
}

/// Rows of a page.
const CUT_AT: usize = 2;

impl PeerVariant for CutsPages {
    type Policy = AnyPolicy;

    fn answers(&mut self, _from: u32, to: u32, store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        let PeerAnswer::Page(page) = answer else { return };
        let left = self.left.entry((to, store.node().clone())).or_default();
        left.append(&mut page.rows);
        page.rows = left.drain(..left.len().min(CUT_AT)).collect();
        page.groups = Vec::from_iter((!page.rows.is_empty()).then_some(page.rows.len() as u32));
        page.known.iter_mut().for_each(|(group, _)| *group = 0);
    }
}

/// What a page leaves out of its transactions is not named (zoo 147).
struct KeepsTheRestToItself;

impl PeerVariant for KeepsTheRestToItself {
    type Policy = AnyPolicy;

    fn answers(&mut self, _from: u32, _to: u32, _store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        if let PeerAnswer::Page(page) = answer {
            page.known.clear();
        }
    }
}

/// A merge is carried out once more behind the next one, without a look at what is there (zoo 139).
#[derive(Default)]
struct AppliesAgain {
    /// By peer: the rows of its last merge.
    last: BTreeMap<u32, Vec<RowVersion>>,
    /// By peer: how many rows of the request under way are its own, before those that are repeated.
    own: BTreeMap<u32, usize>,
}

impl PeerVariant for AppliesAgain {
    type Policy = AnyPolicy;

    fn asks_store(&mut self, peer: u32, request: &mut PeerRequest) {
        if let PeerRequest::Merge(merge) = request
            && merge.advance.is_some()
        {
            self.own.insert(peer, merge.rows.len());
            let last = self.last.insert(peer, merge.rows.clone());
            merge.rows.extend(last.unwrap_or_default());
        }
    }

    fn executes(
        &mut self,
        peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        let PeerRequest::Merge(MergeRows { from, mut rows, groups, known, advance: Some(advance), repair }) =
            request
        else {
            return store.execute(now, request);
        };
        let again = rows.split_off(self.own.get(&peer).copied().unwrap_or(rows.len()).min(rows.len()));
        let merge = MergeRows { from: from.clone(), rows, groups, known, advance: Some(advance), repair };
        let mut reply = store.execute(now, PeerRequest::Merge(merge));
        let stored = |row: &RowVersion| store.stored(&row.row).map(|stored| stored.version.clone());
        let rows = again.into_iter().map(|row| (row.clone(), stored(&row))).collect();
        let repeat = ApplyIf { from, rows, known: Vec::new(), advance: None };
        if let PeerReply::Merged(merged) = &mut reply
            && let PeerReply::Merged(repeated) = store.execute(now, PeerRequest::ApplyIf(repeat))
        {
            merged.outcomes.extend(repeated.outcomes);
            merged.aside.extend(repeated.aside);
        }
        reply
    }

    fn store_answers(&mut self, peer: u32, request: &PeerRequest, reply: &mut PeerReply) {
        if let (PeerRequest::Merge(merge), PeerReply::Merged(merged)) = (request, reply)
            && merge.advance.is_some()
        {
            merged.outcomes.truncate(self.own.get(&peer).copied().unwrap_or(usize::MAX));
        }
    }
}
