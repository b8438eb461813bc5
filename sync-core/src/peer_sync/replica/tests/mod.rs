//! Replicas over databases in memory.

mod convergence;
mod identity;
mod locks;
mod membership;
mod planted;
mod repair;
mod world;

use world::World;
