//! The processes of live peers, and what faults do to them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sync_core::peer_sync::message::{PROTOCOL, ProtocolRange};
use sync_core::peer_sync::row::RowId;
use tokio::time::{Instant, sleep};

use super::mesh::Mesh;
use super::node::{self, PeerSpec};
use super::session::{Place, Shared, Told};
use crate::arrivals::holds;
use crate::draw::Label;
use crate::history::What;
use crate::history::peers::PeerWhat;
use crate::live_rig::{Child, LiveError};
use crate::scenario::model::{HostSet, PeerFault};
use crate::virtual_rig::clock::NodeClock;

/// Every peer's process.
pub(super) struct Stage {
    peers: Vec<Peer>,
    shared: Arc<Shared>,
    mesh: Arc<Mesh>,
    /// What processes did that they must not do.
    offences: Vec<String>,
    start: Instant,
    healed_us: Option<u64>,
}

struct Peer {
    place: Arc<Place>,
    spec: PeerSpec,
    /// None while it is down.
    child: Option<Child>,
    clock: NodeClock,
    /// How far its database's clock is from the server's now.
    ahead_us: i64,
    /// Faults that hold it down.
    held_down_by: Vec<u32>,
    /// What its releases speak, by the fault that brought them; the last counts.
    releases: Vec<(u32, ProtocolRange)>,
    /// A file for each life of the process.
    facts: Vec<PathBuf>,
}

/// What is left of a stage: the files of each peer's processes, and what they must not have done.
pub(super) struct Struck {
    pub(super) facts: Vec<Vec<PathBuf>>,
    pub(super) offences: Vec<String>,
}

impl Stage {
    /// Starts a process for each peer, described by `specs`, and waits until all listen.
    ///
    /// # Errors
    /// When one does not come up.
    pub(super) async fn set(
        places: &[Arc<Place>],
        specs: Vec<PeerSpec>,
        clocks: Vec<NodeClock>,
        shared: &Arc<Shared>,
        mesh: &Arc<Mesh>,
    ) -> Result<Self, LiveError> {
        let mut peers = Vec::with_capacity(specs.len());
        for ((place, spec), clock) in places.iter().zip(specs).zip(clocks) {
            let (place, held_down_by) = (Arc::clone(place), Vec::new());
            let (releases, facts) = (Vec::new(), Vec::new());
            let ahead_us = clock.ahead_us(0);
            let mut peer = Peer { place, spec, child: None, clock, ahead_us, held_down_by, releases, facts };
            peer.start().await?;
            peer.place.database.set_clock(ahead_us).await?;
            peers.push(peer);
        }
        let (shared, mesh) = (Arc::clone(shared), Arc::clone(mesh));
        Ok(Self { peers, shared, mesh, offences: Vec::new(), start: Instant::now(), healed_us: None })
    }

    /// The run's time goes by from now on.
    pub(super) fn begin(&mut self) {
        self.start = Instant::now();
        self.peers.iter().for_each(|peer| peer.place.is_up.store(true, Ordering::SeqCst));
    }

    /// A fault begins.
    ///
    /// # Errors
    /// When it cannot be carried out.
    pub(super) async fn begin_fault(&mut self, number: u32, fault: &PeerFault) -> Result<(), LiveError> {
        self.shared.tell(What::FaultBegan { action: format!("f{number}") });
        match fault {
            PeerFault::Cut(cut) => self.mesh.network().cut(number, cut.clone()),
            PeerFault::Degrade(degrade) => self.mesh.network().degrade(number, degrade.clone()),
            PeerFault::Crash(set) => {
                for place in self.members(set) {
                    self.peers[place].held_down_by.push(number);
                    self.crash(place).await?;
                }
            }
            PeerFault::ClockStep(step) => {
                for place in self.members(&step.peers) {
                    self.peers[place].clock.step(step.by.as_us());
                    self.set_clock(place).await?;
                }
            }
            PeerFault::Release(release) => {
                let speaks = ProtocolRange { oldest: release.oldest, newest: release.newest };
                for place in self.members(&release.peers) {
                    self.peers[place].releases.push((number, speaks));
                    self.release(place).await?;
                }
            }
            PeerFault::Corrupt(corrupt) => {
                for place in self.members(&corrupt.peers) {
                    self.corrupt(number, place, corrupt.rows).await?;
                }
            }
            // A plan that holds these was refused.
            PeerFault::SetBack(_) | PeerFault::SameName(_) | PeerFault::Replace(_) => {}
        }
        Ok(())
    }

    /// A fault ends.
    ///
    /// # Errors
    /// When what it has done cannot be undone.
    pub(super) async fn end_fault(
        &mut self,
        number: u32,
        fault: &PeerFault,
        has_length: bool,
    ) -> Result<(), LiveError> {
        match fault {
            PeerFault::Cut(_) | PeerFault::Degrade(_) => self.mesh.network().heal(number),
            PeerFault::Crash(set) => {
                for place in self.members(set) {
                    self.peers[place].held_down_by.retain(|other| *other != number);
                    self.restart(place).await?;
                }
            }
            PeerFault::Release(release) if has_length => {
                for place in self.members(&release.peers) {
                    self.peers[place].releases.retain(|(other, _)| *other != number);
                    self.release(place).await?;
                }
            }
            // What has jumped stays so, and so does a release without an end.
            _ => {}
        }
        let ended_us = super::now_us();
        self.shared.push(Told::At(ended_us, What::FaultEnded { action: format!("f{number}") }));
        self.healed_us = Some(ended_us);
        Ok(())
    }

    /// When a fault ended last, in microseconds since 1970.
    pub(super) fn healed_us(&self) -> Option<u64> {
        self.healed_us
    }

    /// Lets clocks drift: to be called again and again.
    ///
    /// # Errors
    /// When a database refuses.
    pub(super) async fn drift(&mut self) -> Result<(), LiveError> {
        for place in 0..self.peers.len() {
            if self.peers[place].child.is_some() {
                self.set_clock(place).await?;
            }
        }
        Ok(())
    }

    /// Whether everybody is there.
    pub(super) fn all_are_up(&self) -> bool {
        self.peers.iter().all(|peer| peer.child.is_some())
    }

    /// Ends every process in order.
    pub(super) async fn strike(mut self) -> Struck {
        for (number, peer) in self.peers.iter_mut().enumerate() {
            peer.place.is_up.store(false, Ordering::SeqCst);
            let Some(mut child) = peer.child.take() else { continue };
            self.offences.extend(match child.has_ended() {
                Some(status) => Some(format!(
                    "peer {number} ended by itself: {status}: {}",
                    child.last_words().join(" | ")
                )),
                None => match child.terminate(TERMINATE).await {
                    Ok(status) if status.success() => None,
                    Ok(status) => Some(format!("asked to end, peer {number} did so with {status}")),
                    Err(error) => Some(format!("peer {number} could not be ended: {error}")),
                },
            });
        }
        let facts = self.peers.into_iter().map(|peer| peer.facts).collect();
        Struck { facts, offences: self.offences }
    }

    /// A peer's process and its database die.
    async fn crash(&mut self, place: usize) -> Result<(), LiveError> {
        let peer = &mut self.peers[place];
        let Some(mut child) = peer.child.take() else { return Ok(()) };
        peer.place.is_up.store(false, Ordering::SeqCst);
        peer.place.life.fetch_add(1, Ordering::SeqCst);
        match child.has_ended() {
            Some(status) => {
                let why = format!("peer {place} ended by itself before it was to be killed: {status}");
                self.offences.push(why);
            }
            None => drop(child.kill9().await),
        }
        peer.place.database.shut().await?;
        self.shared.tell(What::Crashed { node: format!("n{place}") });
        Ok(())
    }

    async fn restart(&mut self, place: usize) -> Result<(), LiveError> {
        let peer = &mut self.peers[place];
        if !peer.held_down_by.is_empty() || peer.child.is_some() {
            return Ok(());
        }
        peer.place.database.open().await?;
        self.set_clock(place).await?;
        let peer = &mut self.peers[place];
        peer.start().await?;
        peer.place.is_up.store(true, Ordering::SeqCst);
        self.shared.tell(What::Restarted { node: format!("n{place}") });
        Ok(())
    }

    /// Alters stored rows that are drawn.
    async fn corrupt(&mut self, number: u32, place: usize, rows: u32) -> Result<(), LiveError> {
        let Place { database, node, .. } = &*self.peers[place].place;
        let held = database.read(&self.shared.statements, node).await?;
        let mut living: Vec<RowId> =
            held.into_iter().filter(|(_, state)| !state.deleted).map(|(row, _)| row).collect();
        living.sort_unstable();
        let entity = u64::from(number) << 32 | place as u64;
        let count = living.len() as u64;
        let drawn = (0..u64::from(rows).min(count)).map(|ordinal| {
            living[self.shared.draws.below(count, Label::Corruption, entity, ordinal) as usize].clone()
        });
        let drawn: BTreeSet<RowId> = drawn.collect();
        let drawn: Vec<RowId> = drawn.into_iter().collect();
        for row in database.damage(&self.shared.statements, node, &drawn).await? {
            self.shared.push(Told::Damaged(super::now_us(), place as u32, row));
        }
        Ok(())
    }

    /// A peer starts again with the release that it has now.
    async fn release(&mut self, place: usize) -> Result<(), LiveError> {
        self.crash(place).await?;
        let speaks = self.peers[place].speaks();
        let node = place as u32;
        self.shared.tell(What::Peer(PeerWhat::Released { node, speaks }));
        self.restart(place).await
    }

    /// Sets a peer's clock to what it shows at this moment of the run.
    async fn set_clock(&mut self, place: usize) -> Result<(), LiveError> {
        let run_us = self.start.elapsed().as_micros() as u64;
        let peer = &mut self.peers[place];
        let before_us = peer.ahead_us;
        let ahead_us = peer.clock.ahead_us(run_us);
        peer.place.database.set_clock(ahead_us).await?;
        peer.ahead_us = ahead_us;
        // Until then the database has shown the time by the old offset.
        peer.place.shows(super::now_us().saturating_add_signed(before_us));
        Ok(())
    }

    fn members(&self, set: &HostSet) -> Vec<usize> {
        (0..self.peers.len()).filter(|place| holds(set, *place as u32)).collect()
    }
}

impl Peer {
    async fn start(&mut self) -> Result<(), LiveError> {
        let facts = self.spec.facts.with_extension(self.facts.len().to_string());
        let mut spec = PeerSpec { facts: facts.clone(), ..self.spec.clone() };
        spec.settings.protocol = self.speaks();
        self.facts.push(facts);
        // A server that was just opened, or has just come up, may not take connections yet.
        let started = Instant::now();
        loop {
            match node::start(&spec).await {
                Ok(child) => {
                    self.child = Some(child);
                    return Ok(());
                }
                Err(error) if started.elapsed() > START => return Err(error),
                Err(_) => {
                    sleep(PAUSE).await;
                    let _ = std::fs::remove_file(&spec.facts);
                }
            }
        }
    }

    fn speaks(&self) -> ProtocolRange {
        self.releases.last().map_or(PROTOCOL, |(_, speaks)| *speaks)
    }
}

const TERMINATE: Duration = Duration::from_secs(15);
/// How long a process may take to come up beside its database.
const START: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
