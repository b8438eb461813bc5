//! What goes wrong among peers: how each fault begins and ends.

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::message::ProtocolRange;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::store::memory::MemoryPeerStore;

use super::store::living;
use super::variant::PeerVariant;
use super::world::PeerWorld;
use crate::arrivals::holds;
use crate::draw::Label;
use crate::history::What;
use crate::history::peers::{HeldRow, PeerWhat};
use crate::scenario::model::{Corrupt, Fault, HostSet, Injection, PeerFault};
use crate::virtual_rig::world::Observer;

/// When a copy of databases has to be taken for a fault, if it needs one.
pub(super) fn copied_at_us(fault: &Fault) -> Option<u64> {
    match &fault.inject {
        Injection::Peers(PeerFault::SetBack(back)) => Some(fault.at.as_us().saturating_sub(back.by.as_us())),
        _ => None,
    }
}

/// All that a database holds.
pub(super) fn held(store: &MemoryPeerStore) -> Vec<HeldRow> {
    let held = store.versions().into_iter().map(|(stored, _)| HeldRow {
        row: stored.row.clone(),
        version: stored.version.clone(),
        deleted: stored.image.is_tombstone(),
    });
    held.collect()
}

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// Takes the copies that a fault will need.
    pub(super) fn copy(&mut self, place: usize) {
        let Some(PeerFault::SetBack(back)) = self.peer_fault(place) else { return };
        let now_us = self.queue.now_us();
        for peer in self.members(&back.peers) {
            let node = &mut self.nodes[peer as usize];
            let copy = node.store.durable_copy();
            node.copies.push((now_us, copy));
        }
    }

    pub(super) fn begin_fault(&mut self, place: usize) {
        let number = self.faults[place].0;
        self.observe_all(What::FaultBegan { action: format!("f{number}") });
        match self.peer_fault(place) {
            Some(PeerFault::Cut(cut)) => self.network.cut(number, cut),
            Some(PeerFault::Degrade(degrade)) => self.network.degrade(number, degrade),
            Some(PeerFault::Crash(peers)) => {
                for peer in self.members(&peers) {
                    self.nodes[peer as usize].held_down_by.push(number);
                    self.crash(peer);
                }
            }
            Some(PeerFault::SetBack(back)) => {
                for peer in self.members(&back.peers) {
                    self.set_back(peer, self.faults[place].1.at.as_us().saturating_sub(back.by.as_us()));
                }
            }
            Some(PeerFault::ClockStep(step)) => {
                for peer in self.members(&step.peers) {
                    let shown_us = self.database_now(peer).as_us();
                    let node = &mut self.nodes[peer as usize];
                    node.clock_us_max = node.clock_us_max.max(shown_us);
                    node.clock.step(step.by.as_us());
                }
            }
            Some(PeerFault::Corrupt(corrupt)) => self.corrupt(number, &corrupt),
            Some(PeerFault::SameName(same)) => self.take_name(number, &same),
            Some(PeerFault::Replace(replace)) => self.replace(number, &replace),
            Some(PeerFault::Release(release)) => {
                let speaks = ProtocolRange { oldest: release.oldest, newest: release.newest };
                for peer in self.members(&release.peers) {
                    self.release(peer, |releases| releases.push((number, speaks)));
                }
            }
            None => {}
        }
    }

    pub(super) fn end_fault(&mut self, place: usize) {
        let number = self.faults[place].0;
        match self.peer_fault(place) {
            Some(PeerFault::Cut(_) | PeerFault::Degrade(_)) => self.network.heal(number),
            Some(PeerFault::Crash(peers)) => {
                for peer in self.members(&peers) {
                    self.nodes[peer as usize].held_down_by.retain(|other| *other != number);
                    self.restart(peer);
                }
            }
            Some(PeerFault::SameName(same)) => self.give_name_back(number, same.peer),
            Some(PeerFault::Release(release)) if self.faults[place].1.lasts.is_some() => {
                for peer in self.members(&release.peers) {
                    self.release(peer, |releases| releases.retain(|(other, _)| *other != number));
                }
            }
            // What has jumped, was set back, altered or replaced stays so, and so does a release without an end.
            Some(
                PeerFault::SetBack(_)
                | PeerFault::ClockStep(_)
                | PeerFault::Corrupt(_)
                | PeerFault::Replace(_)
                | PeerFault::Release(_),
            )
            | None => {}
        }
        self.observe_all(What::FaultEnded { action: format!("f{number}") });
    }

    fn peer_fault(&self, place: usize) -> Option<PeerFault> {
        match &self.faults[place].1.inject {
            Injection::Peers(fault) => Some(fault.clone()),
            _ => None,
        }
    }

    /// A peer's process and its database die.
    pub(super) fn crash(&mut self, peer: u32) {
        let node = &mut self.nodes[peer as usize];
        if node.replica.take().is_none() {
            return;
        }
        node.life += 1;
        node.wakes_at_us = None;
        node.change_pending = false;
        node.waiting.clear();
        node.store.crash();
        self.observe_all(What::Crashed { node: format!("n{peer}") });
        self.break_sessions(peer);
    }

    pub(super) fn restart(&mut self, peer: u32) {
        let node = &self.nodes[peer as usize];
        if !node.held_down_by.is_empty() || node.is_up() {
            return;
        }
        self.observe_all(What::Restarted { node: format!("n{peer}") });
        self.start(peer);
    }

    /// A peer's database is replaced by its copy of that moment; nobody tells its replica.
    fn set_back(&mut self, peer: u32, copied_us: u64) {
        let was_up = self.nodes[peer as usize].is_up();
        self.crash(peer);
        let node = &mut self.nodes[peer as usize];
        let Some(place) = node.copies.iter().position(|(at_us, _)| *at_us == copied_us) else { return };
        let copy = node.copies.remove(place).1;
        self.put_database(peer, copy);
        if was_up {
            self.restart(peer);
        }
        self.watch_content();
    }

    /// A peer that is down gets another database.
    pub(super) fn put_database(&mut self, peer: u32, store: MemoryPeerStore) {
        let holds = held(&store);
        self.convergence.living[peer as usize] = living(&store, holds.iter().map(|held| &held.row));
        self.nodes[peer as usize].store = store;
        self.observe(PeerWhat::SetBack { node: peer, holds });
    }

    /// Alters stored rows that are drawn.
    fn corrupt(&mut self, number: u32, corrupt: &Corrupt) {
        for peer in self.members(&corrupt.peers) {
            let store = &self.nodes[peer as usize].store;
            let rows: Vec<RowId> = store
                .versions()
                .into_iter()
                .filter(|(stored, _)| !stored.image.is_tombstone())
                .map(|(stored, _)| stored.row.clone())
                .collect();
            for ordinal in 0..u64::from(corrupt.rows).min(rows.len() as u64) {
                let entity = u64::from(number) << 32 | u64::from(peer);
                let row =
                    &rows[self.draws.below(rows.len() as u64, Label::Corruption, entity, ordinal) as usize];
                self.alter(peer, row);
            }
        }
    }

    fn alter(&mut self, peer: u32, row: &RowId) {
        let store = &mut self.nodes[peer as usize].store;
        let Some(content) = store.stored(row).and_then(|stored| stored.image.row()) else { return };
        let columns = content.columns().count();
        let altered: Vec<Option<String>> = content
            .columns()
            .enumerate()
            .map(|(place, text)| match text {
                Some(text) if place + 1 == columns => Some(format!("{text}\u{fffd}")),
                other => other.map(str::to_owned),
            })
            .collect();
        store.corrupt(row, Content::new(altered.iter().map(Option::as_deref)));
    }

    pub(super) fn members(&self, set: &HostSet) -> Vec<u32> {
        (0..self.nodes.len() as u32).filter(|peer| holds(set, *peer)).collect()
    }
}
