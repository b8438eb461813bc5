//! Applications: transactions at peers, one after the other in each session.

use std::collections::BTreeMap;

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::schema::Table;
use sync_core::peer_sync::store::memory::{Write, WriteError};

use super::node::Running;
use super::store::living;
use super::variant::PeerVariant;
use super::world::{Happening, PeerWorld};
use crate::history::OpRef;
use crate::history::peers::{PeerWhat, Seen, Written};
use crate::peer_schema::{Filler, row_id};
use crate::plan::Body;
use crate::scenario::model::{RowName, Statement};
use crate::virtual_rig::world::Observer;

/// How long a transaction waits for locks before it gives up (`lock_timeout`).
const LOCK_TIMEOUT_US: u64 = 5_000_000;
/// How soon a statement that met a lock is tried again.
const LOCK_RETRY_US: u64 = 1_000;
/// From a commit to the replica's hearing of it.
const CAPTURE_US: u64 = 5_000;

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// A transaction arrives at its peer.
    pub(super) fn arrive(&mut self, op: OpRef, intended_us: u64, body: Body) {
        let session = body.session;
        let node = &mut self.nodes[op.host as usize];
        if !node.is_up() {
            self.observe(PeerWhat::Unsent { op, intended_us });
            return;
        }
        let state = node.sessions.entry(session).or_default();
        if state.running.is_some() && self.variant.sessions_hold_back() {
            return;
        }
        state.waiting.push_back((op, intended_us, body));
        self.open_transactions += 1;
        self.next_of_session(op.host, session);
    }

    /// Begins what waits in a session, if it is idle.
    fn next_of_session(&mut self, peer: u32, session: u32) {
        loop {
            let now_us = self.queue.now_us();
            let node = &mut self.nodes[peer as usize];
            let Some(state) = node.sessions.get_mut(&session) else { return };
            if state.running.is_some() {
                return;
            }
            let Some((op, intended_us, body)) = state.waiting.pop_front() else { return };
            let transaction = node.store.begin();
            state.running = Some(Running {
                op,
                transaction,
                body,
                next: 0,
                written: Vec::new(),
                patience_us: now_us + LOCK_TIMEOUT_US,
            });
            self.observe(PeerWhat::Began { op, session, intended_us });
            self.proceed(peer, session);
        }
    }

    /// Carries out the statements of a session's transaction until one meets a lock or all are done.
    pub(super) fn proceed(&mut self, peer: u32, session: u32) {
        let now_us = self.queue.now_us();
        loop {
            let node = &mut self.nodes[peer as usize];
            let Some(running) = node.sessions.get_mut(&session).and_then(|s| s.running.as_mut()) else {
                return;
            };
            let op = running.op;
            let Some(statement) = running.body.statements.get(running.next).cloned() else {
                let (open_us, life) = (running.body.open_us, node.life);
                if open_us == 0 {
                    self.commit(peer, session);
                } else {
                    self.queue.schedule(now_us + open_us, Happening::Commit { peer, life, session, op });
                }
                return;
            };
            match self.execute(peer, session, &statement) {
                Ok(()) => {
                    let node = &mut self.nodes[peer as usize];
                    if let Some(running) = node.sessions.get_mut(&session).and_then(|s| s.running.as_mut()) {
                        running.next += 1;
                    }
                }
                Err(WriteError::Locked { .. }) if now_us < self.patience_us(peer, session) => {
                    let life = self.nodes[peer as usize].life;
                    let again = Happening::Proceed { peer, life, session, op };
                    self.queue.schedule(now_us + LOCK_RETRY_US, again);
                    return;
                }
                Err(error) => {
                    self.abort(peer, session, error.to_string());
                    return;
                }
            }
        }
    }

    fn patience_us(&self, peer: u32, session: u32) -> u64 {
        let running = self.nodes[peer as usize].sessions.get(&session).and_then(|s| s.running.as_ref());
        running.map_or(0, |running| running.patience_us)
    }

    fn execute(&mut self, peer: u32, session: u32, statement: &Statement) -> Result<(), WriteError> {
        let schema = self.schema.clone();
        let find = |name: &str| schema.find(name);
        match statement {
            Statement::Read(RowName { table, row }) => {
                if let Some(table) = find(table) {
                    self.read(peer, session, row_id(table, *row));
                }
                Ok(())
            }
            Statement::Delete(RowName { table, row }) => match find(table) {
                Some(table) => {
                    let row = row_id(table, *row);
                    self.write(peer, session, row.clone(), Write::Delete(row))
                }
                None => Ok(()),
            },
            Statement::Put(put) => {
                let Some(table) = find(&put.table) else { return Ok(()) };
                let row = row_id(table, put.row);
                let node = &self.nodes[peer as usize];
                let Some(running) = node.sessions.get(&session).and_then(|s| s.running.as_ref()) else {
                    return Ok(());
                };
                let before = node.store.read(&row).cloned();
                let filler = Filler {
                    draws: self.draws,
                    op: running.op,
                    statement: running.next as u32,
                    parents: &self.parents,
                };
                let content = filler.fill(table, put, before.as_ref());
                self.write(peer, session, row, Write::Put { table: table.name.clone(), content })
            }
        }
    }

    fn write(&mut self, peer: u32, session: u32, row: RowId, write: Write) -> Result<(), WriteError> {
        let clock = self.database_now(peer);
        let node = &mut self.nodes[peer as usize];
        let Some(running) = node.sessions.get_mut(&session).and_then(|s| s.running.as_mut()) else {
            return Ok(());
        };
        let (deleted, content) = match &write {
            Write::Put { table, content } => {
                let by_version = self.schema.table(table).is_none_or(Table::goes_by_version);
                (false, (!by_version).then(|| content.hash()))
            }
            Write::Delete(_) => (true, None),
        };
        let earlier = running.written.iter().position(|written| written.row == row);
        let seen = match earlier {
            Some(place) => running.written[place].seen.clone(),
            None => node.store.stored(&row).map(|stored| stored.version.clone()),
        };
        // A delete that finds no row has looked and seen none.
        let written = self.variant.writes(peer, &mut node.store, running.transaction, clock, write)?;
        let Some(version) = written else {
            self.read(peer, session, row);
            return Ok(());
        };
        if let Some(place) = earlier {
            running.written.remove(place);
        }
        let clock_us = clock.as_us();
        let clock_us_max = clock_us.max(node.clock_us_max);
        running.written.push(Written { row, version, deleted, seen, clock_us, clock_us_max, content });
        Ok(())
    }

    fn read(&mut self, peer: u32, session: u32, row: RowId) {
        let node = &self.nodes[peer as usize];
        let Some(running) = node.sessions.get(&session).and_then(|s| s.running.as_ref()) else { return };
        // What the transaction itself has written is not visible yet, and is nobody else's business.
        if running.written.iter().any(|written| written.row == row) {
            return;
        }
        let op = running.op;
        let store = self.variant.reads(peer, self.queue.now_us(), &node.store);
        let version = store.stored(&row).map(|stored| stored.version.clone());
        let visible = store.read(&row).map(Content::hash);
        self.observe(PeerWhat::Read { op, session, rows: vec![Seen { row, version, visible }] });
    }

    /// Commits a session's transaction.
    pub(super) fn commit(&mut self, peer: u32, session: u32) {
        let now = self.database_now(peer);
        let node = &mut self.nodes[peer as usize];
        let Some(mut running) = node.sessions.get_mut(&session).and_then(|s| s.running.take()) else {
            return;
        };
        let op = running.op;
        for (row, version) in node.store.cascaded(running.transaction).to_vec() {
            running.written.retain(|written| written.row != row);
            let seen = node.store.stored(&row).map(|stored| stored.version.clone());
            let clock_us = now.as_us();
            let clock_us_max = clock_us.max(node.clock_us_max);
            let content = None;
            running.written.push(Written {
                row,
                version,
                deleted: true,
                seen,
                clock_us,
                clock_us_max,
                content,
            });
        }
        let rows: Vec<RowId> = running.written.iter().map(|written| written.row.clone()).collect();
        let before = living(&node.store, rows.iter());
        let committed = node.store.commit(running.transaction, now);
        let after = living(&node.store, rows.iter());
        self.changed(peer, before, after);
        match committed {
            Ok(committed) => {
                let node = &self.nodes[peer as usize];
                let incarnation = node.store.incarnation();
                if let Some(xid) = committed.xid {
                    let writes = running.written;
                    self.observe(PeerWhat::Committed { op, session, incarnation, xid, writes });
                    self.observe(PeerWhat::Acknowledged { op });
                }
                self.observe_aside(peer, committed.aside);
                if committed.xid.is_some() {
                    self.tell_of_change(peer);
                }
            }
            Err(error) => self.observe(PeerWhat::Aborted { op, why: error.to_string() }),
        }
        self.watch_rows(rows.iter());
        self.ended(peer, session);
    }

    fn abort(&mut self, peer: u32, session: u32, why: String) {
        let node = &mut self.nodes[peer as usize];
        let Some(running) = node.sessions.get_mut(&session).and_then(|s| s.running.take()) else { return };
        node.store.rollback(running.transaction);
        self.observe(PeerWhat::Aborted { op: running.op, why });
        self.ended(peer, session);
    }

    fn ended(&mut self, peer: u32, session: u32) {
        self.open_transactions -= 1;
        self.tell_of_locks(peer);
        self.watch_content();
        self.next_of_session(peer, session);
    }

    /// A peer died: what its applications were at is indefinite, what they waited to do was never begun.
    pub(super) fn break_sessions(&mut self, peer: u32) {
        let sessions: BTreeMap<_, _> = std::mem::take(&mut self.nodes[peer as usize].sessions);
        for session in sessions.into_values() {
            if let Some(running) = session.running {
                self.open_transactions -= 1;
                self.observe(PeerWhat::Indefinite { op: running.op });
            }
            for (op, intended_us, _) in session.waiting {
                self.open_transactions -= 1;
                self.observe(PeerWhat::Unsent { op, intended_us });
            }
        }
    }

    fn tell_of_change(&mut self, peer: u32) {
        let node = &mut self.nodes[peer as usize];
        if !std::mem::replace(&mut node.change_pending, true) {
            let (at_us, life) = (self.queue.now_us() + CAPTURE_US, node.life);
            self.queue.schedule(at_us, Happening::LocalChange { peer, life });
        }
    }
}
