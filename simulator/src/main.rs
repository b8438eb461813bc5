//! `p2psim`: simulator and load generator for peer-to-peer data synchronisation.

/// Runs of millions of operations allocate a little for each: this allocator is measurably faster at it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay`, which the crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps what is freed: a run asks for as much again soon, and memory that was given back to the system comes back page by
/// page and cleared. A hundred peers' run has a tenth of the page faults (700 instead of 6,500) and no more memory.
/// `MIMALLOC_PURGE_DELAY` in the environment comes first.
#[allow(unsafe_code, reason = "the allocator has no other interface to its options")]
fn keep_freed_memory() {
    // SAFETY: an option may be set as long as there is one thread, and this one is the first. A number that is unknown to
    // the library is ignored by it.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) }
}

fn main() -> std::process::ExitCode {
    keep_freed_memory();
    simulator::cli::main()
}
