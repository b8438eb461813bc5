//! `p2psim` with a resolver of one's own, so that scenarios can name it: `policy: { custom: greatest }`.
//!
//! ```text
//! cargo run -p simulator --example own_program -- list --resolvers
//! cargo run -p simulator --example own_program -- run counterexample.yaml
//! ```

use std::process::ExitCode;

use simulator::cli::Program;
use sync_core::peer_sync::resolver::Resolution;
use sync_core::peer_sync::row::RowVersion;
use sync_core::peer_sync::schema::Table;

/// Wrong: the row with the greater content wins, whoever wrote later. The laws say so: a write loses against what its writer
/// had seen.
fn greatest(_: &Table, one: &RowVersion, other: &RowVersion) -> Resolution {
    if one.image >= other.image { Resolution::One } else { Resolution::Other }
}

fn main() -> ExitCode {
    Program::new().resolver("greatest", greatest).main()
}
