//! What happens to the databases of live peers: they are lost, replaced by copies of others or of themselves, and come up under
//! another's name.
//!
//! Where all peers have one server a copy is another database of it, and whoever is connected to the source is asked to wait
//! outside meanwhile. A server of a peer's own is copied while it works.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sync_core::id::Incarnation;
use sync_core::peer_sync::schema::Schema;
use sync_core::peer_sync::store::{Description, PeerReply, PeerRequest};
use sync_core::peer_sync::version::NodeId;
use sync_core::runtime::peer_store::{PeerStore, PeerStoreError, PeerStoreOptions};
use tokio::time::timeout;

use super::fates::fates;
use super::stage::{Peer, Stage};
use super::told::Told;
use crate::history::What;
use crate::history::peers::{FinalState, HeldRow, PeerWhat};
use crate::live_rig::LiveError;
use crate::live_rig::peer_server::DiskCopy;
use crate::peer_schema::node_id;
use crate::scenario::model::{Replacement, SameName, TwinDatabase};

impl Stage {
    /// A machine starts again under the name of another, with a database of that name.
    pub(super) async fn take_name(&mut self, same: &SameName) -> Result<(), LiveError> {
        let (place, of) = (same.peer as usize, same.of as usize);
        let at_us = self.take_down(place).await?;
        match same.database {
            TwinDatabase::Empty => self.empty(place).await?,
            TwinDatabase::Copied => self.copy(of, place, false).await?,
        }
        self.begin_as(place, same.of, at_us).await
    }

    /// It gets its own name again, and its database with it, in a new life.
    pub(super) async fn give_name_back(&mut self, place: usize) -> Result<(), LiveError> {
        let (own, name) = (place as u32, self.peers[place].spec.name);
        if name == own {
            return Ok(());
        }
        let at_us = self.take_down(place).await?;
        let peer = &mut self.peers[place];
        peer.place.database.open().await?;
        let incarnation = peer.rename(name).await?;
        peer.has_name(own);
        for what in [PeerWhat::Named { node: own, name: own, incarnation }, renewed(own, incarnation)] {
            self.shared.push(Told::At(at_us, What::Peer(what)));
        }
        self.is_another(place);
        self.restart(place).await
    }

    /// A peer's database is replaced by another.
    pub(super) async fn replace(&mut self, place: usize, by: Replacement) -> Result<(), LiveError> {
        let at_us = self.take_down(place).await?;
        match by {
            Replacement::Empty => self.empty(place).await?,
            Replacement::CopyOf(of) => {
                self.copy(of as usize, place, true).await?;
                let of = self.peers[of as usize].spec.name;
                self.peers[place].rename(of).await?;
            }
        }
        self.begin_as(place, place as u32, at_us).await
    }

    /// Takes a copy of a peer's disk, for a fault that will put it back.
    pub(super) async fn copy_disk(&mut self, number: u32, place: usize) -> Result<(), LiveError> {
        let copy = self.disk(place).await?;
        self.peers[place].copies.push((number, copy));
        Ok(())
    }

    /// A peer's disk becomes what it was when that copy was taken, and nobody tells the peer.
    pub(super) async fn set_back(&mut self, number: u32, place: usize) -> Result<(), LiveError> {
        let copies = &mut self.peers[place].copies;
        let Some(at) = copies.iter().position(|(of, _)| *of == number) else { return Ok(()) };
        let copy = copies.remove(at).1;
        let at_us = self.take_down(place).await?;
        self.put_back(place, copy).await?;
        let peer = &self.peers[place];
        peer.described(peer.spec.name).await?;
        let holds = self.held(place).await?;
        let what = PeerWhat::SetBack { node: place as u32, holds };
        self.shared.push(Told::At(at_us, What::Peer(what)));
        self.restart(place).await
    }

    /// A machine starts with a database of this name that is in place already.
    async fn begin_as(&mut self, place: usize, name: u32, at_us: u64) -> Result<(), LiveError> {
        let node = place as u32;
        // It gets its life here, or folds what was just being written where it was copied.
        let incarnation = self.peers[place].described(name).await?.incarnation;
        self.peers[place].has_name(name);
        let holds = self.held(place).await?;
        let named = PeerWhat::Named { node, name, incarnation };
        for what in [named, PeerWhat::SetBack { node, holds }, renewed(node, incarnation)] {
            self.shared.push(Told::At(at_us, What::Peer(what)));
        }
        self.is_another(place);
        self.restart(place).await
    }

    async fn empty(&self, place: usize) -> Result<(), LiveError> {
        self.peers[place].place.database.create(&self.shared.statements).await
    }

    /// A peer's database becomes a copy of another's. Without servers of their own one may `notice` that it is one.
    async fn copy(&mut self, of: usize, place: usize, notices: bool) -> Result<(), LiveError> {
        if self.peers[of].place.database.own().is_some() {
            let copy = self.disk(of).await?;
            return self.put_back(place, copy).await;
        }
        let (source, target) = (Arc::clone(&self.peers[of].place), &self.peers[place].place);
        // Whoever is longer at it finds its connection broken.
        let _alone = timeout(ALONE, source.gate.write()).await;
        source.door.fetch_add(1, Ordering::SeqCst);
        source.database.shut().await?;
        let copied = target.database.copy(&source.database, notices).await;
        if self.peers[of].child.is_some() {
            source.database.open().await?;
        }
        copied
    }

    /// A copy of the disk of a peer that has a server of its own.
    async fn disk(&self, place: usize) -> Result<DiskCopy, LiveError> {
        let peer = &self.peers[place];
        let Some(server) = peer.place.database.own() else {
            return Err(LiveError::Mesh(format!("peer {place} has no server of its own to copy")));
        };
        if peer.child.is_none() {
            return Err(LiveError::Mesh(format!("peer {place} is down when its disk is to be copied")));
        }
        server.copy().await
    }

    /// A peer that is down, with its server up, goes on with another disk.
    async fn put_back(&mut self, place: usize, copy: DiskCopy) -> Result<(), LiveError> {
        let there = Arc::clone(&self.peers[place].place);
        // Nobody can ask the new disk what became of transactions on the old one.
        let _alone = timeout(ALONE, there.gate.write()).await;
        let era = there.era.load(Ordering::SeqCst);
        let facts: Vec<_> = self.peers[place].facts.iter().filter(|(of, _)| *of == era).cloned().collect();
        let told = self.shared.transactions_of(place as u32, era);
        let retired = fates(&there.database, told, &facts).await?;
        self.peers[place].retired.extend(retired);
        if let Some(server) = there.database.own() {
            server.put_back(copy).await?;
        }
        there.era.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// All that a peer's database holds.
    async fn held(&self, place: usize) -> Result<Vec<HeldRow>, LiveError> {
        let there = &self.peers[place].place;
        let held = there.database.read(&self.shared.statements, &there.node()).await?;
        let held = held.into_iter();
        Ok(held.map(|(row, FinalState { version, deleted, .. })| HeldRow { row, version, deleted }).collect())
    }
}

impl Peer {
    /// Has this name from now on.
    fn has_name(&mut self, name: u32) {
        self.spec.name = name;
        self.place.rename(self.node(name));
    }

    fn node(&self, name: u32) -> NodeId {
        node_id(name, self.spec.count)
    }

    /// What a database says of itself that is used under this name, once everything in it is folded.
    async fn described(&self, name: u32) -> Result<Description, LiveError> {
        let store = self.store(name).await?;
        let reply = store.execute(PeerRequest::Describe).await;
        store.close().await;
        match reply {
            PeerReply::Described(description) => Ok(description),
            _ => Err(LiveError::Mesh("a peer's database does not say what it is".to_owned())),
        }
    }

    /// Gives the database that has another's name that of its machine. Its new life.
    async fn rename(&self, from: u32) -> Result<Incarnation, LiveError> {
        let renamed = self.store(from).await?.rename(self.node(self.spec.peer)).await;
        renamed.map_err(|error| refused(&error))
    }

    async fn store(&self, name: u32) -> Result<PeerStore, LiveError> {
        let schema = Schema::new(self.spec.tables.iter().cloned());
        let schema = schema.map_err(|error| LiveError::Mesh(error.to_string()))?;
        let options =
            PeerStoreOptions { stamp_ahead_max: self.spec.stamp_ahead_max, ..PeerStoreOptions::default() };
        let dsn = self.place.database.dsn();
        PeerStore::connect(dsn, schema, self.node(name), options).await.map_err(|error| refused(&error))
    }
}

fn renewed(node: u32, incarnation: Incarnation) -> PeerWhat {
    PeerWhat::Renewed { node, incarnation }
}

fn refused(error: &PeerStoreError) -> LiveError {
    LiveError::Mesh(format!("a peer's database cannot be used: {error}"))
}

/// How long applications have to come to an end before their connections are ended.
const ALONE: Duration = Duration::from_secs(10);
