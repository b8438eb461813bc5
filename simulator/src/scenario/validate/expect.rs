//! Rules of what a scenario expects.

use std::collections::BTreeSet;

use super::{DAY, PROPERTIES, Rules, SHORTEST, listed};
use crate::scenario::model::Scenario;

impl Rules<'_> {
    pub(super) fn expect(&mut self, s: &Scenario) {
        let known = if self.among_peers { super::peers::known_properties() } else { PROPERTIES.to_vec() };
        let mut seen = BTreeSet::new();
        for (index, id) in s.expect.properties.iter().enumerate() {
            let path = format!("expect.properties[{index}]");
            if !known.contains(&id.as_str()) {
                let all = listed(&known);
                let help = match known.iter().find(|p| p.eq_ignore_ascii_case(id)) {
                    Some(near) => format!("did you mean `{near}`? the properties are {all}"),
                    None => format!("the properties are {all}"),
                };
                let elsewhere =
                    if self.among_peers { PROPERTIES.to_vec() } else { super::peers::known_properties() };
                let message = match elsewhere.contains(&id.as_str()) {
                    true if self.among_peers => {
                        format!("`{id}` is a property of hosts and main servers, not of peers")
                    }
                    true => {
                        format!("`{id}` is a property of worlds of `peers`, not of hosts and main servers")
                    }
                    false => format!("there is no property `{}`", id.escape_debug()),
                };
                self.refuse(&path, message, help);
            } else if !seen.insert(id.as_str()) {
                self.refuse(&path, format!("`{id}` is demanded twice"), "remove one of the two");
            }
            let (bound, example) = match id.as_str() {
                "P20" => (s.expect.critical_blocking_max.is_some(), "critical_blocking_max: 200ms"),
                "P22" => (s.expect.recovery.is_some(), "recovery: { overload_ends: 6s, within: 3s }"),
                _ => (true, ""),
            };
            if !bound {
                let message = format!("`{id}` needs a bound that only the scenario can state");
                self.refuse(&path, message, format!("add it to `expect`, as in `{example}`"));
            }
        }
        if s.expect.primaries_lost_max.is_some() && !s.expect.properties.iter().any(|id| id == "P31") {
            let help = "demand P31 in `expect.properties`, or remove the bound";
            self.refuse("expect.primaries_lost_max", "only P31 counts who loses a map", help);
        }
        if let Some(bounds) = &s.expect.provider {
            let path = "expect.provider";
            if !self.embeds {
                self.provider(path, "there is no embedding provider");
            }
            let pairs = [
                ("calls", bounds.calls_min, bounds.calls_max),
                ("failed", bounds.failed_min, bounds.failed_max),
            ];
            for (of, min, max) in pairs {
                if let (Some(min), Some(max)) = (min, max)
                    && min > max
                {
                    let message = format!("`{of}_max` is {max}, less than `{of}_min`, which is {min}");
                    self.refuse(&format!("{path}.{of}_max"), message, format!("write at least {min}"));
                }
            }
            if pairs.iter().all(|(_, min, max)| min.is_none() && max.is_none()) {
                self.refuse(path, "no bound is stated", "write one, as in `provider: { calls_min: 10 }`");
            }
        }
        if let Some(recovery) = &s.expect.recovery {
            self.moment("expect.recovery.overload_ends", recovery.overload_ends);
            let from = recovery.overload_ends.as_us().saturating_add(recovery.within.as_us());
            if from >= self.duration.as_us() {
                let help = format!(
                    "make `duration`, which is {}, longer than `overload_ends` and `within` together",
                    self.duration
                );
                self.refuse("expect.recovery.within", "nothing is left to judge the recovery by", help);
            }
            self.length("expect.recovery.latency_max", recovery.latency_max, SHORTEST..=DAY);
        }
        if let Some(overload) = &s.expect.overload {
            self.moment("expect.overload.from", overload.from);
            self.moment("expect.overload.until", overload.until);
            if overload.until.as_us() < overload.from.as_us().saturating_add(SECOND_US) {
                let help =
                    "let it end at least a second after `from`: what is answered in the best second counts";
                self.refuse("expect.overload.until", "the overload is too short to be measured", help);
            }
            self.range("expect.overload.factor_min", overload.factor_min, 1..=1_000);
        }
    }
}

/// What an overload is measured by.
const SECOND_US: u64 = 1_000_000;
