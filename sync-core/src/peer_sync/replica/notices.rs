//! Telling peers that there is something new here. A peer is told once at a time: what comes meanwhile is told together
//! once it has answered, or has not for a while. Of what others wrote it is told a few times a second at most: in a mesh it
//! hears of that from several sides, and each of them would tell it of each write.

use std::collections::BTreeSet;

use super::members::PeerState;
use super::{Asking, Pending, Replica, ReplicaEffect, ReplicaPolicy};
use crate::entropy::Entropy;
use crate::limits;
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
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    /// Whether applications wrote here.
    own: bool,
    /// Who sent what was merged here.
    relayed: BTreeSet<NodeId>,
    tables: BTreeSet<TableName>,
}

impl News {
    fn is_empty(&self) -> bool {
        !self.own && self.relayed.is_empty()
    }

    fn join(&mut self, other: &Self) {
        self.own |= other.own;
        self.relayed.extend(other.relayed.iter().cloned());
        self.tables.extend(other.tables.iter().cloned());
    }

    /// Whether it is nothing but what came from this peer.
    fn is_from(&self, peer: &NodeId) -> bool {
        !self.own && self.relayed.len() == 1 && self.relayed.contains(peer)
    }
}

/// What one peer was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Since when a notice waits for an answer.
    since: Option<Instant>,
    /// When it was last told.
    last: Option<Instant>,
    /// What has become new since then.
    more: News,
}

impl Told {
    /// When the peer may be told what is new.
    fn due(&self) -> Option<Instant> {
        let after = |at: Option<Instant>, pause| at.map_or(Instant::default(), |at| at + pause);
        let answered = after(self.since, limits::ROUND_PATIENCE);
        let rested = if self.more.own { Instant::default() } else { after(self.last, limits::RELAY_PAUSE) };
        (!self.more.is_empty()).then(|| answered.max(rested))
    }
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
        for state in self.peers.values_mut() {
            state.told.more.join(&news);
        }
        self.tell(now, fx);
    }

    /// When a peer may be told more.
    pub(super) fn next_notice(&self) -> Option<Instant> {
        self.peers.values().filter_map(|state| state.told.due()).min()
    }

    /// Tells peers what is new, if they lack it and are ready to be told.
    pub(super) fn tell(&mut self, now: Now, fx: &mut Vec<ReplicaEffect>) {
        // By whether own writes are told, and those of others.
        let mut frontiers: [Option<Frontier>; 4] = [const { None }; 4];
        let is_due = |state: &PeerState| state.told.due().is_some_and(|at| at <= now.monotonic);
        let due = self.peers.iter().filter(|(_, state)| is_due(state));
        let due: Vec<NodeId> = due.map(|(peer, _)| peer.clone()).collect();
        for peer in due {
            let Some(state) = self.peers.get_mut(&peer) else { continue };
            let news = std::mem::take(&mut state.told.more);
            state.told.since = None;
            let (own, relays) = (news.own, !news.relayed.is_empty());
            let kind = usize::from(own) * 2 + usize::from(relays);
            let frontier = frontiers[kind].get_or_insert_with(|| {
                let mut frontier = Frontier::default();
                for (node, incarnation, snapshot) in self.frontier.iter() {
                    if if *node == self.node { own } else { relays } {
                        frontier.advance(node, incarnation, snapshot);
                    }
                }
                frontier
            });
            if news.is_from(&peer) || state.has.includes(frontier) {
                continue;
            }
            let Some(to) = self.discovery.listens_at(&peer) else { continue };
            (state.told.since, state.told.last) = (Some(now.monotonic), Some(now.monotonic));
            let notice = Notice {
                source: self.node.clone(),
                tables: news.tables.into_iter().collect(),
                frontier: frontier.clone(),
                timestamp: now.wall,
            };
            let question = PeerQuestion::Notify(notice);
            self.ask(now, to, Some(&peer.clone()), question, Asking::Notify(peer), fx);
        }
    }

    /// A notice was taken, or not.
    pub(super) fn told(&mut self, now: Now, peer: &NodeId, answered: bool, fx: &mut Vec<ReplicaEffect>) {
        if let Some(state) = self.peers.get_mut(peer) {
            state.told.since = None;
        }
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
