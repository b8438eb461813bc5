//! Rules of faults among peers.

use super::peers::ROWS_MAX;
use super::{DAY, Rules, SHORTEST};
use crate::arrivals::holds;
use crate::scenario::model::{Cut, Links, PeerFault, Release, Replace, Replacement, SameName};
use crate::scenario::units::Length;

/// The peer in the middle of `links: star`.
const HUB: u32 = 0;

impl Rules<'_> {
    pub(super) fn peer_fault(&mut self, path: &str, at: Length, fault: &PeerFault) {
        match fault {
            PeerFault::Cut(cut) => {
                self.hosts(&format!("{path}.cut.from"), &cut.from);
                self.hosts(&format!("{path}.cut.to"), &cut.to);
                self.cut(&format!("{path}.cut"), cut);
            }
            PeerFault::Degrade(d) => {
                self.hosts(&format!("{path}.degrade.peers"), &d.peers);
                let changes = d.loss.or(d.duplicate).or(d.reorder).is_some() || d.latency.is_some();
                self.changes(&format!("{path}.degrade"), changes, "loss: 5%");
                if let Some(latency) = &d.latency {
                    self.distribution(&format!("{path}.degrade.latency"), latency);
                }
            }
            PeerFault::Crash(peers) => self.hosts(&format!("{path}.crash"), peers),
            PeerFault::SetBack(back) => {
                self.hosts(&format!("{path}.set_back.peers"), &back.peers);
                self.set_back_by(&format!("{path}.set_back.by"), at, back.by);
            }
            PeerFault::ClockStep(step) => {
                self.hosts(&format!("{path}.clock_step.peers"), &step.peers);
                if step.by.as_us() == 0 {
                    let help = "write how far the clock jumps, as in `by: -2s`";
                    self.refuse(&format!("{path}.clock_step.by"), "a step of nothing", help);
                }
            }
            PeerFault::Corrupt(corrupt) => {
                self.hosts(&format!("{path}.corrupt.peers"), &corrupt.peers);
                self.range(&format!("{path}.corrupt.rows"), corrupt.rows, 1..=ROWS_MAX);
            }
            PeerFault::SameName(same) => self.same_name(&format!("{path}.same_name"), same),
            PeerFault::Replace(replace) => self.replace(&format!("{path}.replace"), replace),
            PeerFault::Release(release) => self.release(&format!("{path}.release"), release),
        }
    }

    /// There was a database to copy so long ago.
    fn set_back_by(&mut self, path: &str, at: Length, by: Length) {
        self.length(path, by, SHORTEST..=DAY);
        if by.as_us() > at.as_us() {
            let message =
                format!("at {at} there is no copy that is {by} old: the run has not lasted so long");
            let shorter = format!("write a `by` of at most {at}, or a later `at`");
            let help = if at == Length::ZERO { "write a later `at`".to_owned() } else { shorter };
            self.refuse(path, message, help);
        }
    }

    /// Somebody is cut off from somebody else.
    fn cut(&mut self, path: &str, cut: &Cut) {
        let members = |set| (0..self.hosts).filter(move |peer| holds(set, *peer));
        let (mut from, to) = (members(&cut.from).peekable(), members(&cut.to).collect::<Vec<_>>());
        if from.peek().is_some() && !to.is_empty() && from.all(|peer| to == [peer]) {
            let help = "name other peers in `to`, as in `cut: {from: {only: [1]}, to: all}`";
            self.refuse(path, "a peer is not cut off from itself: this fault changes nothing", help);
        }
    }

    fn same_name(&mut self, path: &str, same: &SameName) {
        self.peer(&format!("{path}.peer"), same.peer);
        self.peer(&format!("{path}.of"), same.of);
        if same.peer == same.of {
            let help = "name another peer: its name is the one that is used twice";
            self.refuse(&format!("{path}.of"), format!("peer {} has its own name", same.of), help);
        }
        if !matches!(self.links, None | Some(Links::Mesh | Links::Star)) {
            let help = "write `links: mesh`, or `links: star` and a `peer` other than 0";
            self.refuse(
                path,
                "a peer that has a link with the second machine alone takes it for the first",
                help,
            );
        } else if matches!(self.links, Some(Links::Star)) && same.peer == HUB {
            let help = "write a `peer` other than 0, or `links: mesh`";
            self.refuse(
                &format!("{path}.peer"),
                "peer 0 is the hub of the star: all others have a link with the second machine alone, and take it for the first",
                help,
            );
        }
    }

    fn replace(&mut self, path: &str, replace: &Replace) {
        self.hosts(&format!("{path}.peers"), &replace.peers);
        let Replacement::CopyOf(of) = replace.by else { return };
        let at = format!("{path}.by.copy_of");
        self.peer(&at, of);
        if holds(&replace.peers, of) {
            let help =
                "name a peer that is not among those replaced; `set_back` has an older copy of the own one";
            self.refuse(&at, format!("peer {of} cannot be replaced by a copy of itself"), help);
        }
    }

    fn release(&mut self, path: &str, release: &Release) {
        let Release { peers, oldest, newest } = release;
        self.hosts(&format!("{path}.peers"), peers);
        self.range(&format!("{path}.oldest"), u32::from(*oldest), 1..=u32::from(u16::MAX));
        if newest < oldest {
            let message = format!("`newest` is {newest}, and `oldest` is {oldest}");
            self.refuse(&format!("{path}.newest"), message, format!("write {oldest} or more"));
        } else {
            self.range(&format!("{path}.newest"), u32::from(*newest), 1..=u32::from(u16::MAX));
        }
    }

    /// A peer by its number.
    pub(super) fn peer(&mut self, path: &str, peer: u32) {
        if peer >= self.hosts {
            let help = format!("peers count from 0: write 0 to {}", self.hosts.saturating_sub(1));
            self.refuse(path, format!("there is no peer {peer}"), help);
        }
    }
}
