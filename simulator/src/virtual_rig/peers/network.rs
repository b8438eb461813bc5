//! What becomes of a message between two peers.

use crate::arrivals::holds;
use crate::distribution::Sampler;
use crate::draw::{Draws, Label};
use crate::scenario::model::{Cut, DegradeLinks, Link};

/// The links between peers, and what is wrong with them.
pub(crate) struct PeerNetwork {
    draws: Draws,
    latency: Sampler,
    loss_ppm: u32,
    duplicate_ppm: u32,
    reorder_ppm: u32,
    reorder_us: u64,
    cuts: Vec<(u32, Cut)>,
    degraded: Vec<(u32, DegradeLinks, Option<Sampler>)>,
    /// Messages sent from one peer to another so far.
    sent: Vec<u64>,
    count: u32,
}

/// When copies of a message arrive, after its sending: none, one or two.
pub(crate) struct Fate {
    /// Delays in microseconds.
    pub(crate) copies: Vec<u64>,
}

impl PeerNetwork {
    pub(crate) fn new(draws: Draws, link: &Link, count: u32) -> Self {
        Self {
            draws,
            latency: Sampler::new(&link.latency),
            loss_ppm: link.loss.ppm(),
            duplicate_ppm: link.duplicate.ppm(),
            reorder_ppm: link.reorder.ppm(),
            reorder_us: link.reorder_delay.as_us(),
            cuts: Vec::new(),
            degraded: Vec::new(),
            sent: vec![0; (count * count) as usize],
            count,
        }
    }

    pub(crate) fn cut(&mut self, fault: u32, cut: Cut) {
        self.cuts.push((fault, cut));
    }

    pub(crate) fn degrade(&mut self, fault: u32, degrade: DegradeLinks) {
        let sampler = degrade.latency.as_ref().map(Sampler::new);
        self.degraded.push((fault, degrade, sampler));
    }

    pub(crate) fn heal(&mut self, fault: u32) {
        self.cuts.retain(|(other, _)| *other != fault);
        self.degraded.retain(|(other, ..)| *other != fault);
    }

    /// What becomes of the next message from one peer to another.
    pub(crate) fn send(&mut self, from: u32, to: u32) -> Fate {
        let entity = from * self.count + to;
        let sent = &mut self.sent[entity as usize];
        let ordinal = *sent;
        *sent += 1;
        if self.is_cut(from, to) {
            return Fate { copies: Vec::new() };
        }
        let entity = u64::from(entity);
        let (mut latency, mut loss, mut duplicate, mut reorder) =
            (&self.latency, self.loss_ppm, self.duplicate_ppm, self.reorder_ppm);
        for (_, degrade, sampler) in &self.degraded {
            if holds(&degrade.peers, from) || holds(&degrade.peers, to) {
                latency = sampler.as_ref().unwrap_or(latency);
                loss = degrade.loss.map_or(loss, |share| share.ppm());
                duplicate = degrade.duplicate.map_or(duplicate, |share| share.ppm());
                reorder = degrade.reorder.map_or(reorder, |share| share.ppm());
            }
        }
        if self.draws.hits(loss, Label::Loss, entity, ordinal) {
            return Fate { copies: Vec::new() };
        }
        let held_back =
            if self.draws.hits(reorder, Label::Reorder, entity, ordinal) { self.reorder_us } else { 0 };
        let mut copies = vec![held_back + latency.at(self.draws.bits(Label::Latency, entity, ordinal))];
        if self.draws.hits(duplicate, Label::Duplicate, entity, ordinal) {
            copies.push(latency.at(self.draws.bits(Label::DuplicateLatency, entity, ordinal)));
        }
        Fate { copies }
    }

    fn is_cut(&self, from: u32, to: u32) -> bool {
        from != to
            && self.cuts.iter().any(|(_, cut)| {
                let there = holds(&cut.from, from) && holds(&cut.to, to);
                let back = !cut.one_way && holds(&cut.from, to) && holds(&cut.to, from);
                there || back
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::HostSet;

    #[test]
    fn a_one_way_cut_lets_the_other_way_through() {
        let mut network = PeerNetwork::new(Draws::new(1), &Link::default(), 3);
        network.cut(0, Cut { from: HostSet::Only(vec![0]), to: HostSet::Only(vec![1]), one_way: true });
        let arrives = |network: &mut PeerNetwork, from, to| !network.send(from, to).copies.is_empty();
        assert!(!arrives(&mut network, 0, 1));
        assert!(arrives(&mut network, 1, 0) && arrives(&mut network, 0, 2));
        network.heal(0);
        assert!(arrives(&mut network, 0, 1));
        network.cut(1, Cut { from: HostSet::All, to: HostSet::Only(vec![2]), one_way: false });
        assert!(!arrives(&mut network, 2, 0) && !arrives(&mut network, 1, 2) && arrives(&mut network, 0, 1));
    }
}
