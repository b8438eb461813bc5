//! Peers as they come and go: hellos, announcements, and what is kept of each peer.

use std::collections::BTreeSet;

use super::notices::Told;
use super::{Activity, Asking, NoAnswer, Replica, ReplicaEffect, ReplicaPolicy, Status, SyncConfig};
use crate::entropy::Entropy;
use crate::peer_sync::announcement::{
    Announcement, AnnouncementKind, HostName, PeerAddress, PeerInfo, iso_text,
};
use crate::peer_sync::discovery::{Change, Rules, Source, State};
use crate::peer_sync::events::ReplicaEvent;
use crate::peer_sync::message::{Hello, PeerAnswer, PeerQuestion};
use crate::peer_sync::position::{Frontier, Position};
use crate::peer_sync::row::TableName;
use crate::peer_sync::version::NodeId;
use crate::time::{Instant, Now, Span, Timestamp};

/// What is kept of a peer.
#[derive(Debug)]
pub(super) struct PeerState {
    /// When the next regular round is due.
    pub(super) next_round: Instant,
    /// Since when a round is wanted at once.
    pub(super) wanted: Option<Wanted>,
    /// When everything is compared again.
    pub(super) compare_at: Instant,
    /// Whether that waits for nothing.
    pub(super) must_compare: bool,
    /// How long after the next comparison the one after it is due.
    pub(super) compare_pause: Span,
    /// Failures in a row.
    pub(super) failed: u32,
    /// Not before.
    pub(super) retry_at: Instant,
    /// Counts pauses, to key draws with.
    pub(super) pauses: u64,
    /// Tables whose next round is told whatever it brings.
    pub(super) tables: BTreeSet<TableName>,
    /// What the peer had when it last said so.
    pub(super) has: Frontier,
    /// What it was told of that, and what it is yet to be told.
    pub(super) told: Told,
    /// How far the peer has come in the own feed, as the database knows.
    pub(super) passed: Option<Position>,
    /// The last page that was given to it, and when.
    pub(super) given: Option<(Position, Timestamp)>,
    /// It has all own writes up to this moment.
    pub(super) has_until: Timestamp,
}

/// A round that is wanted at once.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Since when.
    pub(super) at: Instant,
    /// What the round is to bring; none for whatever there is.
    pub(super) news: Option<Frontier>,
}

impl PeerState {
    fn new(now: Instant) -> Self {
        Self {
            next_round: now,
            wanted: None,
            compare_at: now,
            must_compare: false,
            compare_pause: Span::MAX,
            failed: 0,
            retry_at: now,
            pauses: 0,
            tables: BTreeSet::new(),
            has: Frontier::default(),
            told: Told::default(),
            passed: None,
            given: None,
            has_until: Timestamp::default(),
        }
    }

    /// A round is wanted at once, for everything or for what a notice tells.
    pub(super) fn want(&mut self, at: Instant, news: Option<Frontier>) {
        match (&mut self.wanted, news) {
            (None, news) => self.wanted = Some(Wanted { at, news }),
            (Some(Wanted { news: Some(old), .. }), Some(new)) => old.join(&new),
            (Some(wanted), _) => wanted.news = None,
        }
    }
}

impl<E: Entropy, P: ReplicaPolicy> Replica<E, P> {
    /// The documented status.
    pub fn status(&self, now: Now) -> Status {
        let peers = self.discovery.peers().map(|(node, address, member)| PeerInfo {
            peer_id: node.clone(),
            host: address.host.to_string(),
            port: address.port,
            last_seen: iso_text(member.seen_at()),
            api_version: super::API_VERSION.to_owned(),
            status: if member.state() == State::Active { "active" } else { "suspected" }.to_owned(),
        });
        Status {
            node_id: self.node.clone(),
            status: self.activity,
            api_version: super::API_VERSION.to_owned(),
            listen_port: self.settings.listen_port,
            api_port: self.settings.api_port,
            peer_count: self.discovery.len(),
            peers: peers.collect(),
            sync_config: SyncConfig {
                enable_p2p_sync: self.settings.sync_enabled,
                enable_auto_discovery: self.settings.auto_discovery,
                sync_interval_ms: self.settings.sync_interval.as_ms(),
                max_peers: self.settings.peers_max,
                tables: self.schema.tables().map(|table| table.name.clone()).collect(),
            },
            timestamp: iso_text(now.wall),
            hello: self.hello(),
        }
    }

    /// How it introduces itself; none until it knows its database.
    pub(super) fn hello(&self) -> Option<Hello> {
        Some(Hello {
            node: self.node.clone(),
            incarnation: self.incarnation?,
            instance: self.instance,
            api_port: self.settings.api_port,
            listen_port: self.settings.listen_port,
            protocol: self.settings.protocol,
            schema: self.schema.fingerprint(),
        })
    }

    pub(super) fn announcement(&self, now: Now) -> Announcement {
        Announcement {
            kind: AnnouncementKind::PeerAnnouncement,
            peer: PeerInfo {
                peer_id: self.node.clone(),
                host: self.settings.host.clone(),
                port: self.settings.api_port,
                last_seen: iso_text(now.wall),
                api_version: super::API_VERSION.to_owned(),
                status: "active".to_owned(),
            },
        }
    }

    /// An announcement was heard. It is answered to where it came from: the host that it names is anybody's.
    pub(super) fn announced(&mut self, now: Now, announcement: &Announcement, from: &HostName) {
        if !self.settings.auto_discovery || self.activity != Activity::Active {
            return;
        }
        self.learn(now, PeerAddress { host: from.clone(), port: announcement.peer.port }, Source::Heard);
    }

    pub(super) fn learn(&mut self, now: Now, address: PeerAddress, source: Source) {
        if !self.discovery.learn(now, address, source, self.settings.peers_max) {
            self.statistics.addresses_ignored += 1;
        }
    }

    /// Asks those who are due who they are.
    pub(super) fn check_members(&mut self, now: Now, fx: &mut Vec<ReplicaEffect>) {
        let Some(hello) = self.hello() else { return };
        for address in self.discovery.due(now.monotonic) {
            let question = PeerQuestion::Hello(hello.clone());
            self.ask(now, address.clone(), None, question, Asking::Hello(address), fx);
        }
    }

    /// A hello was answered, or not.
    pub(super) fn introduced(
        &mut self,
        now: Now,
        address: &PeerAddress,
        answer: Result<PeerAnswer, NoAnswer>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        let answer = match answer {
            Ok(PeerAnswer::Hello(hello)) => Some(Ok(hello)),
            Ok(PeerAnswer::Refused(refusal)) => Some(Err(refusal)),
            _ => None,
        };
        let port = address.port.to_string();
        let draw = self.jitter([address.host.as_str(), &port], self.discovery.checks(address));
        let rules = Rules { policy: &self.policy, settings: &self.settings, draw };
        let changes = self.discovery.answered(now, address, answer, &rules);
        self.changed(now, changes, fx);
    }

    /// Takes over what changed among the members.
    pub(super) fn changed(
        &mut self,
        now: Now,
        changes: impl IntoIterator<Item = Change>,
        fx: &mut Vec<ReplicaEffect>,
    ) {
        for change in changes {
            let event = match change {
                Change::Joined(peer, address) => {
                    self.remember(&peer);
                    self.peers.insert(peer.clone(), PeerState::new(now.monotonic));
                    ReplicaEvent::PeerJoined { peer, address }
                }
                Change::Recovered(peer) => {
                    if let Some(state) = self.peers.get_mut(&peer) {
                        state.failed = 0;
                        state.retry_at = now.monotonic;
                        state.want(now.monotonic, None);
                    }
                    ReplicaEvent::PeerRecovered { peer }
                }
                Change::Mistaken(peer) => {
                    // What was read as its feed says nothing of what it has.
                    if let Some(state) = self.peers.get_mut(&peer) {
                        state.must_compare = true;
                    }
                    continue;
                }
                Change::Moved(peer, address) => ReplicaEvent::PeerMoved { peer, address },
                Change::Suspected(peer) => ReplicaEvent::PeerSuspected { peer },
                Change::Left(peer, reason) => {
                    self.peers.remove(&peer);
                    ReplicaEvent::PeerLeft { peer, reason }
                }
                Change::Refused(address, reason) => ReplicaEvent::PeerRefused { address, reason },
                Change::Twice(node, address) => ReplicaEvent::NodeIdTwice { node, address },
            };
            fx.push(ReplicaEffect::Event(event));
        }
    }

    /// A peer did not answer a question.
    pub(super) fn missed(&mut self, now: Now, peer: &NodeId, fx: &mut Vec<ReplicaEffect>) {
        let change = self.discovery.missed(now.monotonic, peer);
        self.changed(now, change, fx);
    }
}
