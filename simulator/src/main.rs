//! `p2psim`: simulator and load generator for peer-to-peer data synchronisation.

fn main() -> std::process::ExitCode {
    simulator::cli::main()
}
