//! Applications at peers with own engines: transactions, one after the other in each session.
//!
//! A transaction reads at its statements and writes at its commit, all at once.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use sync_core::id::Incarnation;
use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::{Image, RowId};
use sync_core::peer_sync::version::{ContentHash, NodeId, Stamp, Version};

use super::{Happening, OwnWorld};
use crate::history::OpRef;
use crate::history::peers::{PeerWhat, Seen, Written};
use crate::own_engine::{LocalWrite, Refused};
use crate::peer_schema::{Filler, node_id, row_id};
use crate::plan::Body;
use crate::scenario::model::{RowName, Statement};
use crate::virtual_rig::world::Observer;

/// What one session of an application is at, and what waits for it.
#[derive(Default)]
pub(super) struct Session {
    running: Option<Running>,
    waiting: VecDeque<(OpRef, u64, Body)>,
}

/// A transaction under way.
struct Running {
    op: OpRef,
    /// With what was visible before, the last for each row.
    writes: Vec<(LocalWrite, Option<Content>)>,
}

/// The world's names of writes: the latest that wrote a content to a row.
#[derive(Default)]
pub(super) struct Names {
    by_content: FxHashMap<(RowId, ContentHash), Version>,
    counter: u32,
}

impl Names {
    /// Names a write that commits now.
    pub(super) fn name(&mut self, row: &RowId, us: u64, node: NodeId, content: Option<&Content>) -> Version {
        let stamp = Stamp { us, counter: self.counter };
        self.counter = self.counter.wrapping_add(1);
        let version = Version { stamp, node, hash: hash(content) };
        self.by_content.insert((row.clone(), version.hash), version.clone());
        version
    }

    /// The name of what is visible; one at the beginning of time for what nobody wrote.
    pub(super) fn of(&self, row: &RowId, node: NodeId, content: &Content) -> Version {
        let hash = hash(Some(content));
        let known = self.by_content.get(&(row.clone(), hash)).cloned();
        known.unwrap_or(Version { stamp: Stamp::default(), node, hash })
    }
}

fn hash(content: Option<&Content>) -> ContentHash {
    content.map_or_else(|| Image::Tombstone(None).hash(), Content::hash)
}

impl<O: Observer> OwnWorld<O> {
    /// A transaction arrives at its peer.
    pub(super) fn arrive(&mut self, op: OpRef, intended_us: u64, body: Body) {
        let session = body.session;
        let peer = &mut self.peers[op.host as usize];
        if !peer.up {
            self.tell_of(PeerWhat::Unsent { op, intended_us });
            return;
        }
        peer.sessions.entry(session).or_default().waiting.push_back((op, intended_us, body));
        self.open_transactions += 1;
        self.next_of_session(op.host, session);
    }

    /// Begins what waits in a session, as long as it is idle.
    fn next_of_session(&mut self, peer: u32, session: u32) {
        loop {
            let Some(state) = self.peers[peer as usize].sessions.get_mut(&session) else { return };
            if state.running.is_some() {
                return;
            }
            let Some((op, intended_us, body)) = state.waiting.pop_front() else { return };
            self.tell_of(PeerWhat::Began { op, session, intended_us });
            let writes = self.carry_out(op, session, &body);
            if let Some(state) = self.peers[peer as usize].sessions.get_mut(&session) {
                state.running = Some(Running { op, writes });
            }
            if body.open_us == 0 {
                self.commit(op, session);
            } else {
                let (at_us, life) = (self.queue.now_us() + body.open_us, self.peers[peer as usize].life);
                self.queue.schedule(at_us, Happening::Commit { peer, life, session, op });
            }
        }
    }

    /// Carries out the statements; what they read is told at once.
    fn carry_out(&mut self, op: OpRef, session: u32, body: &Body) -> Vec<(LocalWrite, Option<Content>)> {
        let schema = self.schema.clone();
        let mut writes: Vec<(LocalWrite, Option<Content>)> = Vec::new();
        let mut seen = Vec::new();
        for (number, statement) in (0..).zip(&body.statements) {
            let (Statement::Read(RowName { table, row })
            | Statement::Delete(RowName { table, row })
            | Statement::Put(crate::scenario::model::Put { table, row, .. })) = statement;
            let Some(table) = schema.find(table) else { continue };
            let row = row_id(table, *row);
            let earlier = writes.iter().position(|(write, _)| write.row == row);
            let visible = self.peers[op.host as usize].engine.read(&row);
            let before = match earlier {
                Some(place) => writes[place].0.content.clone(),
                None => visible.clone(),
            };
            let content = match statement {
                Statement::Put(put) => {
                    let (draws, parents) = (self.draws, &self.parents);
                    let filler = Filler { draws, op, statement: number, parents };
                    Some(filler.fill(table, put, before.as_ref()))
                }
                Statement::Delete(_) if before.is_some() => None,
                // What the transaction itself has written is nobody else's business.
                Statement::Read(_) | Statement::Delete(_) => {
                    if earlier.is_none() {
                        let visible = visible.as_ref().map(Content::hash);
                        seen.push(Seen { row, version: None, visible });
                    }
                    continue;
                }
            };
            let visible = match earlier {
                Some(place) => writes.remove(place).1,
                None => visible,
            };
            writes.push((LocalWrite { row, content }, visible));
        }
        if !seen.is_empty() {
            self.tell_of(PeerWhat::Read { op, session, rows: seen });
        }
        writes
    }

    /// Commits a session's transaction.
    pub(super) fn commit(&mut self, op: OpRef, session: u32) {
        let peer = op.host;
        let state = self.peers[peer as usize].sessions.get_mut(&session);
        let Some(Running { writes, .. }) = state
            .filter(|state| state.running.as_ref().is_some_and(|running| running.op == op))
            .and_then(|state| state.running.take())
        else {
            return;
        };
        if !writes.is_empty() {
            let local: Vec<LocalWrite> = writes.iter().map(|(write, _)| write.clone()).collect();
            let answer = self.tell(peer, |engine, now, out| engine.commit(now, &local, out));
            match answer {
                Ok(()) => self.committed(op, session, writes),
                Err(Refused(why)) => self.tell_of(PeerWhat::Aborted { op, why }),
            }
        }
        self.open_transactions -= 1;
        self.next_of_session(peer, session);
    }

    fn committed(&mut self, op: OpRef, session: u32, writes: Vec<(LocalWrite, Option<Content>)>) {
        let now_us = self.queue.now_us();
        let count = self.peers.len() as u32;
        let peer = &mut self.peers[op.host as usize];
        peer.committed += 1;
        let (xid, clock_us) = (peer.committed, peer.clock.now(now_us).wall.as_us());
        let node = node_id(op.host, count);
        let world_us = crate::virtual_rig::clock::WORLD_START_US + now_us;
        let mut told = Vec::with_capacity(writes.len());
        for (LocalWrite { row, content }, visible) in writes {
            let seen = visible.map(|visible| self.writes.of(&row, node.clone(), &visible));
            let version = self.writes.name(&row, world_us, node.clone(), content.as_ref());
            self.rows.insert(row.clone());
            let deleted = content.is_none();
            let (clock_us_max, content) = (clock_us, None);
            told.push(Written { row, version, deleted, seen, clock_us, clock_us_max, content });
        }
        let incarnation = Incarnation(1);
        self.tell_of(PeerWhat::Committed { op, session, incarnation, xid, writes: told });
        self.tell_of(PeerWhat::Acknowledged { op });
    }

    /// A peer died: what its applications were at never committed, and what they waited to do was never begun.
    pub(super) fn break_sessions(&mut self, peer: u32) {
        let sessions: BTreeMap<_, _> = std::mem::take(&mut self.peers[peer as usize].sessions);
        for session in sessions.into_values() {
            if let Some(running) = session.running {
                self.open_transactions -= 1;
                self.tell_of(PeerWhat::Indefinite { op: running.op });
            }
            for (op, intended_us, _) in session.waiting {
                self.open_transactions -= 1;
                self.tell_of(PeerWhat::Unsent { op, intended_us });
            }
        }
    }
}
