//! Peers beside PostgreSQL's own logical replication: the same rows on the same servers in one run, as ratios.
//!
//! ```text
//! cargo bench -p sync-core --features container-tests,programs --bench peer_replication
//! ```
//!
//! Three PostgreSQL 17 servers in containers (with fsync, `wal_level=logical`), three `peer-node` processes, and links between
//! these that can be cut. What is compared takes turns, round by round, each in databases of its own; the median of the
//! rounds counts. Every measurement ends with a check that all rows are the same everywhere. Native replication is
//! bidirectional between all three (`origin = none`), without a word about conflicts. The floor is a COPY of the same
//! rows from memory to the two others at once.
//!
//! Bytes: of native replication all that leaves the containers, of peers all that passes between the nodes. Seconds of
//! processors: servers and nodes, without the benchmark itself.
//!
//! Ends with 1 when a bound is not kept. Optional arguments: rounds (3), rows of a bulk (100000), rows of a catch-up
//! (300000), single rows (300), rows of which digests are made (1000000).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "measures real time, and ends when something is not there"
)]

mod figures;
mod links;
mod local;
mod measure;
mod mesh;
#[path = "../../tests/runtime_support/mod.rs"]
mod runtime_support;
mod servers;

use std::process::ExitCode;

use figures::Figures;
use mesh::Mesh;
use servers::Servers;

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    rounds: u32,
    bulk: u32,
    catch_up: u32,
    singles: u32,
    digests: u32,
}

fn main() -> ExitCode {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let at = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let size = Size {
        rounds: at(0, 3),
        bulk: at(1, 100_000),
        catch_up: at(2, 300_000),
        singles: at(3, 300),
        digests: at(4, 1_000_000),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(size))
}

async fn run(size: Size) -> ExitCode {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{processors} processors for three servers, three nodes and the benchmark");
    let servers = Servers::start().await;
    let (mut native, mut peers, mut floor) = (Figures::default(), Figures::default(), Figures::default());
    for round in 0..size.rounds {
        let mut mesh = Mesh::native(&servers, &format!("native_{round}")).await;
        measure::all(&mut mesh, size, &mut native).await;
        mesh.end().await;
        let mut mesh = Mesh::peers(&servers, &format!("peers_{round}")).await;
        measure::all(&mut mesh, size, &mut peers).await;
        measure::cuts(&mut mesh, &mut peers).await;
        mesh.end().await;
        measure::floor(&servers, &format!("floor_{round}"), size, &mut floor).await;
        println!("round {} of {} done", round + 1, size.rounds);
    }
    local::capture(&servers, size, &mut floor, &mut peers).await;
    local::digests(&servers, size.digests).await;
    if figures::report(&native, &peers, &floor) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
