//! The live rig: the hosts of a scenario against real servers, over real HTTP, in real time.
//!
//! [`LiveRig`] carries plans out. The hosts are those of the virtual rig, draw for draw
//! ([`outside`](crate::virtual_rig::outside)); beyond their links everything is real:
//! [`Servers`] are PostgreSQL and Redis, in containers of this run or given by address;
//! [`FaultProxy`] lies between any two parts and disturbs what passes; [`Child`] is a part in a process
//! of its own, which can be killed. Whatever is started here ends with this process, however that ends:
//! children watch a pipe that the system closes then, and a [`janitor`] removes the containers.
//!
//! This module reads real clocks, draws from the system's randomness and leans on tokio; nothing of the
//! virtual rig depends on it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real servers live in real time")]

pub mod child;
mod container;
mod containers;
pub mod docker;
mod drive;
mod embedding_mock;
mod error;
mod evidence;
mod facts;
mod inside;
mod interrupts;
pub mod janitor;
pub mod leftovers;
pub mod limits;
pub(crate) mod node;
mod outlook;
pub mod parent;
mod peer_server;
pub(crate) mod peers;
mod planted;
mod postgres;
pub mod proxy;
mod reads;
mod redis;
pub mod rig;
mod run_id;
mod stage;
pub(crate) mod sync_proxy;
mod texts;
mod watch;

pub use child::Child;
pub use containers::{Servers, ServersOptions, Service, Versions};
pub use embedding_mock::{CALLS_KEPT, Call, Dialect, EmbeddingMock};
pub use error::{EXIT_UNKNOWN, LiveError};
pub use proxy::{Behaviour, FaultProxy, Flow, LinkSpec, LinkStatistics};
pub use rig::{LiveOptions, LiveRig, LiveRunError};
pub use run_id::{RunId, RunIdError};
