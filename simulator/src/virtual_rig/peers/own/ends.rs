//! The beginning and the end of a run with own engines: rows that are there from the start, and what everybody shows.

use std::collections::BTreeMap;

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::store::Standing;
use sync_core::store::Content as HostContent;

use super::{Happening, LOOK_US, OwnWorld};
use crate::arrivals::TICKET_STREAM_BIT;
use crate::check;
use crate::history::peers::{FinalState, HeldRow, PeerWhat};
use crate::history::{OpRef, What};
use crate::own_engine::LocalWrite;
use crate::peer_schema::{Filler, node_id, row_id};
use crate::plan::Plan;
use crate::scenario::model::{Peers, Put, Texts};
use crate::virtual_rig::clock::WORLD_START_US;
use crate::virtual_rig::world::{Observer, RunFigures, WakeUps};

/// The stream of the rows that are there from the start: no stream of a plan has this number.
const LOADED: u64 = 1 << 22;

impl<O: Observer> OwnWorld<O> {
    /// Gives every peer the rows that are there from the start.
    pub(super) fn load(&mut self, peers: &Peers) {
        let schema = self.schema.clone();
        let mut rows = Vec::new();
        for (number, table) in (0..).zip(schema.tables()) {
            let count = peers.rows.get(table.name.as_str()).copied().unwrap_or(0);
            let op = OpRef { host: 0, ticket: LOADED << TICKET_STREAM_BIT | number };
            for number in 0..count {
                let (draws, parents) = (self.draws, &peers.rows);
                let filler = Filler { draws, op, statement: number, parents };
                let (table_name, set) = (table.name.to_string(), BTreeMap::new());
                let put = Put { table: table_name, row: number, set, texts: Texts::Plain, collide: false };
                let content = filler.fill(table, &put, None);
                rows.push(LocalWrite { row: row_id(table, number), content: Some(content) });
            }
        }
        if rows.is_empty() {
            return;
        }
        self.peers.iter_mut().for_each(|peer| peer.engine.load(&rows));
        let node = node_id(0, peers.count);
        let mut held = Vec::with_capacity(rows.len());
        for LocalWrite { row, content } in rows {
            let version = self.writes.name(&row, WORLD_START_US, node.clone(), content.as_ref());
            self.rows.insert(row.clone());
            held.push(HeldRow { row, version, deleted: false });
        }
        self.tell_of(PeerWhat::Stocked { rows: held });
    }

    /// Looks whether all peers show the same, now that the faults are over.
    pub(super) fn look(&mut self) {
        let equal = self.rows.iter().all(|row| {
            let mut shown = self.peers.iter().map(|peer| peer.engine.read(row));
            let first = shown.next();
            shown.all(|other| first.as_ref() == Some(&other))
        });
        match (equal, self.equal_since_us) {
            (true, None) => {
                self.equal_since_us = Some(self.queue.now_us());
                let bytes = self.bytes_sent - self.bytes_at_heal;
                self.tell_of(PeerWhat::Equal { bytes });
            }
            (false, Some(_)) => self.equal_since_us = None,
            _ => {}
        }
        self.queue.schedule(self.queue.now_us() + LOOK_US, Happening::Look);
    }

    /// Says what everybody shows, and recounts the plan.
    pub(super) fn conclude(mut self, plan: &Plan) -> (O, RunFigures) {
        self.observe(What::Settled { open: self.open_transactions });
        for row in std::mem::take(&mut self.rows) {
            let mut states: Vec<(Option<Content>, Vec<u32>)> = Vec::new();
            for (peer, state) in (0..).zip(&self.peers) {
                let shown = state.engine.read(&row);
                match states.iter_mut().find(|(other, _)| *other == shown) {
                    Some((_, nodes)) => nodes.push(peer),
                    None => states.push((shown, vec![peer])),
                }
            }
            for (shown, nodes) in states {
                let node = node_id(nodes[0], self.peers.len() as u32);
                let holds = shown.map(|content| FinalState {
                    version: self.writes.of(&row, node, &content),
                    deleted: false,
                    standing: Standing::Visible,
                    content: content.hash(),
                    visible: Some(content.hash()),
                    ought: None,
                });
                self.tell_of(PeerWhat::FinalRow { row: row.clone(), nodes, holds });
            }
        }
        for (host, (arrivals, moments)) in (0..).zip(plan.count_arrivals(check::moment)) {
            if arrivals > 0 {
                self.observe(What::Planned { host, arrivals, moments });
            }
        }
        let figures = RunFigures {
            simulated_us: self.queue.now_us(),
            kernel_events: self.queue.processed(),
            wake_ups: WakeUps::default(),
            bytes_sent: self.bytes_sent,
            published: 0,
            provider: None,
            content: HostContent::default(),
        };
        (self.observer, figures)
    }
}
