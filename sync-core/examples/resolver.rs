//! A team's own resolver: a best score never falls, everything else goes by the last writer.
//!
//! ```text
//! cargo test -p sync-core --features laws --example resolver
//! cargo run -p sync-core --features laws --example resolver
//! ```
//!
//! The first holds it to the laws with proptest, which takes one line below; the second tries it as a peer does at start.

#![allow(clippy::print_stdout, reason = "an example")]

use std::process::ExitCode;

use sync_core::peer_sync::laws;

use best_score::BestScore;

#[allow(unreachable_pub, reason = "the simulator has it, too")]
#[path = "resolvers/best_score.rs"]
mod best_score;

laws::suite!(laws_of_best_score, BestScore);

fn main() -> ExitCode {
    match laws::probe(&BestScore, &laws::law_table()) {
        Ok(()) => {
            println!("no law was seen to be broken");
            ExitCode::SUCCESS
        }
        Err(counterexample) => {
            println!("{counterexample}");
            ExitCode::FAILURE
        }
    }
}
