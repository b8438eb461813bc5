//! P6: no phantom and no duplicate: what peers merge, show and hold was written by a recorded transaction, once.
//!
//! A version is known by its stamp, node and content hash, so a row that was altered on its way, or stored
//! otherwise than it came, is a phantom. In the end the hash over what is really stored must be the carried one.

use std::collections::BTreeMap;

use sync_core::peer_sync::row::RowId;
use sync_core::peer_sync::version::Version;

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::held::{Names, Rule};
use super::recorded::{Known, Recorded, Write};
use crate::history::peers::{FinalState, HeldRow, MergeOutcome, PeerWhat, Seen};
use crate::history::{Event, Kind, What};

pub(super) struct NoPhantom {
    names: Names,
    recorded: Recorded,
    /// Peers that are told of in the end, by row.
    told: BTreeMap<RowId, Vec<u32>>,
    judged: u64,
}

impl NoPhantom {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        let (names, recorded) = (Names::new(terms), Recorded::new(terms));
        Self { names, recorded, told: BTreeMap::new(), judged: 0 }
    }

    fn record(&mut self, row: &RowId, write: Write) {
        let row = self.names.number(row);
        self.recorded.add(row, write);
    }

    /// What is wrong with a version, if anything. `deleted` is what it is taken for, where that is known.
    fn wrong(&mut self, row: &RowId, version: &Version, deleted: Option<bool>) -> Option<String> {
        self.judged += 1;
        let number = self.names.number(row);
        let rule = self.names.rule(number);
        match self.recorded.find(number, rule, version) {
            Known::Never => Some(format!("{row} {version} ({}), which no transaction wrote", version.hash)),
            Known::Written(write)
                if rule != Rule::Joins && deleted.is_some_and(|deleted| deleted != write.deleted) =>
            {
                let (is, was) =
                    if write.deleted { ("a row", "a tombstone") } else { ("a tombstone", "a row") };
                Some(format!("{row} {version} as {is}, which was written as {was}"))
            }
            Known::Written(_) | Known::Older => None,
        }
    }

    fn seen(&mut self, seen: &Seen) -> Option<String> {
        if let Some(version) = &seen.version
            && let Some(wrong) = self.wrong(&seen.row, version, None)
        {
            return Some(wrong);
        }
        let number = self.names.number(&seen.row);
        let content = seen.visible.filter(|_| self.names.rule(number) != Rule::Joins)?;
        let unknown = !self.recorded.may_hold(number, self.names.rule(number), content);
        unknown.then(|| format!("{} with content {content}, which no transaction wrote", seen.row))
    }

    fn ends(&mut self, row: &RowId, state: &FinalState) -> Option<String> {
        if let Some(wrong) = self.wrong(row, &state.version, Some(state.deleted)) {
            return Some(wrong);
        }
        if state.content != state.version.hash {
            return Some(format!(
                "{row} {} with content {}, and carries {}",
                state.version, state.content, state.version.hash
            ));
        }
        self.seen(&Seen { row: row.clone(), version: None, visible: state.visible })
    }
}

impl Check for NoPhantom {
    fn property(&self) -> Property {
        Property {
            id: "P6",
            name: "no phantom and no duplicate",
            statement: "Every version and content that is merged, read or held was written by a recorded transaction, and is there once.",
            needs: &[Kind::PeerCommitted, Kind::PeerRead, Kind::Merged, Kind::PeerLife, Kind::FinalRow],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            // What a copy holds was seen when it came there.
            PeerWhat::Stocked { rows } | PeerWhat::SetBack { holds: rows, .. } => {
                for HeldRow { row, version, deleted } in rows {
                    self.record(
                        row,
                        Write { version: version.clone(), deleted: *deleted, content: None, op: None },
                    );
                }
            }
            PeerWhat::Committed { op, writes, .. } => {
                for write in writes {
                    let (version, deleted, content) = (write.version.clone(), write.deleted, write.content);
                    self.record(&write.row, Write { version, deleted, content, op: Some(*op) });
                }
            }
            PeerWhat::Merged { node, from, rows, .. } => {
                for merged in rows.iter().filter(|merged| merged.outcome != MergeOutcome::Unsound) {
                    let came = self.wrong(&merged.row, &merged.version, Some(merged.deleted));
                    let holds = merged.holds.as_ref().filter(|holds| **holds != merged.version);
                    if let Some(wrong) = came {
                        findings.add(event.at_us, None, || format!("peer {node} got of peer {from} {wrong}"));
                    } else if let Some(wrong) = holds.and_then(|holds| self.wrong(&merged.row, holds, None)) {
                        findings.add(event.at_us, None, || format!("peer {node} made of it {wrong}"));
                    }
                }
            }
            PeerWhat::Read { op, rows, .. } => {
                for seen in rows {
                    if let Some(wrong) = self.seen(seen) {
                        findings.add(event.at_us, Some(*op), || format!("{op} saw {wrong}"));
                    }
                }
            }
            PeerWhat::FinalRow { row, nodes, holds } => {
                let told = self.told.entry(row.clone()).or_default();
                if let Some(twice) = nodes.iter().find(|node| told.contains(node)) {
                    findings.add(event.at_us, None, || format!("peer {twice} holds {row} twice"));
                }
                told.extend(nodes);
                if let Some(wrong) = holds.as_ref().and_then(|state| self.ends(row, state)) {
                    findings
                        .add(event.at_us, None, || format!("peer {} ends with {wrong}", super::list(nodes)));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.judged, "versions traced to the transactions that wrote them")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> NoPhantom {
        NoPhantom::new(&terms())
    }

    fn then(rest: PeerWhat) -> Vec<PeerWhat> {
        vec![stocked(vec![(2, v(1, "a"))]), committed(0, 1, 1, vec![write(1, v(5, "p0"), None)]), rest]
    }

    #[test]
    fn what_was_written_passes() {
        passes(check(), then(merged(1, 0, vec![took(1, v(5, "p0"))])));
        passes(check(), then(read(0, 2, vec![saw(1, v(5, "p0")), saw(2, v(1, "a")), saw_nothing(3, None)])));
        passes(check(), then(ends(1, &[0, 1, 2], lives(v(5, "p0")))));
        assert_eq!(basis(check(), then(ends(1, &[0, 1, 2], lives(v(5, "p0"))))), 1);
    }

    #[test]
    fn a_version_that_nobody_wrote_fails() {
        let altered = Version { hash: no_hash(), ..v(5, "p0") };
        fails(check(), then(merged(1, 0, vec![took(1, v(6, "p0"))])), "peer 1 got of peer 0 users(1) 6.0@p0");
        fails(check(), then(merged(1, 0, vec![took(1, altered.clone())])), "which no transaction wrote");
        let made = came(1, v(5, "p0"), MergeOutcome::Updated, Some(altered.clone()));
        fails(check(), then(merged(1, 0, vec![made])), "peer 1 made of it");
        fails(check(), then(read(0, 2, vec![saw(1, altered.clone())])), "0.2 saw users(1)");
        fails(check(), then(ends(1, &[0], lives(altered))), "peer 0 ends with users(1)");
    }

    #[test]
    fn content_that_nobody_wrote_fails() {
        let seen = Seen { visible: Some(no_hash()), ..saw(1, v(5, "p0")) };
        fails(check(), then(read(0, 2, vec![seen])), "with content eeee");
        let corrupt = lives(v(5, "p0")).map(|state| FinalState { content: no_hash(), ..state });
        fails(check(), then(ends(1, &[0], corrupt)), "and carries");
    }

    #[test]
    fn a_row_that_became_a_tombstone_on_its_way_fails() {
        fails(check(), then(merged(1, 0, vec![dead(took(1, v(5, "p0")))])), "which was written as a row");
    }

    #[test]
    fn a_row_that_is_there_twice_fails() {
        let mut history = then(ends(1, &[0, 1], lives(v(5, "p0"))));
        history.push(ends(1, &[1, 2], None));
        fails(check(), history, "peer 1 holds users(1) twice");
    }
}
