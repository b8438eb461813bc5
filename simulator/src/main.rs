//! `p2psim`: simulator and load generator for peer-to-peer data synchronisation.

/// Runs of millions of operations allocate a little for each: this allocator is measurably faster at it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    simulator::cli::main()
}
