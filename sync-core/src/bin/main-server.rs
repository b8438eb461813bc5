//! The main server: `main-server --help`.

fn main() -> std::process::ExitCode {
    sync_core::runtime::main_server::cli::main()
}
