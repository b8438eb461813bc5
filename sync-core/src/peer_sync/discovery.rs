//! Who the peers are: addresses that were given, heard of or asked from, and what is known of who answers there.
//!
//! Promises: nobody is a peer before it has answered a hello at its address; a node id is one peer, whatever
//! addresses it has; the own announcement and a second node under one name are recognised by the life of the engine
//! that answers, and of two the one that was there first stays; one missed answer removes nobody; who was removed is
//! welcome again; nothing here grows past its bound. Checks of different addresses wait for nobody but themselves.

mod admission;
mod introduction;

pub use admission::Denied;

use std::collections::{BTreeMap, BTreeSet};

use super::announcement::PeerAddress;
use super::events::LeaveReason;
use super::message::{Hello, Refusal};
use super::replica::ReplicaPolicy;
use super::settings::ReplicaSettings;
use super::version::NodeId;
use crate::id::Incarnation;
use crate::limits;
use crate::time::{Instant, Now, Span, Timestamp};
use admission::Guest;

/// The addresses that are known, and the peers at them.
#[derive(Debug)]
pub struct Discovery {
    node: NodeId,
    instance: Incarnation,
    schema: u64,
    /// By the API port.
    members: BTreeMap<PeerAddress, Member>,
    nodes: BTreeMap<NodeId, PeerAddress>,
    /// Who asks and is no peer here.
    guests: BTreeMap<NodeId, Guest>,
    /// Removed for good; only a policy that readmits nobody fills it.
    banned: BTreeSet<PeerAddress>,
}

/// What is known of one address.
#[derive(Clone, Debug)]
pub struct Member {
    /// Whether it is looked at for ever: it was given by somebody.
    kept: bool,
    state: State,
    hello: Option<Hello>,
    /// When it last answered, asked or announced itself.
    seen: Instant,
    seen_at: Timestamp,
    /// When it last answered a hello.
    verified: Instant,
    /// When it was last asked who it is.
    asked: Instant,
    /// Hellos that failed in a row.
    failed: u32,
    /// Of those, how many since somebody else was first heard to have the same node id.
    failed_contested: u32,
    checks: u64,
    /// None while a hello is under way.
    check_at: Option<Instant>,
    /// The engine here that claims a node id which another address has, and since when.
    contested: Option<Claim>,
    /// The engine here that was found beside another one of its node id.
    second: Option<(NodeId, Incarnation)>,
    /// The node id beside whose former holder it was found so.
    mistaken: Option<NodeId>,
}

/// An engine that claims a node id which another address has.
#[derive(Clone, Debug)]
struct Claim {
    node: NodeId,
    instance: Incarnation,
    since: Instant,
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not answered yet.
    Candidate,
    /// A peer that answers.
    Active,
    /// A peer that did not answer.
    Suspected,
    /// This very engine.
    Own,
    /// Nobody to talk to: another address of a peer, or one that was refused.
    Aside,
}

/// How an address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody gave it; it is kept whatever happens.
    Given,
    /// It announced itself, or asked.
    Heard,
}

/// What changed in the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new peer, or one that is welcome again.
    Joined(NodeId, PeerAddress),
    /// It does not answer.
    Suspected(NodeId),
    /// It answers again.
    Recovered(NodeId),
    /// It answers at another address.
    Moved(NodeId, PeerAddress),
    /// It is no longer a peer.
    Left(NodeId, LeaveReason),
    /// Who answers there is no peer.
    Refused(PeerAddress, Refusal),
    /// Another node under a name that is taken.
    Twice(NodeId, PeerAddress),
    /// Who had that peer's name has another now, and the peer was taken for its double meanwhile: its feed was read from
    /// somebody else.
    Mistaken(NodeId),
}

/// What a decision about members leans on.
pub struct Rules<'a, P> {
    /// The policy.
    pub policy: &'a P,
    /// The settings.
    pub settings: &'a ReplicaSettings,
    /// Uniform over 64 bits.
    pub draw: u64,
}

impl Discovery {
    /// Nobody is known yet.
    pub fn new(node: NodeId, instance: Incarnation, schema: u64) -> Self {
        Self {
            node,
            instance,
            schema,
            members: BTreeMap::new(),
            nodes: BTreeMap::new(),
            guests: BTreeMap::new(),
            banned: BTreeSet::new(),
        }
    }

    /// An address was given or heard of. False if there are enough.
    pub fn learn(&mut self, now: Now, address: PeerAddress, source: Source, peers_max: usize) -> bool {
        let kept = source == Source::Given;
        if let Some(member) = self.members.get_mut(&address) {
            member.kept |= kept;
            member.see(now);
            if kept || matches!(member.state, State::Suspected | State::Candidate | State::Aside) {
                // Who says that it is there is looked at soon, but not with each of its words.
                let soon = if kept { now.monotonic } else { member.verified + limits::PEER_BACKOFF_MIN };
                member.check_at = member.check_at.map(|at| at.min(soon.max(now.monotonic)));
            }
            return true;
        }
        if self.banned.contains(&address) {
            return false;
        }
        let full = self.nodes.len() >= peers_max || self.others() >= limits::PEER_CANDIDATES_MAX;
        if full && !kept {
            return false;
        }
        self.members.insert(
            address,
            Member {
                kept,
                state: State::Candidate,
                hello: None,
                seen: now.monotonic,
                seen_at: now.wall,
                verified: now.monotonic,
                asked: now.monotonic,
                failed: 0,
                failed_contested: 0,
                checks: 0,
                check_at: Some(now.monotonic),
                contested: None,
                second: None,
                mistaken: None,
            },
        );
        true
    }

    /// Addresses to which a hello has to go now; each then waits for [`Self::answered`].
    pub fn due(&mut self, now: Instant) -> Vec<PeerAddress> {
        let mut due = Vec::new();
        self.members.retain(|address, member| {
            if member.check_at.is_none_or(|at| at > now) {
                return true;
            }
            if member.state == State::Aside && !member.kept && member.second.is_none() {
                // It is looked at again once it is heard of again.
                return false;
            }
            member.check_at = None;
            member.asked = now;
            member.checks += 1;
            due.push(address.clone());
            true
        });
        due
    }

    /// How often an address has been looked at.
    pub fn checks(&self, address: &PeerAddress) -> u64 {
        self.members.get(address).map_or(0, |member| member.checks)
    }

    /// When something is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.members.values().filter_map(|member| member.check_at).min()
    }

    /// All addresses are looked at now.
    pub fn refresh(&mut self, now: Instant) {
        for member in self.members.values_mut().filter(|member| member.state != State::Own) {
            member.check_at = member.check_at.map(|_| now);
        }
    }

    /// What a hello brought: who answers there, that it refuses, or nothing.
    pub fn answered<P: ReplicaPolicy>(
        &mut self,
        now: Now,
        address: &PeerAddress,
        answer: Option<Result<Hello, Refusal>>,
        rules: &Rules<'_, P>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(member) = self.members.get_mut(address) else { return changes };
        // For now; what follows knows better.
        member.check_at = Some(now.monotonic + rules.settings.health_interval);
        match answer {
            None => self.silent(now, address, rules, &mut changes),
            Some(Ok(hello)) if hello.node == self.node => {
                let own = hello.instance == self.instance || !rules.policy.tells_apart();
                self.set_aside(address, if own { State::Own } else { State::Aside }, &mut changes);
                if !own {
                    changes.push(Change::Twice(hello.node, address.clone()));
                }
            }
            Some(answer) => match answer.and_then(|hello| self.suits(&hello, rules).map(|()| hello)) {
                Ok(hello) => self.introduced(now, address, hello, rules, &mut changes),
                Err(refusal) => {
                    self.set_aside(address, State::Aside, &mut changes);
                    changes.push(Change::Refused(address.clone(), refusal));
                }
            },
        }
        changes
    }

    /// A hello stayed without an answer.
    fn silent<P: ReplicaPolicy>(
        &mut self,
        now: Now,
        address: &PeerAddress,
        rules: &Rules<'_, P>,
        changes: &mut Vec<Change>,
    ) {
        let Some(member) = self.members.get_mut(address) else { return };
        member.failed = member.failed.saturating_add(1);
        member.failed_contested = member.failed_contested.saturating_add(1);
        member.contested = None;
        // One that spoke while the hello was on its way is there by now, and lost the hello to what is over.
        let failures = if member.seen > member.asked { 1 } else { member.failed };
        member.check_at = Some(now.monotonic + rules.policy.backoff(failures, rules.draw));
        if member.state == State::Active {
            member.state = State::Suspected;
            changes.extend(member.node().cloned().map(Change::Suspected));
        }
        let unseen = now.monotonic.since(member.seen);
        if !rules.policy.removes(member.failed, unseen, rules.settings.unseen_max) {
            return;
        }
        if let Some(node) = member.node().cloned() {
            self.nodes.remove(&node);
            changes.push(Change::Left(node, LeaveReason::Unseen));
        }
        member.state = State::Candidate;
        member.hello = None;
        if !rules.policy.readmits() && self.banned.len() < limits::PEER_CANDIDATES_MAX {
            self.banned.insert(address.clone());
        }
        if !member.kept || self.banned.contains(address) {
            self.members.remove(address);
        }
    }

    /// Who answers there is no peer; if it was one, it leaves.
    fn set_aside(&mut self, address: &PeerAddress, state: State, changes: &mut Vec<Change>) {
        let Some(member) = self.members.get_mut(address) else { return };
        member.state = state;
        member.failed = 0;
        member.contested = None;
        if state == State::Own {
            member.check_at = None;
        }
        if let Some(node) = member.hello.take().map(|hello| hello.node)
            && self.nodes.get(&node) == Some(address)
        {
            self.nodes.remove(&node);
            changes.push(Change::Left(node, LeaveReason::Refused));
        }
    }

    /// A peer answered, or asked: it is there.
    pub fn heard(&mut self, now: Now, node: &NodeId) {
        if let Some(member) = self.nodes.get(node).and_then(|address| self.members.get_mut(address)) {
            member.see(now);
        }
    }

    /// A peer did not answer a question: it is looked at now, and not talked to before it answers that.
    pub fn missed(&mut self, now: Instant, node: &NodeId) -> Option<Change> {
        let member = self.nodes.get(node).and_then(|address| self.members.get_mut(address))?;
        if member.state != State::Active {
            return None;
        }
        member.state = State::Suspected;
        member.check_at = member.check_at.map(|_| now);
        Some(Change::Suspected(node.clone()))
    }

    /// A peer refused to answer: it is looked at now, why.
    pub fn doubted(&mut self, now: Instant, node: &NodeId) {
        if let Some(member) = self.nodes.get(node).and_then(|address| self.members.get_mut(address)) {
            member.check_soon(now);
        }
    }

    /// Forgets a peer.
    pub fn remove(&mut self, node: &NodeId) -> Option<Change> {
        let address = self.nodes.remove(node)?;
        self.members.remove(&address);
        Some(Change::Left(node.clone(), LeaveReason::Removed))
    }

    /// The peer at an address.
    pub fn answers_at(&self, address: &PeerAddress) -> Option<&NodeId> {
        self.nodes.iter().find(|(_, of)| *of == address).map(|(node, _)| node)
    }

    /// Looks no more at an address that is no peer.
    pub fn forget(&mut self, address: &PeerAddress) {
        if self.answers_at(address).is_none() {
            self.members.remove(address);
        }
    }

    /// The peers, by their node ids, and where their API answers.
    pub fn peers(&self) -> impl Iterator<Item = (&NodeId, &PeerAddress, &Member)> {
        self.nodes.iter().filter_map(|(node, address)| Some((node, address, self.members.get(address)?)))
    }

    /// Where a peer that answers takes all questions but hellos.
    pub fn listens_at(&self, node: &NodeId) -> Option<PeerAddress> {
        let address = self.nodes.get(node)?;
        let member = self.members.get(address).filter(|member| member.state == State::Active)?;
        Some(address.with_port(member.hello.as_ref()?.listen_port))
    }

    /// Peers known.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no peers.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Addresses that are not peers.
    fn others(&self) -> usize {
        self.members.len().saturating_sub(self.nodes.len())
    }
}

impl Member {
    /// How it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// When it last answered, asked or announced itself.
    pub fn seen_at(&self) -> Timestamp {
        self.seen_at
    }

    /// How long that was ago.
    pub fn unseen(&self, now: Instant) -> Span {
        now.since(self.seen)
    }

    fn node(&self) -> Option<&NodeId> {
        self.hello.as_ref().map(|hello| &hello.node)
    }

    /// Since when this engine has claimed its node id here.
    fn claimed_since(&self, hello: &Hello) -> Option<Instant> {
        let claim = self.contested.as_ref()?;
        (claim.node == hello.node && claim.instance == hello.instance).then_some(claim.since)
    }

    fn instance(&self) -> Option<Incarnation> {
        self.hello.as_ref().map(|hello| hello.instance)
    }

    /// A hello goes there at this moment, or sooner if that was due; if none is under way.
    fn check_soon(&mut self, at: Instant) {
        self.check_at = self.check_at.map(|due| due.min(at));
    }

    fn see(&mut self, now: Now) {
        self.seen = now.monotonic;
        self.seen_at = now.wall;
    }
}

#[cfg(test)]
mod tests;
