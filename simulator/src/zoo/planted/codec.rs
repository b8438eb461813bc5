//! Defects of the envelope: the two ends of a link, each with at most one of them.

use sync_core::envelope::{self, Direction, Form, Header, HostKey, KeyId, KeyUse, MasterKey, TAG_BYTES};
use sync_core::host_sync::codec::{HostCodec, OpenError, Opened, ServerCodec, Untrusted};
use sync_core::host_sync::sealed::{Body, SealedHost, SealedServer};
use sync_core::id::{AccountId, OperationId};
use sync_core::time::Timestamp;
use sync_core::wire::{self, OuterReply, OuterRequest, Rejection, Reply, Request};

use super::Planted;
use crate::virtual_rig::variant::WorldKeys;

/// A host's end.
#[derive(Clone, Debug)]
pub struct PlantedHost {
    sealed: SealedHost,
    defect: Option<HostDefect>,
}

/// The main server's end.
#[derive(Clone, Debug)]
pub struct PlantedServer {
    sealed: SealedServer,
    master: MasterKey,
    defect: Option<ServerDefect>,
}

#[derive(Clone, Debug)]
enum HostDefect {
    /// 50: the tag is not verified.
    NoMac(HostKey),
    /// 51: all vectors are the same.
    ConstantIv,
    /// 52: the vector is the first half of the host's key.
    KeyAsIv([u8; 16]),
    /// 55: what is no frame is taken as plain text.
    PlainReplies,
    /// 131: vectors are counted.
    CountedIv(u128),
}

#[derive(Clone, Debug)]
enum ServerDefect {
    /// 50: the tag is not verified.
    NoMac,
    /// 53: wrong padding and a wrong tag are answered differently.
    PaddingOracle,
    /// 54: operation id and urgency outside the frame are believed.
    OuterNotBound,
    /// 56: every request passes for fresh, as if it had been sealed when the latest one was.
    AlwaysFresh(Timestamp),
    /// 57: keys that were in use once go on opening.
    NeverRetires(Vec<KeyId>),
    /// 59: why a request is rejected comes with the key.
    KeyInErrors,
    /// 49: each read looks for its state under a name of its own.
    NamesByOperation(Planted),
    /// 58: any host's key opens, and the account outside is believed.
    AnyAccount,
}

impl PlantedHost {
    pub(super) fn new(planted: Planted, keys: &WorldKeys, account: AccountId) -> Self {
        let ring = keys.host(account);
        let defect = match planted.number {
            50 => Some(HostDefect::NoMac(ring.sealing_key().clone())),
            51 => Some(HostDefect::ConstantIv),
            52 => Some(HostDefect::KeyAsIv(first_half(ring.sealing_key()))),
            55 => Some(HostDefect::PlainReplies),
            131 => Some(HostDefect::CountedIv(0)),
            _ => None,
        };
        Self { sealed: SealedHost::new(ring), defect }
    }
}

impl PlantedServer {
    pub(super) fn new(planted: Planted, keys: &WorldKeys) -> Self {
        let ring = keys.server();
        let defect = match planted.number {
            49 => Some(ServerDefect::NamesByOperation(planted)),
            50 => Some(ServerDefect::NoMac),
            53 => Some(ServerDefect::PaddingOracle),
            54 => Some(ServerDefect::OuterNotBound),
            56 => Some(ServerDefect::AlwaysFresh(Timestamp::from_ms(0))),
            57 => Some(ServerDefect::NeverRetires(vec![ring.sealing_key().id()])),
            58 => Some(ServerDefect::AnyAccount),
            59 => Some(ServerDefect::KeyInErrors),
            _ => None,
        };
        Self { master: ring.sealing_key().clone(), sealed: SealedServer::new(ring), defect }
    }
}

impl HostCodec for PlantedHost {
    type Request = Body;
    type Reply = Body;

    fn seal(&mut self, request: &Request, iv: [u8; 16]) -> Body {
        let iv = match &mut self.defect {
            Some(HostDefect::ConstantIv) => [0x2a; 16],
            Some(HostDefect::KeyAsIv(half)) => *half,
            Some(HostDefect::CountedIv(count)) => {
                *count += 1;
                // Told apart from those of other hosts by what is predictable as well.
                (u128::from(request.operation.account.0) << 96 | *count).to_be_bytes()
            }
            _ => iv,
        };
        self.sealed.seal(request, iv)
    }

    fn use_keys(&mut self, keys: &KeyUse) {
        self.sealed.use_keys(keys);
    }

    fn open(&mut self, operation: OperationId, critical: bool, reply: &Body) -> Result<Reply, Untrusted> {
        match &self.defect {
            None | Some(HostDefect::ConstantIv | HostDefect::KeyAsIv(_) | HostDefect::CountedIv(_)) => {
                self.sealed.open(operation, critical, reply)
            }
            Some(HostDefect::NoMac(key)) => {
                let header = header(Direction::Reply, operation, critical);
                let tagged = retagged_reply(key, &header, reply);
                self.sealed.open(operation, critical, tagged.as_ref().unwrap_or(reply))
            }
            Some(HostDefect::PlainReplies) => {
                let opened = self.sealed.open(operation, critical, reply);
                opened.or_else(|untrusted| plain(operation, reply).ok_or(untrusted))
            }
        }
    }
}

impl ServerCodec for PlantedServer {
    type Request = Body;
    type Reply = Body;

    fn open(&mut self, request: &Body) -> Result<Opened, OpenError> {
        let opened = self.sealed.open(request);
        let Some(defect) = &mut self.defect else { return opened };
        match (defect, opened) {
            (ServerDefect::NamesByOperation(planted), Ok(opened)) => {
                Ok(Opened { request: planted.named_by_operation(opened.request), ..opened })
            }
            (ServerDefect::AlwaysFresh(latest), Ok(mut opened)) => {
                *latest = opened.request.timestamp.max(*latest);
                opened.request.timestamp = *latest;
                Ok(opened)
            }
            (ServerDefect::NoMac, Err(refused)) => {
                let tagged = retagged_request(&self.master, request).ok_or(refused)?;
                self.sealed.open(&tagged)
            }
            (ServerDefect::PaddingOracle, Err(refused)) => {
                let has_a_frame = retagged_request(&self.master, request).is_some();
                let decrypts = Forced::open(&self.master, request, None).is_some();
                Err(if has_a_frame && !decrypts { OpenError::TooLarge } else { refused })
            }
            (ServerDefect::OuterNotBound, Err(refused)) => {
                let forced = Forced::open(&self.master, request, None);
                forced.and_then(Forced::believing_what_stands_outside).ok_or(refused)
            }
            (ServerDefect::AnyAccount, Err(refused)) => {
                let mut forced =
                    (1..=ACCOUNTS_TRIED).map(|a| Forced::open(&self.master, request, Some(AccountId(a))));
                let authentic = forced.find_map(|forced| forced?.believing_what_stands_outside());
                authentic.ok_or(refused)
            }
            (_, opened) => opened,
        }
    }

    fn seal(&mut self, critical: bool, reply: &Reply, iv: [u8; 16]) -> Body {
        match (&self.defect, &reply.result) {
            (Some(ServerDefect::KeyInErrors), Err(rejection)) => {
                let key = self.master.host_key(reply.operation.account).to_text();
                let message = format!("{} (with {})", rejection.message, key.expose()).into();
                let result = Err(Rejection { message, ..rejection.clone() });
                self.sealed.seal(critical, &Reply { result, ..reply.clone() }, iv)
            }
            _ => self.sealed.seal(critical, reply, iv),
        }
    }

    fn use_keys(&mut self, keys: &KeyUse) {
        let mut keys = keys.clone();
        if let Some(ServerDefect::NeverRetires(known)) = &mut self.defect {
            known.extend(std::iter::once(keys.seals).chain(keys.opens.iter().copied()));
            keys.opens.clone_from(known);
        }
        self.sealed.use_keys(&keys);
    }
}

/// A request that was decrypted whatever its tag.
struct Forced {
    key: HostKey,
    frame: Vec<u8>,
    plaintext: Vec<u8>,
    outside: (OperationId, bool),
}

impl Forced {
    /// With the key of this account, or of the one that stands outside.
    fn open(master: &MasterKey, request: &[u8], account: Option<AccountId>) -> Option<Self> {
        let outer: OuterRequest<'_> = wire::read(request).ok()?;
        let operation = outer.operation().ok()?;
        let account = account.unwrap_or(operation.account);
        let key = master.host_key(account);
        let header = header(Direction::Request, OperationId { account, ..operation }, outer.is_critical);
        let mut frame = Vec::new();
        envelope::decode_base64(outer.encrypted_data.as_bytes(), &mut frame).ok()?;
        let mut tagged = frame.clone();
        tag_anew(&key, &header, &mut tagged)?;
        let mut plaintext = Vec::new();
        key.open(&header, &tagged, &mut plaintext).ok()?;
        Some(Self { key, frame, plaintext, outside: (operation, outer.is_critical) })
    }

    /// What it asks, if it is authentic but for what stands outside, and as if that were true.
    fn believing_what_stands_outside(self) -> Option<Opened> {
        let inside = Request::read(&self.plaintext).ok()?;
        let header = header(Direction::Request, inside.operation, inside.critical);
        let (signed, tag) = self.frame.split_at_checked(self.frame.len().checked_sub(TAG_BYTES)?)?;
        let authentic = self.key.tag(&header, signed) == tag;
        let (operation, critical) = self.outside;
        let nonce = u64::from_le_bytes(*tag.last_chunk()?);
        authentic.then_some(Opened {
            request: Request { operation, critical, ..inside },
            nonce,
            form: Form::Version2,
        })
    }
}

fn first_half(key: &HostKey) -> [u8; 16] {
    let text = key.to_text();
    let mut secret = Vec::new();
    let decoded =
        envelope::decode_base64(text.expose().rsplit(':').next().unwrap_or("").as_bytes(), &mut secret);
    debug_assert!(decoded.is_ok());
    secret.first_chunk().copied().unwrap_or_default()
}

fn header(direction: Direction, operation: OperationId, is_critical: bool) -> Header {
    Header { direction, account: operation.account, operation, is_critical }
}

/// A reply that is plain text, in the published form.
fn plain(operation: OperationId, reply: &[u8]) -> Option<Reply> {
    let json: serde_json::Value = serde_json::from_slice(reply).ok()?;
    let result = json.get("success")?.as_bool()?.then_some(None);
    let server_time = Timestamp::from_ms(0);
    Some(Reply { operation, server_time, result: Ok(result?) })
}

fn retagged_reply(key: &HostKey, header: &Header, reply: &[u8]) -> Option<Body> {
    let outer: OuterReply<'_> = wire::read(reply).ok()?;
    let encrypted_data = retagged(key, header, &outer.encrypted_data)?.into();
    let mut body = Body::new();
    wire::write(&OuterReply { encrypted_data }, &mut body);
    Some(body)
}

fn retagged_request(master: &MasterKey, request: &[u8]) -> Option<Body> {
    let outer: OuterRequest<'_> = wire::read(request).ok()?;
    let operation = outer.operation().ok()?;
    let header = header(Direction::Request, operation, outer.is_critical);
    let key = master.host_key(operation.account);
    let encrypted_data = retagged(&key, &header, &outer.encrypted_data)?.into();
    let mut body = Body::new();
    wire::write(&OuterRequest { encrypted_data, ..outer }, &mut body);
    Some(body)
}

/// Whatever the frame holds, gives it a tag that fits: opening it then verifies nothing.
fn retagged(key: &HostKey, header: &Header, encrypted_data: &str) -> Option<String> {
    let mut frame = Vec::new();
    envelope::decode_base64(encrypted_data.as_bytes(), &mut frame).ok()?;
    tag_anew(key, header, &mut frame)?;
    let mut text = String::new();
    envelope::encode_base64(&frame, &mut text);
    Some(text)
}

fn tag_anew(key: &HostKey, header: &Header, frame: &mut Vec<u8>) -> Option<()> {
    frame.truncate(frame.len().checked_sub(TAG_BYTES)?);
    let tag = key.tag(header, frame);
    frame.extend_from_slice(&tag);
    Some(())
}

/// As many hosts as the scenario has, and one more.
const ACCOUNTS_TRIED: u32 = 8;
