//! The beginning and the end of a run: rows that are there from the start, and where everybody stands in the end.

use std::collections::BTreeMap;

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::position::{Frontier, Position};
use sync_core::peer_sync::row::{RowId, RowVersion};
use sync_core::peer_sync::store::memory::Write;
use sync_core::peer_sync::store::{Advance, MergeRows, PeerReply, PeerRequest, ReadFeed, Standing};
use sync_core::store::Content as HostContent;

use super::faults::held;
use super::variant::PeerVariant;
use super::world::PeerWorld;
use crate::by_rules::oughts;
use crate::check;
use crate::history::peers::{FinalState, Ought, PeerWhat};
use crate::history::{OpRef, What};
use crate::peer_schema::Filler;
use crate::plan::Plan;
use crate::scenario::model::{Peers, Put, Texts};
use crate::virtual_rig::world::{Observer, RunFigures, WakeUps};

/// The stream of the rows that are there from the start: no stream of a plan has this number.
const LOADED: u64 = 1 << 22;

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// Gives every peer the rows that are there from the start: the first one writes them, the second one reads all
    /// of its feed, and the others are as if they had done the same.
    pub(super) fn load(&mut self, peers: &Peers) {
        if peers.rows.values().all(|rows| *rows == 0) {
            return;
        }
        let schema = self.schema.clone();
        let now = self.database_now(0);
        for (number, table) in (0..).zip(schema.tables()) {
            let rows = peers.rows.get(table.name.as_str()).copied().unwrap_or(0);
            let op = OpRef { host: 0, ticket: LOADED << crate::arrivals::TICKET_STREAM_BIT | number };
            let store = &mut self.nodes[0].store;
            for number in 0..rows {
                let filler = Filler { draws: self.draws, op, statement: number, parents: &peers.rows };
                let put = Put {
                    table: table.name.to_string(),
                    row: number,
                    set: BTreeMap::new(),
                    texts: Texts::Plain,
                    collide: false,
                };
                let content = filler.fill(table, &put, None);
                let transaction = store.begin();
                // Natural keys of references are drawn and may meet: such a row is left out.
                match store.write(transaction, now, Write::Put { table: table.name.clone(), content }) {
                    Ok(_) => drop(store.commit(transaction, now)),
                    Err(_) => store.rollback(transaction),
                }
            }
        }
        if self.nodes.len() > 1 {
            self.load_from_first(1);
            let (loaded, others) = self.nodes.split_at_mut(2);
            for other in others {
                other.store = loaded[1].store.copy_for(other.store.node().clone(), other.store.incarnation());
            }
        }
        let rows = held(&self.nodes[0].store);
        // Everybody holds the same.
        let living = super::store::living(&self.nodes[0].store, rows.iter().map(|held| &held.row));
        self.convergence.living.fill(living);
        self.observe(PeerWhat::Stocked { rows });
    }

    /// One peer reads all of the first one's feed.
    fn load_from_first(&mut self, peer: u32) {
        let mut since: Option<Position> = None;
        loop {
            let now = self.database_now(0);
            let feed = ReadFeed {
                since: since.take(),
                frontier: Frontier::default(),
                rows_max: 10_000,
                bytes_max: 64 << 20,
            };
            let PeerReply::Page(page) = self.nodes[0].store.execute(now, PeerRequest::Feed(feed)) else {
                return;
            };
            let ended = page.frontier.is_some();
            let from = self.nodes[0].store.node().clone();
            let advance = Advance {
                position: page.position.clone(),
                frontier: page.frontier.clone().unwrap_or_default(),
            };
            let (rows, groups, known) = (page.rows, page.groups, page.known);
            let merge = MergeRows { from, rows, groups, known, advance: Some(advance), repair: false };
            let now = self.database_now(peer);
            self.nodes[peer as usize].store.execute(now, PeerRequest::Merge(merge));
            if ended {
                return;
            }
            since = Some(page.position);
        }
    }

    /// Says where everybody stands, and recounts the plan.
    pub(super) fn conclude(mut self, plan: &Plan) -> (O, RunFigures) {
        self.observe_all(What::Settled { open: self.open_transactions });
        let rows = self.final_rows();
        for (row, states) in rows {
            let mut told: u64 = 0;
            for (holds, nodes) in states {
                told += nodes.len() as u64;
                self.observe(PeerWhat::FinalRow { row: row.clone(), nodes, holds: Some(holds) });
            }
            if told < self.nodes.len() as u64 {
                let nodes = (0..).zip(&self.nodes).filter(|(_, node)| node.store.stored(&row).is_none());
                let nodes = nodes.map(|(peer, _)| peer).collect();
                self.observe(PeerWhat::FinalRow { row, nodes, holds: None });
            }
        }
        for (host, (arrivals, moments)) in (0..).zip(plan.count_arrivals(check::moment)) {
            if arrivals > 0 {
                self.observe_all(What::Planned { host, arrivals, moments });
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

    /// For each row its different states, and the peers in each.
    fn final_rows(&self) -> BTreeMap<RowId, Vec<(FinalState, Vec<u32>)>> {
        let mut rows: BTreeMap<&RowId, Vec<(Ended<'_>, Vec<u32>)>> = BTreeMap::new();
        // What ought to be seen is worked out once for all who hold the same.
        let mut known: Vec<(Vec<&RowVersion>, BTreeMap<RowId, Ought>)> = Vec::new();
        for (peer, node) in (0..).zip(&self.nodes) {
            let versions = node.store.versions();
            let stored: Vec<&RowVersion> = versions.iter().map(|(stored, _)| *stored).collect();
            let place = known.iter().position(|(held, _)| *held == stored).unwrap_or_else(|| {
                let ought = oughts(&self.schema, stored.iter().copied());
                known.push((stored, ought));
                known.len() - 1
            });
            for (stored, standing) in versions {
                let ought = known[place].1.get(&stored.row);
                let state =
                    Ended { stored, standing, visible: node.store.read(&stored.row), ought: ought.cloned() };
                let states = rows.entry(&stored.row).or_default();
                match states.iter_mut().find(|(other, _)| other.is_same_as(&state)) {
                    Some((_, peers)) => peers.push(peer),
                    None => states.push((state, vec![peer])),
                }
            }
        }
        let told = |states: Vec<(Ended<'_>, Vec<u32>)>| {
            states.into_iter().map(|(state, peers)| (state.told(), peers)).collect()
        };
        rows.into_iter().map(|(row, states)| (row.clone(), told(states))).collect()
    }
}

/// What a peer holds of a row in the end.
struct Ended<'a> {
    stored: &'a RowVersion,
    standing: Standing,
    visible: Option<&'a Content>,
    ought: Option<Ought>,
}

impl Ended<'_> {
    /// Wherever they were written.
    fn is_same_as(&self, other: &Self) -> bool {
        self.stored.is_same_as(other.stored)
            && (&self.standing, self.visible, &self.ought) == (&other.standing, other.visible, &other.ought)
    }

    fn told(self) -> FinalState {
        FinalState {
            version: self.stored.version.clone(),
            deleted: self.stored.image.is_tombstone(),
            standing: self.standing,
            content: self.stored.image.hash_with(&self.stored.extra),
            visible: self.visible.map(Content::hash),
            ought: self.ought,
        }
    }
}
