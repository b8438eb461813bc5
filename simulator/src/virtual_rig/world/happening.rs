//! What can happen in the world.

use sync_core::cache::{CacheError, CacheReply, Notice};
use sync_core::host_sync::operation::TransportError;
use sync_core::id::Token;
use sync_core::store::StoreReply;
use sync_core::time::Span;

use crate::history::Tampering;
use crate::virtual_rig::host::Route;
use crate::virtual_rig::proxy::Back;
use crate::virtual_rig::variant::{Modelled, Variant};

/// What can happen in the world.
pub(in crate::virtual_rig) enum Happening<V: Variant> {
    /// The next arrival of a stream.
    Arrive { stream: usize },
    /// A written-out arrival.
    Ask { number: usize },
    /// A fault begins.
    FaultBegins { place: usize },
    /// A fault ends.
    FaultEnds { place: usize },
    /// The new key of a rotation seals from now on, unless that is over.
    SwitchKeys,
    /// The workload and every fault are over.
    Heal,
    /// A request arrives.
    ToServer { route: Route, tampering: Option<Tampering>, request: V::Request },
    /// A request that the sync proxy has forwarded arrives.
    Forwarded { route: Route, life: u32, tampering: Option<Tampering>, request: V::Request },
    /// What a main server has for a host comes to the sync proxy.
    Back { route: Route, life: u32, back: Back<V> },
    /// An answer arrives.
    ToHost { route: Route, answer: Answer<V> },
    /// A request takes effect in the database.
    Commit { life: u32, store_life: u32, place: usize },
    /// The database's answer arrives.
    Stored { life: u32, store_life: u32, token: Token, answer: StoreReply },
    /// The database fails.
    StoreFails { life: u32, token: Token },
    /// A request takes effect in the cache.
    CacheRuns { life: u32, cache_life: u32, place: usize },
    /// The cache's answer arrives.
    Cached { life: u32, token: Token, answer: Result<CacheReply, CacheError> },
    /// A main server is told what the cache published, if the connection is still the same.
    Noticed { life: u32, connection: u32, notice: Box<Notice> },
    /// The cache is told what it missed.
    MakeUp,
    /// A host asks for critical updates once more.
    Poll { host: u32, life: u32 },
    /// Something may be due at what follows critical updates for a host.
    WakeSubscriber { host: u32 },
    /// Something is due at a request to the embedding provider.
    Provider { place: usize },
    /// Something may be due at a host.
    WakeHost { host: u32 },
    /// Something may be due at a main server.
    WakeServer { server: u8 },
}

/// Bytes of an event of a world with modelled frames, the message in it included.
pub const EVENT_BYTES: usize = size_of::<Happening<Modelled>>();

/// What comes back for an attempt.
pub(in crate::virtual_rig) enum Answer<V: Variant> {
    /// A frame.
    Frame { tampering: Option<Tampering>, blurred: bool, reply: V::Reply },
    /// None.
    Failure { error: TransportError, retry_after: Option<Span> },
}
