//! What others speak to a replica through.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::peer_sync::announcement::HostName;
use crate::peer_sync::events::{ReplicaEvent, Statistics};
use crate::peer_sync::message::{Asked, PeerAnswer};
use crate::peer_sync::replica::{ReplicaInput, Status};
use crate::peer_sync::settings::ReplicaSettings;
use crate::time::Timestamp;

/// Speaks to a running replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReplicaFront {
    mailbox: mpsc::Sender<Letter>,
    events: broadcast::Sender<Arc<Told>>,
}

/// The replica has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the replica has ended")]
pub struct Gone;

/// An event and its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: ReplicaEvent,
}

/// How a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The documented status.
    pub status: Status,
    /// What it goes by.
    pub settings: ReplicaSettings,
    /// What it has counted.
    pub statistics: Statistics,
}

#[derive(Debug)]
pub(super) enum Letter {
    Tell(ReplicaInput),
    Question { from: HostName, asked: Box<Asked>, answer: oneshot::Sender<PeerAnswer> },
    Look(oneshot::Sender<View>),
}

impl ReplicaFront {
    pub(super) fn new(mailbox: mpsc::Sender<Letter>, events: broadcast::Sender<Arc<Told>>) -> Self {
        Self { mailbox, events }
    }

    /// Hands over a command or a change; waits while the mailbox is full.
    ///
    /// # Errors
    /// The replica has ended.
    pub async fn tell(&self, input: ReplicaInput) -> Result<(), Gone> {
        self.mailbox.send(Letter::Tell(input)).await.map_err(|_| Gone)
    }

    /// The same for what may be lost, such as an announcement: false if the mailbox is full or the replica has ended.
    pub fn try_tell(&self, input: ReplicaInput) -> bool {
        self.mailbox.try_send(Letter::Tell(input)).is_ok()
    }

    /// Asks in a peer's name and waits for the answer.
    ///
    /// # Errors
    /// The replica has ended, or ended before it answered.
    pub async fn ask(&self, from: HostName, asked: Asked) -> Result<PeerAnswer, Gone> {
        let (answer, answered) = oneshot::channel();
        let asked = Box::new(asked);
        self.mailbox.send(Letter::Question { from, asked, answer }).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// How it stands now.
    ///
    /// # Errors
    /// The replica has ended.
    pub async fn look(&self) -> Result<View, Gone> {
        let (answer, answered) = oneshot::channel();
        self.mailbox.send(Letter::Look(answer)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Follows what happens from now on. Who falls more than
    /// [`REPLICA_EVENTS_WAITING_MAX`](crate::limits::REPLICA_EVENTS_WAITING_MAX) events behind is told that it did.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Told>> {
        self.events.subscribe()
    }
}
