//! Telling peers that there is something new here.

use std::collections::BTreeSet;

use super::{Pending, Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::peer_sync::message::{Notice, PeerQuestion};
use crate::peer_sync::position::Frontier;
use crate::peer_sync::row::TableName;
use crate::peer_sync::store::{PeerReply, PeerRequest};
use crate::peer_sync::version::NodeId;
use crate::time::{Instant, Now};

/// What is to be told, and when.
#[derive(Debug, Default)]
pub(super) struct Notices {
    at: Option<Instant>,
    news: News,
    /// Whether the database is being asked how far it has come.
    asking: bool,
}

/// What is new here.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Whether applications wrote here.
    own: bool,
    /// Who sent what was merged here.
    relayed: BTreeSet<NodeId>,
    tables: BTreeSet<TableName>,
}

impl Notices {
    /// When a notice is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at.filter(|_| !self.asking)
    }
}

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// Applications wrote here.
    pub(super) fn changed_here(&mut self, now: Now, tables: Vec<TableName>) {
        let known = tables.into_iter().filter(|table| self.schema.table(table).is_some());
        self.notices.news.tables.extend(known);
        self.notices.news.own = true;
        self.notices.at.get_or_insert(now.monotonic + self.settings.notify_delay);
    }

    /// Rows of a peer were merged here: its other peers may not have them.
    pub(super) fn relay(&mut self, now: Now, from: &NodeId, tables: impl IntoIterator<Item = TableName>) {
        if !self.policy.relays() {
            return;
        }
        self.notices.news.tables.extend(tables);
        self.notices.news.relayed.insert(from.clone());
        self.notices.at.get_or_insert(now.monotonic + self.settings.notify_delay);
    }

    /// Asks the database how far it has come, before peers are told.
    pub(super) fn flush_notices(&mut self, now: Now, fx: &mut Vec<ReplicaEffect>) {
        if self.notices.due().is_some_and(|at| at <= now.monotonic) {
            self.notices.asking = true;
            self.notices.at = None;
            // What happens from now on may be missing in the answer, and is told by another notice.
            let news = std::mem::take(&mut self.notices.news);
            self.store(PeerRequest::Describe, Pending::Noticing(news), fx);
        }
    }

    /// Tells the peers who do not have it yet.
    pub(super) fn notify(&mut self, now: Now, news: News, reply: PeerReply, fx: &mut Vec<ReplicaEffect>) {
        self.notices.asking = false;
        let PeerReply::Described(description) = reply else {
            // Rounds bring it, if notices cannot.
            return;
        };
        self.know(&description);
        let News { own, relayed, tables } = news;
        let relays = !relayed.is_empty();
        let mut frontier = Frontier::default();
        for (node, incarnation, snapshot) in self.frontier.iter() {
            if if *node == self.node { own } else { relays } {
                frontier.advance(node, incarnation, snapshot);
            }
        }
        let notice = Notice {
            source: self.node.clone(),
            tables: tables.into_iter().collect(),
            frontier,
            timestamp: now.wall,
        };
        let whom: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(peer, state)| {
                let its_own = !own && relayed.len() == 1 && relayed.contains(*peer);
                !its_own && !state.has.includes(&notice.frontier)
            })
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in whom {
            if let Some(to) = self.discovery.listens_at(&peer) {
                let question = PeerQuestion::Notify(notice.clone());
                self.ask(now, to, Some(&peer.clone()), question, Pending::Notify(peer), fx);
            }
        }
    }

    /// A notice was taken, or not.
    pub(super) fn told(&mut self, now: Now, peer: &NodeId, answered: bool, fx: &mut Vec<ReplicaEffect>) {
        if answered {
            self.discovery.heard(now, peer);
        } else {
            self.missed(now, peer, fx);
        }
    }

    /// A peer says that it has something new.
    pub(super) fn noticed(&mut self, now: Now, notice: Notice) {
        let Notice { source, frontier, .. } = notice;
        // Who tells less of its own writes than is known of them was perhaps set back: reading shows it.
        let behind = frontier.iter().any(|(node, incarnation, snapshot)| {
            *node == source && self.frontier.of(node, incarnation).is_some_and(|known| known != snapshot)
        });
        if !frontier.is_empty() && !behind && self.frontier.includes(&frontier) {
            self.statistics.notices_skipped += 1;
            return;
        }
        if let Some(state) = self.peers.get_mut(&source) {
            state.want(now.monotonic, Some(frontier).filter(|_| !behind));
        }
    }
}
