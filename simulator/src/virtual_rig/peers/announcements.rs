//! How peers that are told of nobody find one another: datagrams that the network may lose, double or keep back.

use sync_core::peer_sync::announcement::Announcement;
use sync_core::peer_sync::replica::ReplicaInput;

use super::sizes;
use super::variant::PeerVariant;
use super::world::{Happening, PeerWorld, host_name};
use crate::virtual_rig::world::Observer;

impl<V: PeerVariant, O: Observer> PeerWorld<V, O> {
    /// A broadcast. Who has a link with the sender hears it unless it is lost on the way; so does the sender itself,
    /// which has to recognise its own.
    pub(super) fn announce(&mut self, from: u32, announcement: &Announcement) {
        for to in self.links[from as usize].clone() {
            self.count_sent(from, to, sizes::of_announcement(announcement));
            self.broadcast(from, to, announcement);
        }
        self.broadcast(from, from, announcement);
    }

    fn broadcast(&mut self, from: u32, to: u32, announcement: &Announcement) {
        for delay in self.network.send(from, to).copies {
            let announcement = Box::new(announcement.clone());
            let happening = Happening::Announcement { from, to, announcement };
            self.queue.schedule(self.queue.now_us() + delay, happening);
        }
    }

    /// A datagram arrives; nobody hears it where the process is down.
    pub(super) fn announcement_arrives(&mut self, from: u32, to: u32, announcement: Announcement) {
        if let Some(from) = host_name(from, self.nodes.len() as u32) {
            self.tell_replica(to, ReplicaInput::Announced { announcement, from });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::run::run;
    use crate::scenario::Scenario;
    use crate::verdict::Verdict;

    #[test]
    fn who_is_away_too_long_is_removed_and_taken_on_again() {
        let text = include_bytes!("../../../../scenarios/conflict/discovery.yaml");
        let scenario = Scenario::parse("discovery.yaml", text).unwrap();
        let summary = run(&Plan::new(&scenario, 1)).summary;
        assert_eq!(summary.verdict, Verdict::Pass);
        let figures = summary.peers.unwrap();
        assert!(figures.removed >= 2 && figures.readmitted == figures.removed, "{figures:?}");
    }
}
