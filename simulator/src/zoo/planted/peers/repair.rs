//! Comparisons and wires that do not see, or make, a difference.

use sync_core::peer_sync::content::Content;
use sync_core::peer_sync::message::PeerAnswer;
use sync_core::peer_sync::replica::ReplicaPolicy;
use sync_core::peer_sync::row::{Image, RowVersion};
use sync_core::peer_sync::store::memory::MemoryPeerStore;
use sync_core::peer_sync::store::{Outcome, PeerReply, PeerRequest, Unsound};
use sync_core::time::Timestamp;

use super::batches::merge_but;
use crate::virtual_rig::peers::{AnyPolicy, AnyVariant, PeerVariant};

pub(super) fn variant(number: u32) -> Option<AnyVariant> {
    match number {
        26 => Some(Box::new(StampsOnly)),
        27 => Some(Box::new(UnorderedJson)),
        28 => Some(Box::new(OneWay)),
        29 => Some(Box::new(ShortFloats)),
        146 => Some(Box::new(ClaimsUnsound)),
        _ => None,
    }
}

/// Zoo 26: comparisons see stamps, and nothing computes a hash anew: what a disk has damaged stays.
struct StampsOnly;

impl PeerVariant for StampsOnly {
    type Policy = AnyPolicy;

    fn policy(&self, _peer: u32) -> AnyPolicy {
        Box::new(Self)
    }
}

impl ReplicaPolicy for StampsOnly {
    fn scrubs(&self) -> bool {
        false
    }
}

/// Zoo 27: each peer writes the keys of a JSON object in the order of its own map, and hashes that text.
struct UnorderedJson;

impl PeerVariant for UnorderedJson {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        mut request: PeerRequest,
    ) -> PeerReply {
        if let PeerRequest::Merge(merge) = &mut request {
            for row in &mut merge.rows {
                write_anew(row, |text| json_in_order_of(peer, text));
            }
        }
        store.execute(now, request)
    }
}

/// A JSON object with its keys in the order that a peer's map has them: from the first or from the last.
fn json_in_order_of(peer: u32, text: &str) -> Option<String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let mut members: Vec<String> = object
        .iter()
        .map(|(key, value)| format!("{}: {value}", serde_json::Value::from(key.as_str())))
        .collect();
    members.sort();
    if !peer.is_multiple_of(2) {
        members.reverse();
    }
    Some(format!("{{{}}}", members.join(", ")))
}

/// Zoo 28: one peer alone compares, and gives the others nothing of what it finds them to lack.
struct OneWay;

impl PeerVariant for OneWay {
    type Policy = AnyPolicy;

    fn policy(&self, peer: u32) -> AnyPolicy {
        Box::new(OneWayPolicy { compares: peer == 0 })
    }
}

struct OneWayPolicy {
    compares: bool,
}

impl ReplicaPolicy for OneWayPolicy {
    fn compares(&self) -> bool {
        self.compares
    }

    fn pushes(&self) -> bool {
        false
    }
}

const REFUSED: Outcome = Outcome::Unsound(Unsound::Hash);

/// Zoo 146: what is damaged on its way, or where it comes from, is refused, and counts as read all the same.
struct ClaimsUnsound;

impl PeerVariant for ClaimsUnsound {
    type Policy = AnyPolicy;

    fn executes(
        &mut self,
        _peer: u32,
        store: &mut MemoryPeerStore,
        now: Timestamp,
        request: PeerRequest,
    ) -> PeerReply {
        let PeerRequest::Merge(merge) = request else { return store.execute(now, request) };
        merge_but(store, now, merge, |_, row| (!row.is_sound()).then_some(REFUSED))
    }

    fn store_answers(&mut self, _peer: u32, _request: &PeerRequest, reply: &mut PeerReply) {
        if let PeerReply::Merged(merged) = reply {
            let refused = merged.outcomes.iter_mut().filter(|outcome| **outcome == REFUSED);
            refused.for_each(|outcome| *outcome = Outcome::Equal);
        }
    }
}

/// Zoo 29: numbers travel as floats of 32 bits.
struct ShortFloats;

impl PeerVariant for ShortFloats {
    type Policy = AnyPolicy;

    fn answers(&mut self, _from: u32, _to: u32, _store: &MemoryPeerStore, answer: &mut PeerAnswer) {
        if let PeerAnswer::Page(page) = answer {
            for row in &mut page.rows {
                write_anew(row, |text| {
                    let fraction = text.contains('.').then(|| text.parse::<f32>().ok())?;
                    fraction.map(|number| number.to_string())
                });
            }
        }
    }
}

/// Writes texts of a living row in another form, where there is one, and makes its hash anew.
fn write_anew(row: &mut RowVersion, form: impl Fn(&str) -> Option<String>) {
    let Image::Row(content) = &row.image else { return };
    let texts: Vec<Option<String>> = content
        .columns()
        .map(|text| text.map(|text| form(text).unwrap_or_else(|| text.to_owned())))
        .collect();
    row.image = Image::Row(Content::new(texts.iter().map(Option::as_deref)));
    row.version.hash = row.image.hash_with(&row.extra);
}
