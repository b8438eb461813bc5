//! A resolver that is subtly wrong, and how the laws find it.
//!
//! ```text
//! cargo run -p sync-core --features laws --example resolver_wrong
//! ```
//!
//! The later write wins; of writes at the same moment the one with the greater amount. That reads well, and two
//! peers diverge for ever: amounts can be equal as well, `0.1` and `0.10` among them, and then each peer keeps the side
//! that it names first, which is its own. Ends with 1, as it should.

#![allow(clippy::print_stdout, reason = "an example")]

use std::process::ExitCode;

use sync_core::peer_sync::laws;
use sync_core::peer_sync::resolver::Resolution;
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::schema::Table;

/// A plain function is a resolver, too.
fn later_or_dearer(table: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
    let amount = |row: &RowVersion| -> f64 {
        let text = table.place("amount").and_then(|place| row.image.content()?.column(place));
        text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    let keeps_one = if one.version.stamp == other.version.stamp {
        amount(one) >= amount(other)
    } else {
        one.version.stamp > other.version.stamp
    };
    if keeps_one { Resolution::One } else { Resolution::Other }
}

fn main() -> ExitCode {
    match laws::probe(&later_or_dearer, &laws::law_table()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(counterexample) => {
            println!("{counterexample}");
            ExitCode::FAILURE
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
