//! Simulator and load generator: one scenario, any rig, the same checks.
//!
//! A [`scenario`] and a seed give a [`plan`]; a rig ([`virtual_rig`]) carries it out and reports
//! [`history`] events; [`check`]s fold over them and give verdicts.

pub mod arrivals;
mod by_rules;
pub mod canaries;
pub mod check;
pub mod cli;
pub mod distribution;
pub mod draw;
pub mod embedding;
pub mod history;
pub mod latency;
pub mod live_rig;
pub mod overload;
pub mod own_engine;
pub mod own_resolvers;
pub mod peer_figures;
pub mod peer_schema;
pub mod plan;
pub mod recorder;
pub mod recording;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seeds;
mod shell;
pub mod shrink;
pub mod sim;
pub mod timeline;
pub mod transactions;
pub mod verdict;
pub mod virtual_rig;
pub mod zoo;
