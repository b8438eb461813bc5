//! A fault proxy: TCP links that can be slowed, held, cut and damaged, in a process of its own.
//!
//! Every [`LinkSpec`] becomes a listening address; what connects there is connected on to the link's
//! upstream address. What happens to the bytes is a [`Behaviour`], which may be changed at any time and
//! counts for open connections as well; [`FaultProxy::cut`] and [`FaultProxy::reset`] end connections.
//!
//! A delay does not limit throughput: bytes carry the moment at which they are due and are read on
//! meanwhile, up to a bound past which the sender is held up as by a full window. Order is kept within a
//! connection and direction. Latencies are draws of the run's seed, keyed by link, connection, direction and
//! the chunk's ordinal, and damage by the byte's position: faults follow the seed as far as connections come
//! in the same order and, for latencies, bytes come in the same chunks.
//!
//! Not simulated: the kernel answers the opening of a connection itself, so that neither latency nor
//! `refuse_new` touches it (a refused connection is opened and reset at once); the window that the sender
//! sees is this machine's. Timing is to the millisecond.

mod connection;
mod control;
mod flow;
mod link;
mod model;
mod service;

pub use control::FaultProxy;
pub use model::{Behaviour, Flow, LinkSpec, LinkStatistics};
pub use service::serve;
