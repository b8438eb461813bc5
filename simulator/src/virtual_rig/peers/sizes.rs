//! About how many bytes a message between peers takes, and how many rows it brings.

use sync_core::peer_sync::announcement::Announcement;
use sync_core::peer_sync::message::{PeerAnswer, PeerQuestion};
use sync_core::peer_sync::position::Frontier;
use sync_core::peer_sync::row::RowVersion;

/// Head of a request or an answer.
const HEAD: u64 = 200;
/// The names of an announcement's fields, and what UDP and IP put in front.
const DATAGRAM: u64 = 150;
/// One entry of a frontier, a digest, an entry of a leaf: names and numbers in JSON.
const ENTRY: u64 = 70;

/// Bytes and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Whether it belongs to a comparison of everything.
    pub(crate) reconcile: bool,
}

/// One datagram: JSON, without the head of a request.
pub(crate) fn of_announcement(announcement: &Announcement) -> Size {
    let peer = &announcement.peer;
    let texts = [peer.peer_id.as_str(), &peer.host, &peer.last_seen, &peer.api_version, &peer.status];
    plain(DATAGRAM + texts.iter().map(|text| text.len() as u64).sum::<u64>())
}

pub(crate) fn of_question(question: &PeerQuestion) -> Size {
    let size = match question {
        PeerQuestion::Hello(_) => Size::default(),
        PeerQuestion::Pull { frontier, .. } => plain(of_frontier(frontier) + ENTRY),
        PeerQuestion::Digests(parts) | PeerQuestion::Entries(parts) => comparing(16 * parts.len() as u64, 0),
        PeerQuestion::Rows(rows) => comparing(ENTRY * rows.len() as u64, 0),
        PeerQuestion::Push(rows) => comparing(of_rows(rows), rows.len() as u64),
        PeerQuestion::Notify(notice) => plain(of_frontier(&notice.frontier)),
    };
    Size { bytes: size.bytes + HEAD, ..size }
}

pub(crate) fn of_answer(answer: &PeerAnswer) -> Size {
    let size = match answer {
        PeerAnswer::Page(page) => {
            let frontier = page.frontier.as_ref().map_or(0, of_frontier);
            Size { bytes: of_rows(&page.rows) + frontier, rows: page.rows.len() as u64, reconcile: false }
        }
        PeerAnswer::Digests(digests) => comparing(24 * digests.len() as u64, 0),
        PeerAnswer::Entries(entries) => comparing(2 * ENTRY * entries.len() as u64, 0),
        PeerAnswer::Rows(rows) => comparing(of_rows(rows), rows.len() as u64),
        PeerAnswer::Pushed(outcomes) => comparing(16 * outcomes.len() as u64, 0),
        PeerAnswer::MustReconcile(_) => comparing(ENTRY, 0),
        PeerAnswer::Hello(_) | PeerAnswer::Noted | PeerAnswer::Busy | PeerAnswer::Refused(_) => {
            Size::default()
        }
    };
    Size { bytes: size.bytes + HEAD, ..size }
}

fn plain(bytes: u64) -> Size {
    Size { bytes, rows: 0, reconcile: false }
}

fn comparing(bytes: u64, rows: u64) -> Size {
    Size { bytes, rows, reconcile: true }
}

fn of_frontier(frontier: &Frontier) -> u64 {
    ENTRY * frontier.len() as u64
}

fn of_rows(rows: &[RowVersion]) -> u64 {
    rows.iter().map(|row| row.bytes() as u64).sum()
}
