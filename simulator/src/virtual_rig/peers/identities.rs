//! Machines that come up as somebody else: under a name that is in use, with another database, with another release.

use sync_core::id::Incarnation;
use sync_core::peer_sync::message::ProtocolRange;
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::time::Span;

use super::variant::PeerVariant;
use super::world::PeerWorld;
use crate::draw::Label;
use crate::history::peers::PeerWhat;
use crate::peer_schema::node_id;
use crate::scenario::model::{Replace, Replacement, SameName, TwinDatabase};
use crate::virtual_rig::world::Observer;

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// A machine starts again under the name of another, with a database of that name.
    pub(super) fn take_name(&mut self, fault: u32, same: &SameName) {
        let first = &self.nodes[same.of as usize].store;
        let store = match same.database {
            TwinDatabase::Empty => self.empty_database(fault, same.peer, same.of),
            TwinDatabase::Copied => first.durable_copy(),
        };
        self.start_with(same.peer, same.of, store);
    }

    /// It gets its own name again, and its database with it, in a new life.
    pub(super) fn give_name_back(&mut self, fault: u32, peer: u32) {
        if !self.is_double(peer) {
            return;
        }
        let incarnation = self.new_life(fault, peer, 1);
        self.observe(PeerWhat::Named { node: peer, name: peer, incarnation });
        self.crash(peer);
        let id = node_id(peer, self.nodes.len() as u32);
        self.nodes[peer as usize].store.rename(id, incarnation);
        self.observe(PeerWhat::Renewed { node: peer, incarnation });
        self.restart(peer);
    }

    /// The databases of peers are replaced by others.
    pub(super) fn replace(&mut self, fault: u32, replace: &Replace) {
        for peer in self.members(&replace.peers) {
            let store = match replace.by {
                Replacement::Empty => self.empty_database(fault, peer, peer),
                Replacement::CopyOf(of) => {
                    let mut copy = self.nodes[of as usize].store.durable_copy();
                    copy.rename(node_id(peer, self.nodes.len() as u32), self.new_life(fault, peer, 0));
                    copy
                }
            };
            self.start_with(peer, peer, store);
        }
    }

    /// A peer starts again with another release.
    pub(super) fn release(&mut self, peer: u32, change: impl FnOnce(&mut Vec<(u32, ProtocolRange)>)) {
        self.crash(peer);
        let node = &mut self.nodes[peer as usize];
        change(&mut node.releases);
        let speaks = node.speaks();
        self.observe(PeerWhat::Released { node: peer, speaks });
        self.restart(peer);
    }

    /// A machine starts again, with this database and the name that belongs to it.
    fn start_with(&mut self, peer: u32, name: u32, store: MemoryPeerStore) {
        self.crash(peer);
        let incarnation = store.incarnation();
        self.observe(PeerWhat::Named { node: peer, name, incarnation });
        self.put_database(peer, store);
        self.observe(PeerWhat::Renewed { node: peer, incarnation });
        self.restart(peer);
        self.watch_content();
    }

    fn empty_database(&self, fault: u32, peer: u32, name: u32) -> MemoryPeerStore {
        let id = node_id(name, self.nodes.len() as u32);
        let ahead_max: Span = self.nodes[peer as usize].store.clock().ahead_max();
        let life = self.new_life(fault, peer, 0);
        MemoryPeerStore::new(id, self.variant.schema(&self.schema), life, ahead_max)
            .with_resolvers(self.resolvers.clone())
    }

    /// A life that no database has had; `nth` of this fault.
    fn new_life(&self, fault: u32, peer: u32, nth: u64) -> Incarnation {
        let ordinal = u64::MAX - 1 - (u64::from(fault) << 1 | nth);
        Incarnation(self.draws.bits(Label::Engine, u64::from(peer), ordinal))
    }
}
