//! The virtual rig: a deterministic world of hosts and a main server on the real engines.
//!
//! Needs no Docker and no network, and runs faster than real time. What it does not simulate is
//! listed in ARCHITECTURE.md.

pub mod clock;
mod faults;
mod given;
mod host;
pub mod kernel;
pub(crate) mod main_server;
pub(crate) mod manners;
pub mod modelled;
mod network;
mod notices;
pub mod outside;
pub mod peers;
mod pending;
pub(crate) mod provider;
mod proxy;
mod reads;
mod recorded;
pub mod rotation;
pub(crate) mod search;
pub(crate) mod services;
mod shaped;
mod subscriber;
mod tamper;
pub mod variant;
pub mod world;

use crate::history::Kind;
use crate::plan::{Action, Plan};
use crate::scenario::model::Injection;

/// What this rig can observe: everything.
pub const OBSERVABLE: &[Kind] = &Kind::ALL;

/// What a plan asks of this rig that it cannot do, if anything.
pub fn cannot(plan: &Plan) -> Option<&'static str> {
    plan.actions.iter().find_map(|action| match action {
        Action::Inject(_, fault) => match fault.inject {
            Injection::Connection(_) => Some("`inject: connection` needs real connections"),
            Injection::Freeze(_) => Some("`inject: freeze` needs real processes"),
            _ => None,
        },
        _ => None,
    })
}
