//! P10: read your writes: a session reads what it wrote, or what beats it (Terry et al. 1994).
//!
//! A transaction that committed counts, even if its application never learnt of that.

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::sessions::Sessions;
use crate::history::peers::PeerWhat;
use crate::history::{Event, Kind, What};

pub(super) struct OwnWrites {
    sessions: Sessions,
    read: u64,
}

impl OwnWrites {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { sessions: Sessions::new(terms), read: 0 }
    }
}

impl Check for OwnWrites {
    fn property(&self) -> Property {
        Property {
            id: "P10",
            name: "read your writes",
            statement: "A session reads its own write of a row, or one that beats it.",
            needs: &[Kind::PeerRead, Kind::PeerCommitted, Kind::Merged, Kind::Purged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        match what {
            PeerWhat::Committed { op, session, writes, .. } => {
                self.sessions.observe(what);
                for write in writes {
                    let row = self.sessions.names.number(&write.row);
                    self.sessions.keep((op.host, *session), row, write.version.clone(), !write.deleted);
                }
            }
            PeerWhat::Read { op, session, rows } => {
                for seen in rows {
                    let who = (op.host, *session);
                    self.read += u64::from(self.sessions.knows(who, seen));
                    if let Some(own) = self.sessions.behind(who, seen) {
                        findings.add(event.at_us, Some(*op), || {
                            let now = seen
                                .version
                                .as_ref()
                                .map_or_else(|| "nothing".to_owned(), ToString::to_string);
                            let (row, (peer, session)) = (&seen.row, who);
                            format!(
                                "session {session} of peer {peer} sees {now} of {row} and had written {own}"
                            )
                        });
                    }
                }
            }
            _ => self.sessions.observe(what),
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        Basis::new(self.read, "own writes looked for by reads")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> OwnWrites {
        OwnWrites::new(&terms())
    }

    fn then(rest: PeerWhat) -> Vec<PeerWhat> {
        vec![committed(0, 1, 1, vec![write(1, v(4, "p0"), None)]), rest]
    }

    #[test]
    fn the_own_write_or_what_beats_it_passes() {
        passes(check(), then(read(0, 2, vec![saw(1, v(4, "p0"))])));
        passes(check(), then(read(0, 2, vec![saw(1, v(5, "p1"))])));
        decides_nothing(check(), then(read(1, 2, vec![saw_nothing(1, None)])));
        assert_eq!(basis(check(), then(read(0, 2, vec![saw(1, v(4, "p0"))]))), 1);
        assert_eq!(basis(check(), then(read(1, 2, vec![saw_nothing(1, None)]))), 0, "another's");
    }

    #[test]
    fn an_older_version_or_none_fails() {
        fails(
            check(),
            then(read(0, 2, vec![saw(1, v(3, "p1"))])),
            "sees 3.0@p1 of users(1) and had written 4.0@p0",
        );
        fails(check(), then(read(0, 2, vec![saw_nothing(1, None)])), "sees nothing of users(1)");
    }
}
