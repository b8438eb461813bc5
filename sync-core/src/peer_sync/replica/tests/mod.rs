//! Replicas over databases in memory.

mod convergence;
mod repair;
mod world;

use world::World;
