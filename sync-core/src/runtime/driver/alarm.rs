//! Rings when an engine wants to be woken.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer that is set again whenever the engine's next moment changes.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Rings at this moment and at no other.
    pub(super) fn set(&mut self, due: Option<Instant>) {
        if self.due == due {
            return;
        }
        self.due = due;
        let Some(due) = due else { return };
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(due),
            None => self.sleep = Some(Box::pin(sleep_until(due))),
        }
    }

    /// Waits for the moment; for ever when there is none. Has to be [`set`](Self::set) again after it rang.
    pub(super) async fn ring(&mut self) {
        match (&mut self.sleep, self.due) {
            (Some(sleep), Some(_)) => {
                sleep.as_mut().await;
                self.due = None;
            }
            _ => std::future::pending().await,
        }
    }
}
