//! One operation on its way through a session, and how it ends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data_type::{Nature, SyncDataType};
use crate::id::{MapName, OperationId};
use crate::time::Instant;
use crate::wire::{Kind, Rejection};

/// How urgent an operation is; the greater goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// First in, first out, after the others.
    Normal,
    /// First in, first out, before normal.
    Priority,
    /// Earliest deadline first, before all others.
    Critical,
}

/// Place of a (map, type) in the session's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyIndex(pub u32);

/// What an application asks of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The application's own name for it, returned with every effect that concerns it.
    pub ticket: u64,
    /// Which way.
    pub kind: Kind,
    /// What it concerns.
    pub data_type: SyncDataType,
    /// The map it concerns.
    pub map: MapName,
    /// JSON text.
    pub data: Arc<str>,
    /// Asked through `sync_critical_data`. A type in `critical_data_types` is critical without it.
    pub critical: bool,
    /// Asked with priority.
    pub priority: bool,
}

/// An accepted operation that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Counts the accepted operations of this session; never changes.
    pub serial: u64,
    /// Its name on the wire.
    pub id: OperationId,
    /// The application's name for it.
    pub ticket: u64,
    /// Which way.
    pub kind: Kind,
    /// What it concerns.
    pub data_type: SyncDataType,
    /// The map it concerns.
    pub map: MapName,
    /// JSON text.
    pub data: Arc<str>,
    /// The lane it waits in.
    pub lane: Lane,
    /// Whether it is critical.
    pub critical: bool,
    /// The moment of the asking.
    pub asked: Instant,
    /// When a critical operation fails.
    pub deadline: Option<Instant>,
    /// By what the critical lane is ordered: the deadline counted from the asking.
    pub urgency: Instant,
    /// Its (map, type).
    pub key: KeyIndex,
    /// Counts the session's operations on that key, from 1.
    pub sequence: u64,
}

impl Operation {
    /// Whether a newer operation makes this one pointless before it was sent: both write the same state.
    pub fn is_replaced_by(&self, newer: &Self) -> bool {
        self.key == newer.key
            && self.data_type.nature() == Nature::State
            && self.kind == Kind::SyncTo
            && newer.kind == Kind::SyncTo
    }
}

/// How an accepted operation ends; each ends once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server did it. For `sync_from` with the payload: JSON text, or none when there is no state.
    Done(Option<Arc<str>>),
    /// The server refused it, and it had no effect.
    Rejected(Rejection),
    /// A critical operation had no result at its deadline; whether it took effect is not known.
    DeadlineExceeded,
    /// Every attempt failed; whether it took effect is not known.
    Failed(TransportError),
    /// A newer value of the same state took its place before it was sent.
    Superseded,
    /// A more urgent operation took its place in the full queue.
    Displaced,
    /// The session ended first; when it had been sent, whether it took effect is not known.
    ShutDown {
        /// Whether an attempt had been made.
        sent: bool,
    },
}

/// Why one attempt brought no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("the main server cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the main server did not answer in time")]
    TimedOut,
    /// An answer without a frame.
    #[error("the main server answered HTTP {0}")]
    Status(u16),
    /// A frame that is not authentic.
    #[error("the reply is not authentic")]
    Untrusted,
    /// A sealed refusal for the time on the request. An earlier copy of it may have been in time.
    #[error("the main server found the time on the request too far from its own: set this machine's clock")]
    Stale,
    /// Nothing was sent: TLS did not come about.
    #[error("no TLS with the main server: {0}")]
    Tls(TlsFault),
}

/// Why TLS did not come about with a server that can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsFault {
    /// No authority that is trusted stands behind the certificate.
    #[error("its certificate is of no authority that is trusted here")]
    UnknownAuthority,
    /// The certificate's time is over.
    #[error("its certificate has expired")]
    Expired,
    /// The certificate's time has not begun.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// The certificate is another server's.
    #[error("its certificate is not for the name or address in use")]
    WrongName,
    /// Anything else about the certificate.
    #[error("its certificate cannot be used")]
    Unusable,
    /// What answers is not TLS.
    #[error("it does not speak TLS at this address")]
    NotTls,
    /// The two sides did not agree on how to speak.
    #[error("the two sides could not agree on version, cipher or protocol")]
    NoAgreement,
}

impl TlsFault {
    /// What to do about it.
    pub const fn help(self) -> &'static str {
        match self {
            Self::UnknownAuthority => {
                "name the file with the authority's certificate in `tls_ca_file`, if it is to be trusted; \
                 the server's file must hold the whole chain"
            }
            Self::Expired => "renew it at the server, and see that this machine's clock is right",
            Self::NotYetValid => "see that this machine's clock is right, or wait",
            Self::WrongName => {
                "use an address that the certificate names, or have one made that names this address"
            }
            Self::Unusable => {
                "have a certificate made for a server (X.509 version 3, not an authority's own), signed with \
                 SHA-256 or better"
            }
            Self::NotTls => {
                "see that the port is right; a main server speaks TLS with `tls_certificate_file`, and without \
                 it plain HTTP to `http://127.0.0.1`"
            }
            Self::NoAgreement => "the server must speak TLS 1.2 or 1.3 and HTTP/1.1",
        }
    }
}

/// Why an operation was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskError {
    /// The queue is full of what is at least as urgent.
    #[error("the queue is full: {waiting} operations wait; raise max_queue_size or ask less often")]
    QueueFull {
        /// `max_queue_size`.
        waiting: usize,
    },
    /// The data text is larger than any server takes.
    #[error("{bytes} bytes of data: at most {max} are taken")]
    TooLarge {
        /// Size of the data.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The session is shutting down.
    #[error("the session is shutting down")]
    ShuttingDown,
}

#[cfg(test)]
pub(crate) fn test_operation(serial: u64, lane: Lane) -> Operation {
    use crate::id::{AccountId, Incarnation};
    Operation {
        serial,
        id: OperationId { account: AccountId(1), incarnation: Incarnation(1), counter: serial + 1 },
        ticket: serial,
        kind: Kind::SyncTo,
        data_type: SyncDataType::ChatMessage,
        map: MapName::new("m").expect("a valid name"),
        data: "{}".into(),
        lane,
        critical: lane == Lane::Critical,
        asked: Instant::from_us(serial),
        deadline: (lane == Lane::Critical).then(|| Instant::from_us(serial + 500)),
        urgency: Instant::from_us(serial + 500),
        key: KeyIndex(0),
        sequence: serial + 1,
    }
}
