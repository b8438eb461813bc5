//! A resolver that is subtly wrong, how the laws find it, and what it takes to repair it.
//!
//! ```text
//! cargo run -p sync-core --features laws --example resolver_wrong
//! cargo run -p sync-core --features laws --example resolver_wrong -- scenario > counterexample.yaml
//! p2psim run counterexample.yaml
//! ```
//!
//! The first shows the writes that two peers never agree on and ends with 1, as it should; the second prints the same as a
//! scenario, in which `p2psim` sees the peers diverge.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example")]

use std::process::ExitCode;

use sync_core::peer_sync::laws;

use later_or_dearer::{later_or_dearer, later_or_dearer_repaired};

#[allow(unreachable_pub, reason = "the simulator has it, too")]
#[path = "resolvers/later_or_dearer.rs"]
mod later_or_dearer;

/// The name under which `p2psim` knows it.
const NAME: &str = "example-wrong";

laws::suite!(laws_of_the_repaired_one, later_or_dearer_repaired);

fn main() -> ExitCode {
    let table = laws::law_table();
    if let Err(counterexample) = laws::probe(&later_or_dearer_repaired, &table) {
        eprintln!("the repaired one is wrong, too: {counterexample}");
        return ExitCode::from(2);
    }
    let Err(counterexample) = laws::probe(&later_or_dearer, &table) else { return ExitCode::SUCCESS };
    if std::env::args().nth(1).as_deref() != Some("scenario") {
        println!("{counterexample}");
        return ExitCode::FAILURE;
    }
    match counterexample.to_scenario(NAME) {
        Ok(scenario) => {
            print!("{scenario}");
            ExitCode::SUCCESS
        }
        Err(cannot) => {
            eprintln!("{cannot}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_three_writes_show_it() {
        let found = laws::probe(&later_or_dearer, &laws::law_table()).unwrap_err();
        assert_eq!(found.law(), laws::Law::Commutative, "{found}");
        assert!(found.history.writes.len() <= 3, "{found}");
    }

    #[test]
    #[should_panic(expected = "law broken: it does not matter which side is local")]
    fn the_suites_find_it() {
        laws::hold(&later_or_dearer, &laws::law_table(), laws::Suite::Order);
    }
}
