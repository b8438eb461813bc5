//! The processes of live peers, and what faults do to them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sync_core::peer_sync::message::{PROTOCOL, ProtocolRange};
use sync_core::peer_sync::row::RowId;
use tokio::time::{Instant, sleep};

use super::history::Commits;
use super::mesh::Mesh;
use super::node::{self, PeerSpec};
use super::told::{Place, Shared, Told};
use crate::arrivals::holds;
use crate::draw::Label;
use crate::history::What;
use crate::history::peers::PeerWhat;
use crate::live_rig::peer_server::DiskCopy;
use crate::live_rig::{Child, LiveError};
use crate::scenario::model::{HostSet, PeerFault};
use crate::virtual_rig::clock::NodeClock;

/// Every peer's process.
pub(super) struct Stage {
    pub(super) peers: Vec<Peer>,
    pub(super) shared: Arc<Shared>,
    mesh: Arc<Mesh>,
    /// What processes did that they must not do.
    offences: Vec<String>,
    start: Instant,
    healed_us: Option<u64>,
}

/// A peer of the stage.
pub(super) struct Peer {
    pub(super) place: Arc<Place>,
    pub(super) spec: PeerSpec,
    /// None while it is down.
    pub(super) child: Option<Child>,
    clock: NodeClock,
    /// How far its database's clock is from the server's now.
    ahead_us: i64,
    /// Faults that hold it down.
    held_down_by: Vec<u32>,
    /// What its releases speak, by the fault that brought them; the last counts.
    releases: Vec<(u32, ProtocolRange)>,
    /// A file for each life of the process, with the number of the database that it is of.
    pub(super) facts: Vec<(u32, PathBuf)>,
    /// Copies of its disk, by the fault that needs them.
    pub(super) copies: Vec<(u32, DiskCopy)>,
    /// What became of transactions of databases that it has no more.
    pub(super) retired: Commits,
}

/// What is left of a stage: the files of each peer's processes, what became of transactions of databases that are gone, and
/// what processes must not have done.
pub(super) struct Struck {
    pub(super) facts: Vec<Vec<(u32, PathBuf)>>,
    /// With the number of the database that each has in the end.
    pub(super) retired: Vec<(u32, Commits)>,
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
            let ahead_us = clock.ahead_us(0);
            let mut peer = Peer {
                place: Arc::clone(place),
                spec,
                child: None,
                clock,
                ahead_us,
                held_down_by: Vec::new(),
                releases: Vec::new(),
                facts: Vec::new(),
                copies: Vec::new(),
                retired: Commits::new(),
            };
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
            PeerFault::SetBack(back) => {
                for place in self.members(&back.peers) {
                    self.set_back(number, place).await?;
                }
            }
            PeerFault::SameName(same) => self.take_name(same).await?,
            PeerFault::Replace(replace) => {
                for place in self.members(&replace.peers) {
                    self.replace(place, replace.by).await?;
                }
            }
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
            PeerFault::SameName(same) => self.give_name_back(same.peer as usize).await?,
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

    /// Disks are copied for a fault that is to come.
    ///
    /// # Errors
    /// When one cannot be.
    pub(super) async fn copy_disks(&mut self, number: u32, fault: &PeerFault) -> Result<(), LiveError> {
        let PeerFault::SetBack(back) = fault else { return Ok(()) };
        for place in self.members(&back.peers) {
            self.copy_disk(number, place).await?;
        }
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
        let era = |peer: &Peer| peer.place.era.load(Ordering::SeqCst);
        let left = self.peers.into_iter().map(|peer| (era(&peer), peer));
        let (facts, retired) = left.map(|(era, peer)| (peer.facts, (era, peer.retired))).unzip();
        Struck { facts, retired, offences: self.offences }
    }

    /// A peer's process and its database die.
    async fn crash(&mut self, place: usize) -> Result<(), LiveError> {
        if self.kill(place).await {
            self.peers[place].place.database.crash().await?;
            self.shared.tell(What::Crashed { node: format!("n{place}") });
        }
        Ok(())
    }

    /// A peer's process dies and its database is cut off from everybody, for something to be done to it. Says when.
    pub(super) async fn take_down(&mut self, place: usize) -> Result<u64, LiveError> {
        let was_up = self.kill(place).await;
        let database = &self.peers[place].place.database;
        if was_up {
            database.shut().await?;
        } else if database.own().is_some() {
            // Nothing can be done to a server that is dead.
            database.open().await?;
        }
        let at_us = super::now_us();
        if was_up {
            self.shared.push(Told::At(at_us, What::Crashed { node: format!("n{place}") }));
        }
        Ok(at_us)
    }

    /// Kills a peer's process. Whether there was one.
    async fn kill(&mut self, place: usize) -> bool {
        let peer = &mut self.peers[place];
        let Some(mut child) = peer.child.take() else { return false };
        peer.place.is_up.store(false, Ordering::SeqCst);
        peer.place.life.fetch_add(1, Ordering::SeqCst);
        peer.place.door.fetch_add(1, Ordering::SeqCst);
        self.mesh.dies(place as u32);
        match child.has_ended() {
            Some(status) => {
                let why = format!("peer {place} ended by itself before it was to be killed: {status}");
                self.offences.push(why);
            }
            None => drop(child.kill9().await),
        }
        true
    }

    pub(super) async fn restart(&mut self, place: usize) -> Result<(), LiveError> {
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
        let place_there = Arc::clone(&self.peers[place].place);
        let (database, node) = (&place_there.database, &place_there.node());
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
        let at_us = self.take_down(place).await?;
        let speaks = self.peers[place].speaks();
        let node = place as u32;
        self.shared.push(Told::At(at_us, What::Peer(PeerWhat::Released { node, speaks })));
        self.is_another(place);
        self.restart(place).await
    }

    /// Tells the links whether what answers there is another than it was in the beginning.
    pub(super) fn is_another(&self, place: usize) {
        let peer = &self.peers[place];
        let is_another = peer.spec.name != peer.spec.peer || peer.speaks() != PROTOCOL;
        self.mesh.is_another(place as u32, is_another);
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
        self.facts.push((self.place.era.load(Ordering::SeqCst), facts));
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
