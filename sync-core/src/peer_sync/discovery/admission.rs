//! Whose questions are answered: one engine of each name, and only who speaks a version that is understood here.

use super::{Discovery, Member, Rules};
use crate::id::Incarnation;
use crate::limits;
use crate::peer_sync::announcement::PeerAddress;
use crate::peer_sync::message::{Asker, Hello, Refusal};
use crate::peer_sync::replica::ReplicaPolicy;
use crate::peer_sync::version::NodeId;
use crate::time::{Instant, Now};

/// An engine that asks and answers at no address that is known here.
#[derive(Debug)]
pub(super) struct Guest {
    instance: Incarnation,
    heard: Instant,
}

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// For good, unless something changes at the asker.
    Refused(Refusal),
    /// Another engine was known under this name; it is looked at whether that one is still there.
    Later,
}

impl Discovery {
    /// How a hello from somebody else has to be answered.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn judge<P: ReplicaPolicy>(&self, hello: &Hello, rules: &Rules<'_, P>) -> Result<(), Refusal> {
        let twin = hello.node == self.node && hello.instance != self.instance;
        if rules.policy.tells_apart() && (twin || self.is_second(&hello.node, hello.instance)) {
            return Err(Refusal::SameNode);
        }
        self.suits(hello, rules)
    }

    /// A hello came from an address and was not refused. A peer that answered there has started again; if it answers
    /// at another one, it is looked at whether it is still there.
    pub fn greeted(&mut self, now: Now, address: &PeerAddress, hello: &Hello) {
        if let Some(member) = self.members.get_mut(address).filter(|m| m.node() == Some(&hello.node)) {
            member.hello = Some(hello.clone());
            member.see(now);
        } else if let Some(holder) = self.holder_mut(&hello.node)
            && holder.instance() != Some(hello.instance)
        {
            holder.check_soon(now.monotonic);
        }
    }

    /// Whether a question is answered.
    ///
    /// # Errors
    /// Why not.
    pub fn admit<P: ReplicaPolicy>(
        &mut self,
        now: Now,
        asker: &Asker,
        rules: &Rules<'_, P>,
    ) -> Result<(), Denied> {
        if !rules.policy.understands(rules.settings.protocol, asker.protocol) {
            return Err(Denied::Refused(Refusal::Protocol));
        }
        if asker.node == self.node {
            return Err(Denied::Refused(Refusal::SameNode));
        }
        if asker.whom.as_ref().is_some_and(|whom| *whom != self.node) {
            return Err(Denied::Refused(Refusal::AnotherNode));
        }
        let Some(instance) = asker.instance.filter(|_| rules.policy.tells_apart()) else {
            self.heard(now, &asker.node);
            return Ok(());
        };
        if self.is_second(&asker.node, instance) {
            return Err(Denied::Refused(Refusal::SameNode));
        }
        if let Some(holder) = self.holder_mut(&asker.node) {
            if holder.instance() == Some(instance) {
                holder.see(now);
                return Ok(());
            }
            holder.check_soon(now.monotonic);
            return Err(Denied::Later);
        }
        self.admit_guest(now.monotonic, &asker.node, instance, rules)
    }

    /// Nobody answers to that name at a known address: the first who asks is the one, until it is silent for long.
    fn admit_guest<P>(
        &mut self,
        now: Instant,
        node: &NodeId,
        instance: Incarnation,
        rules: &Rules<'_, P>,
    ) -> Result<(), Denied> {
        let unseen_max = rules.settings.unseen_max;
        if let Some(guest) = self.guests.get_mut(node) {
            if guest.instance != instance && now.since(guest.heard) <= unseen_max {
                return Err(Denied::Later);
            }
            *guest = Guest { instance, heard: now };
            return Ok(());
        }
        if self.guests.len() >= limits::PEERS_MAX {
            self.guests.retain(|_, guest| now.since(guest.heard) <= unseen_max);
        }
        if self.guests.len() >= limits::PEERS_MAX {
            return Err(Denied::Later);
        }
        self.guests.insert(node.clone(), Guest { instance, heard: now });
        Ok(())
    }

    /// Whether two can talk to one another.
    pub(super) fn suits<P: ReplicaPolicy>(&self, hello: &Hello, rules: &Rules<'_, P>) -> Result<(), Refusal> {
        if !rules.policy.understands(rules.settings.protocol, hello.protocol) {
            return Err(Refusal::Protocol);
        }
        if hello.schema == self.schema { Ok(()) } else { Err(Refusal::Schema) }
    }

    /// Whether this engine was found beside another one of its name. It stays the second until it starts again.
    pub(super) fn is_second(&self, node: &NodeId, instance: Incarnation) -> bool {
        let is_it = |(name, second): &(NodeId, Incarnation)| name == node && *second == instance;
        self.members.values().any(|member| member.second.as_ref().is_some_and(is_it))
    }

    fn holder_mut(&mut self, node: &NodeId) -> Option<&mut Member> {
        self.nodes.get(node).and_then(|address| self.members.get_mut(address))
    }
}
