//! The one variant of the world that holds every planted defect.

use sync_core::envelope::{self, Direction, Header, HostKey};
use sync_core::host_sync::codec::{HostCodec, OpenError, Opened, ServerCodec, Untrusted};
use sync_core::host_sync::policy::SessionPolicy;
use sync_core::host_sync::sealed::{Body, SealedHost, SealedServer};
use sync_core::id::{AccountId, OperationId};
use sync_core::time::{Instant, Span};
use sync_core::wire::{self, OuterReply, OuterRequest, Reply, Request};

use crate::virtual_rig::variant::{Variant, WorldKeys};

/// The real core with one defect.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    number: u32,
}

impl Planted {
    pub(super) fn new(number: u32) -> Self {
        Self { number }
    }

    fn is(self, number: u32) -> bool {
        self.number == number
    }
}

impl Variant for Planted {
    type Request = Body;
    type Reply = Body;
    type HostCodec = PlantedHost;
    type ServerCodec = PlantedServer;
    type Policy = Planted;

    fn host_codec(&self, keys: &WorldKeys, account: AccountId) -> PlantedHost {
        let ring = keys.host(account);
        let forger = self.is(50).then(|| ring.sealing_key().clone());
        PlantedHost { sealed: SealedHost::new(ring), forger }
    }

    fn server_codec(&self, keys: &WorldKeys) -> PlantedServer {
        let ring = keys.server();
        let forger = self.is(50).then(|| ring.sealing_key().clone());
        PlantedServer { sealed: SealedServer::new(ring), forger }
    }

    fn policy(&self) -> Planted {
        *self
    }

    fn durability_lag_us(&self) -> Option<u64> {
        self.is(32).then_some(200_000)
    }

    fn generator_holds_back_at(&self) -> Option<usize> {
        self.is(130).then_some(2)
    }
}

impl SessionPolicy for Planted {
    fn deadline_when_asked(&self, asked: Instant, timeout: Span) -> Option<Instant> {
        (!self.is(43)).then(|| asked + timeout)
    }

    fn deadline_when_sent(&self, deadline: Option<Instant>, sent: Instant, timeout: Span) -> Option<Instant> {
        if self.is(43) { Some(sent + timeout) } else { deadline }
    }

    fn retries_as_new_operation(&self) -> bool {
        self.is(30)
    }
}

/// A host's end that may skip the tag.
#[derive(Clone, Debug)]
pub struct PlantedHost {
    sealed: SealedHost,
    forger: Option<HostKey>,
}

/// The main server's end that may skip the tag.
#[derive(Clone, Debug)]
pub struct PlantedServer {
    sealed: SealedServer,
    forger: Option<sync_core::envelope::MasterKey>,
}

impl HostCodec for PlantedHost {
    type Request = Body;
    type Reply = Body;

    fn seal(&mut self, request: &Request, iv: [u8; 16]) -> Body {
        self.sealed.seal(request, iv)
    }

    fn open(&mut self, operation: OperationId, critical: bool, reply: &Body) -> Result<Reply, Untrusted> {
        let header = Header {
            direction: Direction::Reply,
            account: operation.account,
            operation,
            is_critical: critical,
        };
        let tagged = self.forger.as_ref().and_then(|key| {
            let outer: OuterReply<'_> = wire::read(reply).ok()?;
            let encrypted_data = tag_anew(key, &header, &outer.encrypted_data)?;
            let mut body = Body::new();
            wire::write(&OuterReply { encrypted_data: encrypted_data.into() }, &mut body);
            Some(body)
        });
        self.sealed.open(operation, critical, tagged.as_ref().unwrap_or(reply))
    }
}

impl ServerCodec for PlantedServer {
    type Request = Body;
    type Reply = Body;

    fn open(&mut self, request: &Body) -> Result<Opened, OpenError> {
        let tagged = self.forger.as_ref().and_then(|master| {
            let outer: OuterRequest<'_> = wire::read(request).ok()?;
            let operation = outer.operation().ok()?;
            let header = Header {
                direction: Direction::Request,
                account: operation.account,
                operation,
                is_critical: outer.is_critical,
            };
            let key = master.host_key(operation.account);
            let encrypted_data = tag_anew(&key, &header, &outer.encrypted_data)?.into();
            let mut body = Body::new();
            wire::write(&OuterRequest { encrypted_data, ..outer }, &mut body);
            Some(body)
        });
        self.sealed.open(tagged.as_ref().unwrap_or(request))
    }

    fn seal(&mut self, critical: bool, reply: &Reply, iv: [u8; 16]) -> Body {
        self.sealed.seal(critical, reply, iv)
    }
}

/// Whatever the frame holds, gives it a tag that fits: opening it then verifies nothing.
fn tag_anew(key: &HostKey, header: &Header, encrypted_data: &str) -> Option<String> {
    let mut frame = Vec::new();
    envelope::decode_base64(encrypted_data.as_bytes(), &mut frame).ok()?;
    let without_tag = frame.len().checked_sub(envelope::TAG_BYTES)?;
    frame.truncate(without_tag);
    let tag = key.tag(header, &frame);
    frame.extend_from_slice(&tag);
    let mut text = String::new();
    envelope::encode_base64(&frame, &mut text);
    Some(text)
}
