//! P28: while keys are replaced both open, only the new one seals, and a retired one opens nothing.
//!
//! A host that was told nothing of the new key goes on with the old one: it must be refused once that is retired,
//! and cannot open what is sealed with the new one. Without a message under a retired key nothing is decided.

use std::collections::BTreeSet;

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, Way, What};

#[derive(Default)]
pub(super) struct KeyRotation {
    seals: String,
    opens: BTreeSet<String>,
    left_behind: BTreeSet<u32>,
    steps: u64,
    /// Keys that were in use.
    known: BTreeSet<String>,
    /// Messages under a key that was in use and is no more, at somebody who knows that.
    retired: u64,
}

impl Check for KeyRotation {
    fn property(&self) -> Property {
        Property {
            id: "P28",
            name: "key rotation",
            statement: "While keys are replaced both open, only the new one seals, and a retired one opens nothing.",
            needs: &[Kind::Keys, Kind::Sealed, Kind::Opened],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Keys { seals, opens, left_behind } => {
                self.steps += 1;
                self.seals.clone_from(seals);
                self.opens = opens.iter().chain([seals]).cloned().collect();
                self.known.extend(self.opens.iter().cloned());
                self.left_behind = left_behind.iter().copied().collect();
            }
            What::Sealed { way, op, key, .. } if self.steps > 0 => {
                let knows_no_better = *way == Way::ToServer && self.left_behind.contains(&op.host);
                if *key != self.seals && !knows_no_better {
                    findings.add(event.at_us, Some(*op), || {
                        format!(
                            "a message ({way:?}, operation {op}) was sealed with `{key}`, not `{}`",
                            self.seals
                        )
                    });
                }
            }
            What::Opened { way, op, key, opened } if self.steps > 0 => {
                let in_use = self.opens.contains(key);
                if *way == Way::ToHost && self.left_behind.contains(&op.host) {
                    return;
                }
                self.retired += u64::from(!in_use && self.known.contains(key));
                if *opened && !in_use {
                    findings.add(event.at_us, Some(*op), || {
                        format!(
                            "a message ({way:?}, operation {op}) under the retired key `{key}` was opened"
                        )
                    });
                }
                if !opened && in_use {
                    findings.add(event.at_us, Some(*op), || {
                        format!(
                            "a message ({way:?}, operation {op}) under `{key}`, which is in use, was refused"
                        )
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let words = format!("messages under a retired key, in {} steps of rotations", self.steps);
        Basis::new(self.retired, &words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn keys(seals: &str, opens: &[&str], left_behind: &[u32]) -> What {
        let opens = opens.iter().map(|key| (*key).to_owned()).collect();
        What::Keys { seals: seals.to_owned(), opens, left_behind: left_behind.to_vec() }
    }

    fn sealed(key: &str) -> What {
        What::Sealed { way: Way::ToServer, op: op(1), key: key.to_owned(), iv: 1, iv_is_key: false }
    }

    fn opened(way: Way, key: &str, opened: bool) -> What {
        What::Opened { way, op: op(1), key: key.to_owned(), opened }
    }

    /// Announced, in use, the old one retired.
    fn rotation(left_behind: &[u32]) -> [What; 3] {
        [
            keys("old", &["new"], left_behind),
            keys("new", &["old"], left_behind),
            keys("new", &[], left_behind),
        ]
    }

    #[test]
    fn a_rotation_in_order_passes() {
        let [announced, in_use, retired] = rotation(&[]);
        let history = vec![
            sealed("old"),
            announced,
            sealed("old"),
            opened(Way::ToServer, "old", true),
            in_use,
            sealed("new"),
            opened(Way::ToServer, "old", true),
            opened(Way::ToHost, "new", true),
            retired,
            opened(Way::ToServer, "old", false),
            opened(Way::ToServer, "new", true),
        ];
        passes(KeyRotation::default(), history);
    }

    #[test]
    fn a_host_that_was_left_behind_is_refused() {
        let [announced, in_use, retired] = rotation(&[0]);
        let history = vec![
            announced,
            in_use,
            sealed("old"),
            opened(Way::ToHost, "new", false),
            retired,
            opened(Way::ToServer, "old", false),
        ];
        passes(KeyRotation::default(), history);
    }

    #[test]
    fn a_rotation_without_a_message_under_a_retired_key_decides_nothing() {
        let history = [
            vec![opened(Way::ToServer, "strange", false)],
            rotation(&[0]).to_vec(),
            vec![
                sealed("new"),
                opened(Way::ToServer, "new", true),
                opened(Way::ToServer, "strange", false),
                // It does not know that the old one was retired.
                opened(Way::ToHost, "old", true),
            ],
        ];
        decides_nothing(KeyRotation::default(), history.concat());
    }

    #[test]
    fn a_retired_key_that_opens_fails() {
        let history = [rotation(&[0]).to_vec(), vec![opened(Way::ToServer, "old", true)]].concat();
        fails(KeyRotation::default(), history, "under the retired key `old` was opened");
    }

    #[test]
    fn sealing_with_the_old_key_fails() {
        let [announced, in_use, _] = rotation(&[]);
        fails(KeyRotation::default(), vec![announced, in_use, sealed("old")], "was sealed with `old`");
    }

    #[test]
    fn refusing_a_key_in_use_fails() {
        let [announced, in_use, _] = rotation(&[]);
        let history = vec![announced, in_use, opened(Way::ToServer, "old", false)];
        fails(KeyRotation::default(), history, "which is in use, was refused");
    }
}
