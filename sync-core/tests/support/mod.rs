//! What the tests of the two engines share: a codec without a cipher, draws that depend on nothing
//! but what they are for, and small builders.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod host;
pub(crate) mod ledger;
pub(crate) mod main_server;

use sync_core::data_type::SyncDataType;
use sync_core::entropy::{Entropy, Purpose};
use sync_core::envelope::Form;
use sync_core::host_sync::codec::{HostCodec, OpenError, Opened, ServerCodec, Untrusted};
use sync_core::host_sync::operation::Ask;
use sync_core::id::{AccountId, Incarnation, MapName, OperationId};
use sync_core::time::{Instant, Now, Timestamp};
use sync_core::wire::{Kind, Reply, Request};

/// Seals nothing: messages pass through, with a mark that makes one unreadable.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain;

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainRequest {
    pub(crate) request: Request,
    pub(crate) iv: [u8; 16],
    /// Why the server will not open it.
    pub(crate) fault: Option<OpenError>,
}

/// A reply on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainReply {
    pub(crate) reply: Reply,
    pub(crate) critical: bool,
    pub(crate) iv: [u8; 16],
    pub(crate) trusted: bool,
}

impl HostCodec for Plain {
    type Request = PlainRequest;
    type Reply = PlainReply;

    fn seal(&mut self, request: &Request, iv: [u8; 16]) -> PlainRequest {
        PlainRequest { request: request.clone(), iv, fault: None }
    }

    fn open(
        &mut self,
        operation: OperationId,
        critical: bool,
        sealed: &PlainReply,
    ) -> Result<Reply, Untrusted> {
        let PlainReply { reply, critical: bound, trusted, .. } = sealed;
        let authentic = *trusted && *bound == critical && reply.operation == operation;
        authentic.then(|| reply.clone()).ok_or(Untrusted)
    }
}

impl ServerCodec for Plain {
    type Request = PlainRequest;
    type Reply = PlainReply;

    fn open(&mut self, sealed: &PlainRequest) -> Result<Opened, OpenError> {
        let nonce = u64::from_le_bytes(std::array::from_fn(|at| sealed.iv[at]));
        sealed
            .fault
            .map_or_else(|| Ok(Opened { request: sealed.request.clone(), nonce, form: Form::Version2 }), Err)
    }

    fn seal(&mut self, critical: bool, reply: &Reply, iv: [u8; 16]) -> PlainReply {
        PlainReply { reply: reply.clone(), critical, iv, trusted: true }
    }
}

/// Draws that are a hash of what they are for. Jitter may be pinned, so that back-offs are round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Draws {
    pub(crate) jitter: Option<u64>,
}

impl Entropy for Draws {
    fn draw(&mut self, purpose: Purpose, entity: u64, ordinal: u64) -> u64 {
        match (purpose, self.jitter) {
            (Purpose::Jitter, Some(pinned)) => pinned,
            _ => mix(mix(mix(purpose as u64) ^ entity) ^ ordinal),
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The wall clock at the start of a test, far from the monotonic one so that neither passes for the other.
pub(crate) const WALL_START: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// The moment so many microseconds after the start, on both clocks.
pub(crate) fn at_us(us: u64) -> Now {
    let wall = Timestamp::from_us(WALL_START.as_us() + us);
    Now { monotonic: Instant::from_us(us), wall }
}

/// The moment so many milliseconds after the start, on both clocks.
pub(crate) fn at_ms(ms: u64) -> Now {
    at_us(ms * 1_000)
}

/// A valid map name.
pub(crate) fn map(name: &str) -> MapName {
    MapName::new(name).expect("a valid map name")
}

/// An operation of the one session of an account that the server's tests know.
pub(crate) fn operation(account: u32, counter: u64) -> OperationId {
    OperationId { account: AccountId(account), incarnation: Incarnation(1), counter }
}

/// The writing of a state of the map `m`.
pub(crate) fn write(ticket: u64) -> Ask {
    Ask {
        ticket,
        kind: Kind::SyncTo,
        data_type: SyncDataType::PlayerData,
        map: map("m"),
        data: format!("{{\"ticket\":{ticket}}}").into(),
        critical: false,
        priority: false,
    }
}

/// An event on the map `m`.
pub(crate) fn event(ticket: u64) -> Ask {
    Ask { data_type: SyncDataType::ChatMessage, ..write(ticket) }
}

/// The reading of the state that [`write`] writes.
pub(crate) fn read(ticket: u64) -> Ask {
    Ask { kind: Kind::SyncFrom, ..write(ticket) }
}

/// Changes to an [`Ask`], so that a test names only what it is about.
pub(crate) trait AskExt {
    fn critical(self) -> Self;
    fn priority(self) -> Self;
    fn on(self, name: &str) -> Self;
}

impl AskExt for Ask {
    fn critical(self) -> Self {
        Self { critical: true, ..self }
    }

    fn priority(self) -> Self {
        Self { priority: true, ..self }
    }

    fn on(self, name: &str) -> Self {
        Self { map: map(name), ..self }
    }
}
