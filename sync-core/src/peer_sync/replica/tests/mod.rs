//! Replicas over databases in memory.

mod convergence;
mod membership;
mod repair;
mod world;

use world::World;
