//! How a session ends: what has not ended when the drain is over is cut short.

use super::{Session, SessionEffect};
use crate::entropy::Entropy;
use crate::host_sync::codec::HostCodec;
use crate::host_sync::operation::Outcome;
use crate::host_sync::policy::SessionPolicy;
use crate::time::Now;

impl<C: HostCodec, E: Entropy, P: SessionPolicy> Session<C, E, P> {
    pub(super) fn cut_short(&mut self, now: Now, effects: &mut Vec<SessionEffect<C::Request>>) {
        let mut cut = 0;
        while !self.under_way.is_empty() {
            self.end(now, 0, Outcome::ShutDown { sent: true }, effects);
            cut += 1;
        }
        let report = self.report.take().map(|report| *report);
        for operation in report.into_iter().chain(self.queue.drain()) {
            if self.policy.reports_shut_down() {
                self.finish(now, operation, Outcome::ShutDown { sent: false }, effects);
                cut += 1;
            }
        }
        self.stop(cut, effects);
    }

    fn stop(&mut self, cut_short: usize, effects: &mut Vec<SessionEffect<C::Request>>) {
        if !self.stopped {
            self.stopped = true;
            effects.push(SessionEffect::Stopped { cut_short });
        }
    }

    pub(super) fn stop_when_drained(&mut self, effects: &mut Vec<SessionEffect<C::Request>>) {
        if self.drain_until.is_some()
            && self.under_way.is_empty()
            && self.queue.is_empty()
            && self.report.is_none()
        {
            self.stop(0, effects);
        }
    }
}
