//! What hosts were given when they read, held against the rows: that it was written, and that it was not out of date
//! for too long.

use rustc_hash::FxHashMap;
use sync_core::data_type::{Nature, SyncDataType};
use sync_core::id::AccountId;
use sync_core::store::StateKey;
use sync_core::wire::StatePayload;

use super::evidence::{Evidence, Quoted, Sighting, none};
use crate::history::{Event, OpRef, What};
use crate::run::Threshold;
use crate::virtual_rig::world::map_name;

/// Reads of states.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Those under way: the state, and when it was asked for, microseconds since the start of the run.
    open: FxHashMap<OpRef, (StateKey, u64)>,
    given: Vec<Given>,
}

/// A value that a host was given.
#[derive(Debug)]
struct Given {
    copy: Sighting,
    asked_us: u64,
}

impl Reads {
    /// Takes an event.
    pub(super) fn observe(&mut self, event: &Event) {
        match &event.what {
            What::Asked { op, writes: false, data_type, map, .. }
                if data_type.nature() == Nature::State && *data_type != SyncDataType::VectorEmbedding =>
            {
                let key = StateKey::new(*data_type, AccountId(op.host + 1), map_name(*map));
                self.open.insert(*op, (key, event.at_us));
            }
            What::Finished { op, .. } => {
                self.open.remove(op);
            }
            _ => {}
        }
    }

    /// A host was given this for what it asked. What is no value of a state is not looked at.
    pub(super) fn given(&mut self, op: OpRef, payload: &str) {
        let Some((key, asked_us)) = self.open.get(&op) else { return };
        let Ok(payload) = serde_json::from_str::<StatePayload<'_>>(payload) else { return };
        let copy = Sighting { key: key.clone(), version: payload.version, text: Quoted::read(&payload.data) };
        self.given.push(Given { copy, asked_us: *asked_us });
    }

    /// Holds it all against the rows. A value may have been replaced so long before it was asked for; not judged where
    /// the moments of commits are not known.
    pub(super) fn judge(
        &self,
        evidence: &Evidence,
        start_us: u64,
        stale_us_max: Option<u64>,
    ) -> Vec<Threshold> {
        let unwritten = self.given.iter().filter(|given| evidence.written(&given.copy).is_none());
        let mut judged = vec![none("values given to hosts that were never written", unwritten.count())];
        if let Some(bound_us) = stale_us_max {
            let stale = self.given.iter().filter(|Given { copy, asked_us }| {
                let replaced_us = evidence.committed_us(&copy.key, copy.version + 1);
                replaced_us.is_some_and(|us| us.saturating_add(bound_us) < start_us + asked_us)
            });
            let figure = "values given to hosts that were out of date for longer than allowed";
            judged.push(none(figure, stale.count()));
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::tests::{evidence, key, text};
    use super::*;
    use crate::verdict::Verdict;

    const READER: OpRef = OpRef { host: 0, ticket: 9 };

    /// Asked for at this moment, and given this version with the value of that operation.
    fn reads(asked_us: u64, version: u64, written_by: u64) -> Reads {
        let mut reads = Reads::default();
        let what = What::Asked {
            op: READER,
            intended_us: asked_us,
            critical: false,
            priority: false,
            writes: false,
            is_report: false,
            data_type: key().data_type,
            map: 0,
            value: None,
        };
        reads.observe(&Event { at_us: asked_us, what });
        let text = text(written_by);
        reads.given(READER, &StatePayload { version, data: (&*text).into() }.to_json());
        reads
    }

    fn verdicts(reads: &Reads, stale_us_max: u64) -> Vec<Verdict> {
        reads.judge(&evidence(), 1_000, Some(stale_us_max)).iter().map(|found| found.verdict).collect()
    }

    #[test]
    fn a_value_that_was_written_and_is_current_is_in_order() {
        assert_eq!(verdicts(&reads(50, 3, 3), 0), [Verdict::Pass, Verdict::Pass]);
    }

    #[test]
    fn a_value_that_nobody_wrote_in_that_version_is_told() {
        assert_eq!(verdicts(&reads(50, 3, 2), 0)[0], Verdict::Fail);
        assert_eq!(verdicts(&reads(50, 4, 3), 0)[0], Verdict::Fail);
    }

    #[test]
    fn a_value_that_was_replaced_too_long_ago_is_told() {
        // Version 3 took effect at 1,030, 20 before the question at 1,050.
        assert_eq!(verdicts(&reads(50, 2, 2), 19), [Verdict::Pass, Verdict::Fail]);
        assert_eq!(verdicts(&reads(50, 2, 2), 20), [Verdict::Pass, Verdict::Pass]);
    }
}
