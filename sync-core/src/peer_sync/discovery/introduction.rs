//! Who answers at an address: a new peer, a known one, one that has moved, or another engine under a name that is taken.

use super::{Change, Claim, Discovery, Member, Rules, State};
use crate::limits;
use crate::peer_sync::announcement::PeerAddress;
use crate::peer_sync::events::LeaveReason;
use crate::peer_sync::message::Hello;
use crate::peer_sync::replica::ReplicaPolicy;
use crate::peer_sync::version::NodeId;
use crate::time::{Instant, Now, Span};

impl Discovery {
    /// Somebody suitable has answered a hello.
    pub(super) fn introduced<P: ReplicaPolicy>(
        &mut self,
        now: Now,
        address: &PeerAddress,
        hello: Hello,
        rules: &Rules<'_, P>,
        changes: &mut Vec<Change>,
    ) {
        let node = hello.node.clone();
        if let Some(member) = self.members.get_mut(address)
            && let Some(former) = member.node().filter(|former| **former != node).cloned()
        {
            // Whoever it was, it is not there any more.
            member.hello = None;
            member.state = State::Candidate;
            self.nodes.remove(&former);
            self.given_up(now.monotonic, &former);
            changes.push(Change::Left(former, LeaveReason::Replaced));
        }
        if rules.policy.tells_apart() && self.is_second(&node, hello.instance) {
            self.set_aside(address, State::Aside, changes);
            changes.push(Change::Twice(node, address.clone()));
            return;
        }
        let holder = self.nodes.get(&node).filter(|holder| *holder != address).cloned();
        if let Some(holder) = holder {
            let first = self.members.get(&holder);
            let same = first.is_some_and(|first| first.instance() == Some(hello.instance));
            if same && first.is_some_and(|first| first.state == State::Active) {
                return self.set_aside(address, State::Aside, changes);
            }
            if !same && rules.policy.tells_apart() {
                let claimed = self.members.get(address).and_then(|member| member.claimed_since(&hello));
                if !self.is_gone(now.monotonic, &holder, claimed, rules.settings.unseen_max) {
                    return self.contest(now.monotonic, &holder, address, hello, changes);
                }
            }
            // The peer has moved.
            if let Some(former) = self.members.get_mut(&holder) {
                former.state = State::Candidate;
                former.hello = None;
            }
            self.nodes.insert(node.clone(), address.clone());
            changes.push(Change::Moved(node.clone(), address.clone()));
        }
        let Some(member) = self.members.get_mut(address) else { return };
        if !self.nodes.contains_key(&node) {
            if self.nodes.len() >= rules.settings.peers_max && !member.kept {
                self.members.remove(address);
                return;
            }
            self.nodes.insert(node.clone(), address.clone());
            changes.push(Change::Joined(node.clone(), address.clone()));
        } else if member.state == State::Suspected {
            changes.push(Change::Recovered(node.clone()));
        }
        if member.mistaken.take().is_some_and(|mistaken| mistaken == node) {
            changes.push(Change::Mistaken(node));
        }
        self.guests.remove(&hello.node);
        member.state = State::Active;
        member.hello = Some(hello);
        member.verified = now.monotonic;
        member.failed = 0;
        member.contested = None;
        member.second = None;
        member.see(now);
    }

    /// Whoever answers to that name beside the one that has given it up is its only owner now. Which of the two was there
    /// first could not be told by who met both at once.
    fn given_up(&mut self, now: Instant, node: &NodeId) {
        let beside = |member: &&mut Member| member.second.as_ref().is_some_and(|(name, _)| name == node);
        for member in self.members.values_mut().filter(beside) {
            member.second = None;
            member.mistaken = Some(node.clone());
            member.check_soon(now);
        }
    }

    /// Whether the peer at the one address did not answer, again and again, since another first claimed its node id, and
    /// was not seen for as long as it takes to be removed: questions are lost, and a twin would be taken for it.
    fn is_gone(
        &mut self,
        now: Instant,
        holder: &PeerAddress,
        claimed: Option<Instant>,
        unseen_max: Span,
    ) -> bool {
        let Some(holder) = self.members.get_mut(holder) else { return true };
        if claimed.is_none() {
            holder.failed_contested = 0;
        }
        claimed.is_some_and(|since| holder.verified < since)
            && holder.failed_contested >= limits::PEER_MOVED_MISSES
            && holder.unseen(now) > unseen_max
    }

    /// Another engine claims the node id of a peer: it is looked at whether that one is still there.
    fn contest(
        &mut self,
        now: Instant,
        holder: &PeerAddress,
        address: &PeerAddress,
        hello: Hello,
        changes: &mut Vec<Change>,
    ) {
        let verified = self.members.get(holder).map_or(now, |holder| holder.verified);
        let Some(member) = self.members.get_mut(address) else { return };
        let since = member.claimed_since(&hello).unwrap_or(now);
        member.contested = Some(Claim { node: hello.node.clone(), instance: hello.instance, since });
        if verified > since {
            // The one that was first still answers, and it is another.
            member.second = Some((hello.node.clone(), hello.instance));
            self.set_aside(address, State::Aside, changes);
            changes.push(Change::Twice(hello.node, address.clone()));
            return;
        }
        member.check_soon(now + limits::PEER_BACKOFF_MIN);
        if let Some(first) = self.members.get_mut(holder) {
            first.check_soon(now);
        }
    }
}
