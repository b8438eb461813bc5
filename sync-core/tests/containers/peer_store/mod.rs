//! The database of a peer on PostgreSQL: what is captured, what others read of it, and that it decides as the in-memory
//! store does.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "real servers live in real time; a seed is told"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod applications;
mod capture;
mod differential;
mod draw;
mod late_commits;
mod meeting;
mod met;
mod numbers;
mod refusals;
mod renamed;
mod requests;
mod support;
mod tables;
