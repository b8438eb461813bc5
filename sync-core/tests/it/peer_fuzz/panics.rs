//! Panics that a server would survive: those of tasks, which nobody is told of.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::fuzz_support::THREAD;

/// By the name of the thread, which those that work for it share.
static SEEN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Notes from now on every panic in a thread of a fuzzer, and prints all others as before.
pub(super) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match own_name() {
            Some(name) => seen().push((name, info.to_string())),
            None => before(info),
        }));
    });
}

/// Takes out what was noted of this thread's fuzzer, the last one first.
pub(super) fn take() -> Option<String> {
    let name = own_name()?;
    let mut seen = seen();
    let taken = seen.iter().rev().find(|(thread, _)| *thread == name).map(|(_, panic)| panic.clone());
    seen.retain(|(thread, _)| *thread != name);
    taken
}

fn own_name() -> Option<String> {
    std::thread::current().name().filter(|name| name.starts_with(THREAD)).map(str::to_owned)
}

fn seen() -> MutexGuard<'static, Vec<(String, String)>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}
