//! Rules of links and services, and of how long these take.

use super::{HOUR, Rules, SHORTEST};
use crate::scenario::model::{Distribution, Link, Service, Tamper};
use crate::scenario::units::Length;

impl Rules<'_> {
    pub(super) fn link(&mut self, path: &str, link: &Link) {
        self.distribution(&format!("{path}.latency"), &link.latency);
        self.length(&format!("{path}.reorder_delay"), link.reorder_delay, Length::ZERO..=HOUR);
        self.length(&format!("{path}.replay_after"), link.replay_after, Length::ZERO..=HOUR);
        self.tampering(&format!("{path}.tamper_with"), &link.tamper_with);
        let (stranger, name, whose) = match path.ends_with("to_server") {
            true => (Tamper::SwapReply, "swap_reply", "`network.to_host`: there are replies"),
            false => {
                (Tamper::ChangeOuter, "change_outer", "`network.to_server`: a reply has no outer fields")
            }
        };
        if let Some(index) = link.tamper_with.iter().position(|how| *how == stranger) {
            let message = format!("`{name}` cannot be done on this way");
            self.refuse(&format!("{path}.tamper_with[{index}]"), message, format!("write it under {whose}"));
        }
    }

    pub(super) fn tampering(&mut self, path: &str, with: &[Tamper]) {
        if with.is_empty() {
            let help = "name at least one, as in `[flip_bit]`, or leave it out";
            self.refuse(path, "an empty list tampers with nothing", help);
        }
    }

    pub(super) fn service(&mut self, path: &str, service: &Service) {
        self.distribution(&format!("{path}.latency"), &service.latency);
        self.length(&format!("{path}.answer"), service.answer, Length::ZERO..=HOUR);
    }

    pub(super) fn distribution(&mut self, path: &str, distribution: &Distribution) {
        let delays = Length::ZERO..=HOUR;
        match distribution {
            Distribution::Constant(delay) => self.length(&format!("{path}.constant"), *delay, delays),
            Distribution::Uniform(u) => {
                self.length(&format!("{path}.uniform.max"), u.max, delays);
                self.order(path, ("uniform.min", u.min), ("uniform.max", u.max));
            }
            Distribution::Exponential(e) => {
                self.length(&format!("{path}.exponential.mean"), e.mean, SHORTEST..=HOUR);
            }
            Distribution::Lognormal(l) => {
                self.length(&format!("{path}.lognormal.median"), l.median, SHORTEST..=HOUR);
                self.length(&format!("{path}.lognormal.p99"), l.p99, delays);
                self.order(path, ("lognormal.median", l.median), ("lognormal.p99", l.p99));
            }
        }
    }
}
