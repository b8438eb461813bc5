//! Messages of replicas to one another, and what they tell of themselves.

use sync_core::id::Token;
use sync_core::peer_sync::announcement::PeerAddress;
use sync_core::peer_sync::events::ReplicaEvent;
use sync_core::peer_sync::message::{Asker, PROTOCOL, PeerAnswer, PeerQuestion, Refusal};
use sync_core::peer_sync::replica::{NoAnswer, ReplicaInput};
use sync_core::peer_sync::version::NodeId;

use super::sizes;
use super::variant::PeerVariant;
use super::world::{Happening, PeerWorld, Sender, host_name};
use crate::history::peers::PeerWhat;
use crate::virtual_rig::world::Observer;

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    pub(super) fn ask(
        &mut self,
        from: u32,
        token: Token,
        to: &PeerAddress,
        asker: Asker,
        question: PeerQuestion,
    ) {
        let Some(to) = self.peer_at(to) else { return };
        self.count_sent(from, to, sizes::of_question(&question));
        let life = self.nodes[from as usize].life;
        for delay in self.network.send(from, to).copies {
            let (asker, question) = (Box::new(asker.clone()), Box::new(question.clone()));
            let happening = Happening::Question { from, to, life, token, asker, question };
            self.queue.schedule(self.queue.now_us() + delay, happening);
        }
    }

    pub(super) fn question_arrives(
        &mut self,
        from: Sender,
        to: u32,
        token: Token,
        asker: Asker,
        question: PeerQuestion,
    ) {
        if let PeerQuestion::Push(rows) = &question {
            self.tell_took(from, to, rows.len());
        }
        let Sender { peer: from, life } = from;
        if !self.nodes[to as usize].is_up() {
            for delay in self.network.send(to, from).copies {
                let sender = Sender { peer: to, life: self.nodes[to as usize].life };
                let answer = Err(NoAnswer::Unreachable);
                let happening = Happening::Answer { from: sender, to: from, life, token, answer };
                self.queue.schedule(self.queue.now_us() + delay, happening);
            }
            return;
        }
        self.next_exchange += 1;
        let exchange = Token(self.next_exchange);
        self.exchanges.insert(self.next_exchange, (from, life, token));
        let Some(host) = host_name(from, self.nodes.len() as u32) else { return };
        self.tell_replica(to, ReplicaInput::Question { exchange, from: host, asker, question });
    }

    pub(super) fn answer(&mut self, from: u32, exchange: Token, mut answer: PeerAnswer) {
        let Some((to, life, token)) = self.exchanges.remove(&exchange.0) else { return };
        self.variant.answers(from, to, &self.nodes[from as usize].store, &mut answer);
        if let PeerAnswer::MustReconcile(position) = &answer {
            self.nodes[to as usize].reads_on.insert(from, position.clone());
        }
        self.count_sent(from, to, sizes::of_answer(&answer));
        for delay in self.network.send(from, to).copies {
            let sender = Sender { peer: from, life: self.nodes[from as usize].life };
            let answer = Ok(Box::new(answer.clone()));
            let happening = Happening::Answer { from: sender, to, life, token, answer };
            self.queue.schedule(self.queue.now_us() + delay, happening);
        }
    }

    /// What a peer makes of an answer that has reached it.
    pub(super) fn understood(&mut self, from: Sender, to: u32, mut answer: PeerAnswer) -> PeerAnswer {
        let rows = match &answer {
            PeerAnswer::Page(page) => page.rows.len(),
            PeerAnswer::Rows(rows) => rows.len(),
            _ => 0,
        };
        self.tell_took(from, to, rows);
        let [sender, reader] = [from.peer, to].map(|peer| self.nodes[peer as usize].speaks());
        if sender.common(reader).is_none() {
            self.variant.misreads(&mut answer);
        }
        answer
    }

    /// Told where names or releases are mixed. A sender that has started again since was perhaps another then.
    fn tell_took(&mut self, from: Sender, to: u32, rows: usize) {
        let alive = self.nodes[from.peer as usize].life == from.life && self.nodes[to as usize].is_up();
        let other = |peer: &u32| self.is_double(*peer) || self.nodes[*peer as usize].speaks() != PROTOCOL;
        if rows > 0 && alive && [from.peer, to].iter().any(other) {
            self.observe(PeerWhat::Took { node: to, from: from.peer, rows: rows as u64 });
        }
    }

    /// Whether a machine has the name of another.
    pub(super) fn is_double(&self, peer: u32) -> bool {
        self.peer_of(self.nodes[peer as usize].store.node()) != Some(peer)
    }

    /// Whose address this is.
    fn peer_at(&self, address: &PeerAddress) -> Option<u32> {
        address.host.as_str().parse::<NodeId>().ok().and_then(|id| self.peer_of(&id))
    }

    pub(super) fn tell_event(&mut self, peer: u32, event: ReplicaEvent) {
        match event {
            ReplicaEvent::Conflict { row, winner, loser, reason } => {
                let by = reason.into();
                self.observe(PeerWhat::Conflict { node: peer, row, winner, loser, by });
            }
            ReplicaEvent::PeerJoined { peer: other, .. } => {
                if let Some(other) = self.peer_of(&other) {
                    self.observe(PeerWhat::Joined { node: peer, peer: other });
                }
            }
            ReplicaEvent::PeerLeft { peer: other, .. } => {
                if let Some(other) = self.peer_of(&other) {
                    self.observe(PeerWhat::Left { node: peer, peer: other });
                }
            }
            ReplicaEvent::PeerRefused { address, reason } => self.tell_refused(peer, &address, reason),
            ReplicaEvent::NodeIdTwice { address, .. } => {
                self.tell_refused(peer, &address, Refusal::SameNode);
            }
            _ => {}
        }
    }

    fn tell_refused(&mut self, peer: u32, address: &PeerAddress, why: Refusal) {
        if let Some(other) = self.peer_at(address) {
            self.observe(PeerWhat::Refused { node: peer, peer: other, why });
        }
    }
}
