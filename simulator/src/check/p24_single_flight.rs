//! P24: concurrent misses of one state cause one read of it at a main server.
//!
//! A read that comes while another of the same state is under way waits for that one, unless a write of the
//! state was answered since it began: who made that write must find it.

use rustc_hash::FxHashMap;

use super::{Basis, Check, Findings, Property};
use crate::history::{Event, Kind, OpRef, ReadStage, StateName, What};

#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    /// By server and state, the read that others are to wait for.
    under_way: FxHashMap<(u32, StateName), (OpRef, u32)>,
    reads: u64,
}

impl Check for SingleFlight {
    fn property(&self) -> Property {
        Property {
            id: "P24",
            name: "single flight",
            statement: "Concurrent misses of one state cause one read of it at a main server.",
            needs: &[Kind::Read, Kind::WriteAnswered, Kind::Node],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        match &event.what {
            What::Read { server, key, op, attempt, stage } => {
                let place = (*server, key.clone());
                match stage {
                    ReadStage::Began => {
                        self.reads += 1;
                        if let Some((first, _)) = self.under_way.insert(place, (*op, *attempt)) {
                            findings.add(event.at_us, Some(*op), || {
                                format!("a read of {key} for {op} began while one for {first} was under way")
                            });
                        }
                    }
                    ReadStage::Served | ReadStage::Loaded { .. } => {
                        if self.under_way.get(&place) == Some(&(*op, *attempt)) {
                            self.under_way.remove(&place);
                        }
                    }
                    ReadStage::Cached { .. } => {}
                }
            }
            What::WriteAnswered { server, key } => {
                self.under_way.remove(&(*server, key.clone()));
            }
            // What a server that died had under way is over.
            What::Crashed { node } if node.starts_with("main server") => self.under_way.clear(),
            _ => {}
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.reads, "reads that did not wait for another")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn read(server: u32, ticket: u64, stage: ReadStage) -> What {
        What::Read { server, key: "MAP_STATE/0/m".parse().unwrap(), op: op(ticket), attempt: 1, stage }
    }

    #[test]
    fn one_after_the_other_passes_and_so_do_two_servers() {
        let history = vec![
            read(0, 1, ReadStage::Began),
            read(1, 2, ReadStage::Began),
            read(0, 1, ReadStage::Loaded { version: None }),
            read(0, 3, ReadStage::Began),
            read(0, 3, ReadStage::Cached { version: 1 }),
            read(0, 3, ReadStage::Served),
            read(0, 4, ReadStage::Began),
            What::Crashed { node: "main server".to_owned() },
            read(0, 5, ReadStage::Began),
        ];
        passes(SingleFlight::default(), history);
    }

    #[test]
    fn a_read_after_an_answered_write_need_not_wait() {
        let written = What::WriteAnswered { server: 0, key: "MAP_STATE/0/m".parse().unwrap() };
        let history = vec![
            read(0, 1, ReadStage::Began),
            written,
            read(0, 2, ReadStage::Began),
            read(0, 1, ReadStage::Loaded { version: Some(1) }),
        ];
        passes(SingleFlight::default(), history.clone());
        // The first one's end is not the second one's.
        let third = [history, vec![read(0, 3, ReadStage::Began)]].concat();
        fails(SingleFlight::default(), third, "began while one for 0.2 was under way");
    }

    #[test]
    fn two_at_once_fail() {
        let history = vec![read(0, 1, ReadStage::Began), read(0, 2, ReadStage::Began)];
        fails(SingleFlight::default(), history, "began while one for 0.1 was under way");
    }
}
