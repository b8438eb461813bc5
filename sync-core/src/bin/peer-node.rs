//! A peer with its own database: `peer-node --help`.

fn main() -> std::process::ExitCode {
    sync_core::runtime::peer_node::cli::main()
}
