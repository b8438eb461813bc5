//! How many files and sockets this process may hold open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a run of 10,000 hosts needs with some to spare.
pub const OPEN_FILES_WANTED: u64 = 20_000;

/// The present limit; `None` for none.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the limit as far as it may be raised without special rights, and returns it; `None` for none.
pub fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // A system that refuses leaves the limit as it was, which is what is returned then.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    open_files()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_the_limit_never_lowers_it() {
        let before = open_files();
        let after = raise_open_files();
        assert!(
            after.is_none() || before.is_some_and(|before| after >= Some(before)),
            "{before:?} {after:?}"
        );
    }
}
