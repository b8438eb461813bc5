//! P9: monotonic reads: the version that a session sees of a row never goes back (Terry et al. 1994).
//!
//! Where one of two versions wins that need not be the greater one, only the vanishing of a row is judged. A session
//! at a peer whose disk was set back begins anew; how often that happened is reported.

use super::super::{Basis, Check, Findings, Property};
use super::PeerTerms;
use super::sessions::Sessions;
use crate::history::peers::PeerWhat;
use crate::history::{Event, Kind, What};

pub(super) struct MonotonicReads {
    sessions: Sessions,
    again: u64,
}

impl MonotonicReads {
    pub(super) fn new(terms: &PeerTerms) -> Self {
        Self { sessions: Sessions::new(terms), again: 0 }
    }
}

impl Check for MonotonicReads {
    fn property(&self) -> Property {
        Property {
            id: "P9",
            name: "monotonic reads",
            statement: "The version that a session sees of a row never goes back.",
            needs: &[Kind::PeerRead, Kind::PeerCommitted, Kind::Merged, Kind::Purged, Kind::PeerLife],
        }
    }

    fn observe(&mut self, event: &Event, findings: &mut Findings) {
        let What::Peer(what) = &event.what else { return };
        let PeerWhat::Read { op, session, rows } = what else { return self.sessions.observe(what) };
        let session = (op.host, *session);
        for seen in rows {
            self.again += u64::from(self.sessions.knows(session, seen));
            if let Some(before) = self.sessions.behind(session, seen) {
                findings.add(event.at_us, Some(*op), || {
                    let now = seen.version.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
                    let (row, (peer, session)) = (&seen.row, session);
                    format!("session {session} of peer {peer} sees {now} of {row} and had seen {before}")
                });
            }
            if let Some(version) = &seen.version {
                let row = self.sessions.names.number(&seen.row);
                self.sessions.keep(session, row, version.clone(), seen.visible.is_some());
            }
        }
    }

    fn finish(&mut self, _: &mut Findings) -> Basis {
        let back = match self.sessions.set_back {
            0 => String::new(),
            times => format!("; {times} times a peer's sessions began anew, its disk was set back"),
        };
        Basis::new(self.again, &format!("rows seen again by a session{back}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn check() -> MonotonicReads {
        MonotonicReads::new(&terms())
    }

    #[test]
    fn what_stays_or_grows_passes() {
        let history = vec![
            read(0, 1, vec![saw(1, v(3, "p1")), saw_nothing(2, None)]),
            read(0, 2, vec![saw(1, v(3, "p1")), saw(2, v(1, "p1"))]),
            read(0, 3, vec![saw(1, v(4, "p0"))]),
            read(1, 1, vec![saw(1, v(3, "p1"))]),
        ];
        assert_eq!(basis(check(), history.clone()), 2);
        passes(check(), history);
    }

    #[test]
    fn going_back_fails() {
        let history = vec![read(0, 1, vec![saw(1, v(4, "p0"))]), read(0, 2, vec![saw(1, v(3, "p1"))])];
        fails(check(), history, "session 0 of peer 0 sees 3.0@p1 of users(1) and had seen 4.0@p0");
    }

    #[test]
    fn a_row_may_vanish_only_as_a_purged_tombstone() {
        let purged = PeerWhat::Purged { node: 0, rows: 1 };
        let gone = read(0, 2, vec![saw_nothing(1, None)]);
        let lived = read(0, 1, vec![saw(1, v(4, "p0"))]);
        let deleted = merged(0, 1, vec![dead(beat(1, v(5, "p1")))]);
        fails(check(), vec![lived.clone(), gone.clone()], "sees nothing of users(1)");
        fails(check(), vec![lived.clone(), purged.clone(), gone.clone()], "sees nothing of users(1)");
        fails(check(), vec![lived.clone(), deleted.clone(), gone.clone()], "sees nothing of users(1)");
        passes(check(), vec![lived.clone(), deleted, purged, gone.clone()]);
        decides_nothing(check(), vec![lived, PeerWhat::Dropped { node: 0, rows: vec![row(1)] }, gone]);
    }

    #[test]
    fn sessions_begin_anew_where_a_disk_was_set_back() {
        let back = |node| PeerWhat::SetBack { node, holds: vec![] };
        let history = |node| {
            vec![read(0, 1, vec![saw(1, v(4, "p0"))]), back(node), read(0, 2, vec![saw(1, v(3, "p1"))])]
        };
        decides_nothing(check(), history(0));
        fails(check(), history(1), "had seen 4.0@p0");
    }
}
