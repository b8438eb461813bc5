//! The documented endpoints: the API port.
//!
//! Errors are `{"detail": ...}` with a status of 4xx where the request is at fault, and 503 where this node or its database
//! cannot answer. Where a shared key is set, what lets rows in or out or changes the node needs the key's token, or a
//! peer's proof.

mod answer;
mod config;
mod figures;
mod peers;
mod routes;
mod socket;
mod status;
mod sync;
mod tables;
mod users;

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, watch};

use super::database::PeerDatabase;
use super::wire::Keys;
use crate::limits;
use crate::peer_sync::replica::{Command, ReplicaInput};
use crate::peer_sync::row::TableName;
use crate::peer_sync::schema::{Schema, Table};
use crate::runtime::driver::replica::{ReplicaFront, View};
use crate::runtime::http::Phase;

use answer::ApiError;
pub(crate) use routes::api_router;

/// What the endpoints need.
pub(crate) struct Api {
    pub(crate) front: ReplicaFront,
    pub(crate) database: Arc<dyn PeerDatabase>,
    pub(crate) schema: Arc<Schema>,
    pub(crate) keys: Keys,
    pub(crate) discovery_port: u16,
    pub(crate) phase: watch::Receiver<Phase>,
    /// WebSockets that are open at once.
    sockets: Arc<Semaphore>,
    /// Passwords that are hashed at once, and that wait to be.
    hashing: Arc<Semaphore>,
    hashing_waits: Arc<Semaphore>,
    /// One change of the configuration at a time.
    configuring: Mutex<()>,
    added: peers::Added,
}

impl Api {
    pub(crate) fn new(
        front: ReplicaFront,
        database: Arc<dyn PeerDatabase>,
        schema: Arc<Schema>,
        keys: Keys,
        discovery_port: u16,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self {
            front,
            database,
            schema,
            keys,
            discovery_port,
            phase,
            sockets: Arc::new(Semaphore::new(limits::SOCKETS_MAX)),
            hashing: Arc::new(Semaphore::new(limits::HASHING_MAX)),
            hashing_waits: Arc::new(Semaphore::new(limits::HASHING_MAX + limits::HASHING_WAITS_MAX)),
            configuring: Mutex::new(()),
            added: peers::Added::default(),
        }
    }

    async fn look(&self) -> Result<View, ApiError> {
        Ok(self.front.look().await?)
    }

    async fn command(&self, command: Command) -> Result<(), ApiError> {
        Ok(self.front.tell(ReplicaInput::Command(command)).await?)
    }

    /// A table that travels, by the name in a path.
    fn table(&self, name: &str) -> Result<&Table, ApiError> {
        self.schema.find(name).ok_or_else(|| {
            let tables: Vec<&str> = self.schema.tables().map(|table| table.name.as_str()).collect();
            ApiError::not_found(format!("no such table travels; there are: {}", tables.join(", ")))
        })
    }

    fn table_name(&self, name: &str) -> Result<TableName, ApiError> {
        self.table(name).map(|table| table.name.clone())
    }
}
