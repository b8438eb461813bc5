//! Simulator and load generator: one scenario, any rig, the same checks.
pub mod scenario;
