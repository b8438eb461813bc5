//! What the live rig stands on: real servers, real sockets, real processes.
//!
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
mod error;
pub mod janitor;
pub mod leftovers;
pub mod limits;
pub mod parent;
mod postgres;
pub mod proxy;
mod redis;
mod run_id;

pub use child::Child;
pub use containers::{Servers, ServersOptions, Service, Versions};
pub use error::{EXIT_UNKNOWN, LiveError};
pub use proxy::{Behaviour, FaultProxy, Flow, LinkSpec, LinkStatistics};
pub use run_id::{RunId, RunIdError};
