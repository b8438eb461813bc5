//! Ctrl-C and SIGTERM: whatever is under way ends, and then everything that was started.

use std::future::Future;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::drive::Arrival;
use super::rig::LiveRunError;

/// Hears of signals, from its making on.
pub(super) struct Interrupts {
    heard: watch::Receiver<Option<u8>>,
    world: Arc<Mutex<Option<Sender<Arrival>>>>,
}

impl Interrupts {
    pub(super) fn new(runtime: &Handle) -> Self {
        let (tell, heard) = watch::channel(None);
        let world: Arc<Mutex<Option<Sender<Arrival>>>> = Arc::default();
        let to_world = Arc::clone(&world);
        runtime.spawn(async move {
            let Some(exit_code) = next_signal().await else { return };
            tell.send_replace(Some(exit_code));
            if let Some(world) = to_world.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = world.send(Arrival::Stop("interrupted".to_owned()));
            }
            // The second one ends the process at once; the janitor sees to the rest.
            if let Some(exit_code) = next_signal().await {
                std::process::exit(i32::from(exit_code));
            }
        });
        Self { heard, world }
    }

    /// Names the world to be stopped by a signal.
    pub(super) fn tell(&self, world: Option<Sender<Arrival>>) {
        *self.world.lock().unwrap_or_else(PoisonError::into_inner) = world;
    }

    /// Does some work, unless a signal comes first.
    pub(super) fn or<T>(&self, runtime: &Runtime, work: impl Future<Output = T>) -> Result<T, LiveRunError> {
        let mut heard = self.heard.clone();
        runtime.block_on(async {
            tokio::select! {
                biased;
                signal = heard.wait_for(Option::is_some) => match signal {
                    Ok(exit_code) => Err(interrupted(*exit_code)),
                    Err(_) => Err(interrupted(None)),
                },
                done = work => Ok(done),
            }
        })
    }

    /// Fails when a signal came.
    pub(super) fn check(&self) -> Result<(), LiveRunError> {
        match *self.heard.borrow() {
            None => Ok(()),
            heard => Err(interrupted(heard)),
        }
    }
}

fn interrupted(exit_code: Option<u8>) -> LiveRunError {
    LiveRunError::Interrupted { exit_code: exit_code.unwrap_or(INTERRUPTED) }
}

async fn next_signal() -> Option<u8> {
    let mut interrupt = signal(SignalKind::interrupt()).ok()?;
    let mut terminate = signal(SignalKind::terminate()).ok()?;
    tokio::select! {
        _ = interrupt.recv() => Some(INTERRUPTED),
        _ = terminate.recv() => Some(TERMINATED),
    }
}

/// 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;
/// 128 and the number of SIGTERM.
const TERMINATED: u8 = 143;
