//! What the engines ask of a database, as data, and the in-memory database.
//!
//! The set of requests is closed and each is a whole decision: whatever executes one decides
//! atomically and alone, so any number of servers may share a database. `memory` executes them in
//! memory; a runtime executes the same requests as SQL, and a differential test holds both together.

pub mod condition;
mod embeddings;
pub mod hosting;
mod memory;
pub mod validation;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::condition::{Condition, PaceRule};
use self::hosting::{Assignment, Change, HostReport, MapHosts};
use self::validation::SecurityValidation;
use crate::data_type::{Nature, Scope, SyncDataType};
use crate::id::{AccountId, MapName, OperationId};
use crate::time::Timestamp;

pub use embeddings::{
    DeleteEmbedding, EmbeddingId, EmbeddingRow, InvalidEmbeddingName, Match, SearchEmbeddings, StoreEmbedding,
};
pub use memory::{Content, MemoryStore, SessionContent};

/// Names one state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateKey {
    /// What kind of state.
    pub data_type: SyncDataType,
    /// Whose it is; account 0 for a state that belongs to the map.
    pub owner: AccountId,
    /// The map.
    pub map: MapName,
}

impl StateKey {
    /// The state that an operation of `account` on `map` concerns.
    pub fn new(data_type: SyncDataType, account: AccountId, map: MapName) -> Self {
        let owner = match data_type.scope() {
            Scope::Map => AccountId(0),
            Scope::Account => account,
        };
        Self { data_type, owner, map }
    }
}

impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.data_type, self.owner, self.map)
    }
}

/// The text names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state is written as DATA_TYPE/ACCOUNT/MAP")]
pub struct NotAState;

impl std::str::FromStr for StateKey {
    type Err = NotAState;

    fn from_str(text: &str) -> Result<Self, NotAState> {
        let mut parts = text.splitn(3, '/');
        let (Some(data_type), Some(owner), Some(map)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAState);
        };
        Ok(Self {
            data_type: data_type.parse().map_err(|_| NotAState)?,
            owner: AccountId(owner.parse().map_err(|_| NotAState)?),
            map: MapName::new(map).map_err(|_| NotAState)?,
        })
    }
}

/// One operation to be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apply {
    /// Its name; the same name takes effect once.
    pub operation: OperationId,
    /// What it synchronises.
    pub data_type: SyncDataType,
    /// The map.
    pub map: MapName,
    /// Counts the operations of the session for this map and type.
    pub sequence: u64,
    /// Whether it is critical.
    pub critical: bool,
    /// JSON text.
    pub data: Arc<str>,
    /// When the server took it, by the server's clock.
    pub received: Timestamp,
    /// What must hold of what took effect before, if the server's rules ask for something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Box<Condition>>,
}

impl Apply {
    /// The state it replaces, when it is of a kind that replaces.
    pub fn state_key(&self) -> Option<StateKey> {
        (self.data_type.nature() == Nature::State)
            .then(|| StateKey::new(self.data_type, self.operation.account, self.map.clone()))
    }
}

/// What became of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It took effect. For a state, `version` is the state's new version (from 1); for an event it
    /// is the event's place among the session's operations on that map and type, its sequence.
    Applied {
        /// See above.
        version: u64,
    },
    /// A later operation of the same session on the same map and type had taken effect before.
    OutOfOrder {
        /// The greatest sequence that took effect.
        last: u64,
    },
    /// It writes what belongs to a map whose primary is another account.
    Fenced {
        /// The map's epoch.
        epoch: u64,
    },
    /// The position cannot be reached from the one before in the time between.
    Unreachable {
        /// How far it is, in cells.
        cells: u32,
        /// How far one can get.
        cells_max: u32,
    },
    /// It comes more often than its rule allows.
    TooOften {
        /// The rule.
        rule: PaceRule,
        /// How long it would have had to wait, in milliseconds.
        wait_ms: u64,
    },
}

/// Answer to one operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What became of it, now or when it was first seen.
    pub verdict: Verdict,
    /// Whether it had been seen before: this time it had no effect.
    pub duplicate: bool,
}

impl Applied {
    /// Whether it takes effect now.
    pub const fn takes_effect(&self) -> bool {
        matches!(self.verdict, Verdict::Applied { .. }) && !self.duplicate
    }
}

/// A state as the database holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRow {
    /// Grows by one with each write.
    pub version: u64,
    /// JSON text.
    pub data: Arc<str>,
    /// The operation that wrote it.
    pub operation: OperationId,
    /// When the server took that operation.
    pub updated: Timestamp,
}

/// Everything that is asked of the main server's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreRequest {
    /// Applies the operations in order, in one transaction. For each: a name that was seen before
    /// is answered as it was then; what belongs to a map that has had a primary is fenced, unless the account
    /// is its present primary; a sequence at or below the greatest applied one of the same
    /// (account, incarnation, map, type) is out of order; a condition that does not hold refuses it; else it
    /// takes effect.
    ApplyBatch(Arc<Vec<Apply>>),
    /// Reads one state.
    Load(StateKey),
    /// Forgets the names of operations taken before this moment, a bounded number at a time.
    Purge {
        /// Operations received earlier are forgotten.
        before: Timestamp,
    },
    /// Applies one operation and, if it takes effect now, stores an embedding. Answered like a batch of one.
    StoreEmbedding(Arc<StoreEmbedding>),
    /// Applies one operation and, if it takes effect now, removes an embedding. Answered like a batch of one.
    DeleteEmbedding(Arc<DeleteEmbedding>),
    /// Finds embeddings.
    SearchEmbeddings(Arc<SearchEmbeddings>),
    /// Takes hosts' reports, of two by one host the later, and settles the maps that they offer or offered, see
    /// [`hosting`].
    ReportHosts(Arc<Vec<HostReport>>),
    /// Drops hosts that have missed too many health checks, a bounded number at a time, and settles their maps.
    SweepHosts,
    /// How a map is hosted.
    LoadHosts(MapName),
    /// Keeps what was found when data were validated.
    RecordValidations(Arc<Vec<SecurityValidation>>),
}

impl StoreRequest {
    /// The operations that it applies, in their order.
    pub fn operations(&self) -> &[Apply] {
        match self {
            Self::ApplyBatch(operations) => operations,
            Self::StoreEmbedding(request) => std::slice::from_ref(&request.apply),
            Self::DeleteEmbedding(request) => std::slice::from_ref(&request.apply),
            Self::Load(_)
            | Self::Purge { .. }
            | Self::SearchEmbeddings(_)
            | Self::ReportHosts(_)
            | Self::SweepHosts
            | Self::LoadHosts(_)
            | Self::RecordValidations(_) => &[],
        }
    }
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreReply {
    /// One for each operation, in order.
    Applied(Vec<Applied>),
    /// The state, if there is one.
    Loaded(Option<StateRow>),
    /// How many names were forgotten.
    Purged(u64),
    /// What a search found, nearest first; of equal distances the smaller id first.
    Found(Vec<Match>),
    /// The hosts' reports were taken.
    Reported {
        /// For each report the parts that its host plays now, in the order of the maps' names.
        assignments: Vec<Vec<Assignment>>,
        /// Parts that began and ended, in order.
        changes: Vec<Change>,
    },
    /// Silent hosts were dropped.
    Swept {
        /// How many.
        dropped: u64,
        /// Parts that began and ended, in order.
        changes: Vec<Change>,
    },
    /// How the map is hosted.
    Hosts(MapHosts),
    /// The findings are kept: how many.
    Recorded(u64),
}

/// The database did not do as asked, or did and the answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreError {
    /// It cannot be reached or refused: whether the request took effect is not known.
    #[error("the database is unavailable")]
    Unavailable,
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::embedding::Vector;
    use crate::limits;

    /// A vector whose direction is this angle in a plane.
    pub(crate) fn vector(angle: f32) -> Vector {
        let mut numbers = vec![0.0; limits::EMBEDDING_DIMENSIONS];
        (numbers[0], numbers[1]) = (angle.cos(), angle.sin());
        Vector::new(numbers).expect("a unit vector")
    }
}
