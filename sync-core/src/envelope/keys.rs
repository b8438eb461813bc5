//! Keys of the two roles, their text forms, and how one is derived from the other.
//!
//! Derivation is HKDF-SHA256 (RFC 5869) with an empty salt and an `info` of its own for each purpose.
//! No error echoes any part of a text that was meant to be a key, and no `Debug` or `Display` shows a
//! secret.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::id::AccountId;
use crate::limits;
use crate::secret::Secret;

/// Bytes of every key: master, host, encryption, MAC and legacy.
pub const KEY_BYTES: usize = 32;

const MASTER_PREFIX: &str = "p2p-master:";
const HOST_PREFIX: &str = "p2p-host:";
const INFO_HOST: &[u8] = b"p2p-sync v2 host";
const INFO_ENCRYPTION: &[u8] = b"p2p-sync v2 enc";
const INFO_MAC: &[u8] = b"p2p-sync v2 mac";
const INFO_FINGERPRINT: &[u8] = b"p2p-sync v2 fingerprint";
/// Bytes of a fingerprint; enough to tell keys apart, useless for finding one.
const FINGERPRINT_BYTES: usize = 8;

/// Names a key in a frame, in clear: 1 to 32 of `a-z 0-9 -`. A host's key has the id of its master key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    // Zero behind `len`, so that the derived comparisons are those of the text.
    bytes: [u8; limits::KEY_ID_BYTES_MAX],
    len: u8,
}

/// The text cannot be a key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a key id has 1 to {} characters out of `a-z 0-9 -`", limits::KEY_ID_BYTES_MAX)]
pub struct InvalidKeyId;

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The id as it stands in a frame.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether these bytes are a key id.
    pub(super) fn is_valid(id: &[u8]) -> bool {
        (1..=limits::KEY_ID_BYTES_MAX).contains(&id.len())
            && id.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !Self::is_valid(text.as_bytes()) {
            return Err(InvalidKeyId);
        }
        let mut bytes = [0; limits::KEY_ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, len: u8::try_from(text.len()).map_err(|_| InvalidKeyId)? })
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.as_str())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is not the key that was expected. Never echoes any part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// A master key is expected and the text is empty.
    #[error(
        "no master key is given; make one with `main-server new-master-key`; \
         it reads `p2p-master:<key id>:<base64 of 32 bytes>`"
    )]
    MasterMissing,
    /// A host's key is expected and the text is empty.
    #[error("no host key is given; the main server makes one with `main-server issue-host-key --account N`")]
    HostMissing,
    /// A legacy key is expected and the text is empty.
    #[error("no legacy key is given; it is the base64 of the 32 bytes that the older hosts use")]
    LegacyMissing,
    /// A master key is expected and a host's key is given.
    #[error(
        "this is a host's key; a main server takes its master key, `p2p-master:<key id>:<base64 of 32 bytes>`"
    )]
    HostKeyForMaster,
    /// A host's key is expected and a master key is given.
    #[error(
        "this is a master key, which must never leave the main server; \
         make a key for this host with `main-server issue-host-key --account N`"
    )]
    MasterKeyForHost,
    /// A legacy key is expected and a key of version 2 is given.
    #[error(
        "this is a key of version 2; a legacy key is only the base64 of 32 bytes, without role and key id"
    )]
    VersionTwoKeyForLegacy,
    /// Not the form of a master key.
    #[error("a master key has the form `p2p-master:<key id>:<base64 of 32 bytes>`")]
    MasterForm,
    /// Not the form of a host's key.
    #[error("a host's key has the form `p2p-host:<key id>:<account id>:<base64 of 32 bytes>`")]
    HostForm,
    /// The key id is not one.
    #[error("the key's id is not valid: {0}")]
    KeyId(#[from] InvalidKeyId),
    /// The account id is not one.
    #[error("the key's account id is not a number from 0 to 4294967295 without leading zeros")]
    Account,
    /// The secret is not one.
    #[error("the key's last part is not the standard base64, with padding, of exactly 32 bytes")]
    Secret,
}

/// The main server's key, from which every host's key is derived. Never seals a frame itself.
#[derive(Clone)]
pub struct MasterKey {
    id: KeyId,
    secret: Secret<[u8; KEY_BYTES]>,
}

impl MasterKey {
    /// From 32 uniformly random bytes.
    pub const fn new(id: KeyId, secret: Secret<[u8; KEY_BYTES]>) -> Self {
        Self { id, secret }
    }

    /// The key's name.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The key of one host: HKDF-SHA256 of this key with info `"p2p-sync v2 host" || account id` (4
    /// bytes, big-endian). Costs a few microseconds.
    pub fn host_key(&self, account: AccountId) -> HostKey {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        expand(&extract(&self.secret), &[INFO_HOST, &account.0.to_be_bytes()], &mut *secret);
        HostKey::new(self.id, account, Secret::new(*secret))
    }

    /// `p2p-master:<key id>:<base64 of 32 bytes>`, for whoever stores the key.
    pub fn to_text(&self) -> Secret<String> {
        let mut text = String::with_capacity(limits::KEY_TEXT_BYTES_MAX);
        text.push_str(MASTER_PREFIX);
        text.push_str(self.id.as_str());
        text.push(':');
        STANDARD.encode_string(self.secret.expose(), &mut text);
        Secret::new(text)
    }

    /// 16 hex digits that tell this key from others and may be shown, as [`HostKey::fingerprint`].
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.secret)
    }
}

impl FromStr for MasterKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidKey::MasterMissing);
        }
        if text.starts_with(HOST_PREFIX) {
            return Err(InvalidKey::HostKeyForMaster);
        }
        let rest = text.strip_prefix(MASTER_PREFIX).ok_or(InvalidKey::MasterForm)?;
        let (id, secret) = rest.split_once(':').ok_or(InvalidKey::MasterForm)?;
        Ok(Self::new(id.parse()?, parse_secret(secret)?))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MASTER_PREFIX}{}:{}", self.id, self.secret)
    }
}

/// The key of one account. What sealing and opening need is prepared: the encryption key, and
/// HMAC-SHA256 advanced past both pads. It takes less than 400 bytes and owns no heap memory.
#[derive(Clone)]
pub struct HostKey {
    id: KeyId,
    account: AccountId,
    secret: Secret<[u8; KEY_BYTES]>,
    encryption_key: Secret<[u8; KEY_BYTES]>,
    mac: Hmac<Sha256>,
}

const _: () = assert!(size_of::<HostKey>() <= 400);

impl HostKey {
    /// From 32 bytes that are uniformly random or derived from a master key.
    pub fn new(id: KeyId, account: AccountId, secret: Secret<[u8; KEY_BYTES]>) -> Self {
        let hkdf = extract(&secret);
        let mut encryption_key = Zeroizing::new([0; KEY_BYTES]);
        expand(&hkdf, &[INFO_ENCRYPTION], &mut *encryption_key);
        let mut mac_key = Zeroizing::new([0; KEY_BYTES]);
        expand(&hkdf, &[INFO_MAC], &mut *mac_key);
        let mac = Hmac::new_from_slice(&*mac_key).expect("HMAC takes a key of any length");
        Self { id, account, secret, encryption_key: Secret::new(*encryption_key), mac }
    }

    /// The key's name, that of the master key it was derived from.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whose key it is.
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// `p2p-host:<key id>:<account id>:<base64 of 32 bytes>`, for the configuration of the host.
    pub fn to_text(&self) -> Secret<String> {
        let mut text = String::with_capacity(limits::KEY_TEXT_BYTES_MAX);
        text.push_str(HOST_PREFIX);
        text.push_str(self.id.as_str());
        text.push(':');
        text.push_str(&self.account.to_string());
        text.push(':');
        STANDARD.encode_string(self.secret.expose(), &mut text);
        Secret::new(text)
    }

    /// 16 hex digits that tell this key from others and may be shown: an HKDF output of its own, from
    /// which nothing else can be computed.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.secret)
    }

    /// Whether these bytes are half of this key or of one derived from it: what no initialisation vector may be.
    pub fn has_half(&self, half: &[u8; KEY_BYTES / 2]) -> bool {
        [&self.secret, &self.encryption_key].iter().any(|secret| {
            let (first, second) = secret.expose().split_at(KEY_BYTES / 2);
            first == half || second == half
        })
    }

    pub(super) const fn encryption_key(&self) -> &[u8; KEY_BYTES] {
        self.encryption_key.expose()
    }

    /// A keyed HMAC that has seen no data yet.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        self.mac.clone()
    }
}

impl FromStr for HostKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidKey::HostMissing);
        }
        if text.starts_with(MASTER_PREFIX) {
            return Err(InvalidKey::MasterKeyForHost);
        }
        let rest = text.strip_prefix(HOST_PREFIX).ok_or(InvalidKey::HostForm)?;
        let mut parts = rest.splitn(3, ':');
        let mut next = || parts.next().ok_or(InvalidKey::HostForm);
        let (id, account, secret) = (next()?, next()?, next()?);
        Ok(Self::new(id.parse()?, parse_account(account)?, parse_secret(secret)?))
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HOST_PREFIX}{}:{}:{}", self.id, self.account, self.secret)
    }
}

fn fingerprint(secret: &Secret<[u8; KEY_BYTES]>) -> String {
    let mut bytes = [0; FINGERPRINT_BYTES];
    expand(&extract(secret), &[INFO_FINGERPRINT], &mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// HKDF with an empty salt.
fn extract(secret: &Secret<[u8; KEY_BYTES]>) -> Hkdf<Sha256> {
    Hkdf::new(None, secret.expose())
}

fn expand(hkdf: &Hkdf<Sha256>, info: &[&[u8]], out: &mut [u8]) {
    hkdf.expand_multi_info(info, out).expect("HKDF-SHA256 gives up to 255 * 32 bytes");
}

/// An account id in its one canonical form: no sign, no leading zero.
fn parse_account(text: &str) -> Result<AccountId, InvalidKey> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical).map(AccountId).ok_or(InvalidKey::Account)
}

/// 32 bytes in strict standard base64.
pub(super) fn parse_secret(text: &str) -> Result<Secret<[u8; KEY_BYTES]>, InvalidKey> {
    // The decoder asks for room in whole groups of three bytes.
    let mut bytes = Zeroizing::new([0; KEY_BYTES.next_multiple_of(3)]);
    match STANDARD.decode_slice(text, &mut *bytes) {
        Ok(KEY_BYTES) => {
            let mut secret = Zeroizing::new([0; KEY_BYTES]);
            secret.copy_from_slice(&bytes[..KEY_BYTES]);
            Ok(Secret::new(*secret))
        }
        _ => Err(InvalidKey::Secret),
    }
}

/// Whether the text claims to be a key of version 2.
pub(super) fn names_a_role(text: &str) -> bool {
    text.starts_with(MASTER_PREFIX) || text.starts_with(HOST_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_key_id_is_short_and_plain() {
        for id in ["k", "k1", "2026-01", &"k".repeat(32)] {
            assert_eq!(id.parse::<KeyId>().unwrap().to_string(), id);
        }
        for wrong in ["", "K1", "k_1", "k 1", "k\u{e9}", &"k".repeat(33)] {
            assert_eq!(wrong.parse::<KeyId>(), Err(InvalidKeyId), "{wrong:?}");
        }
        assert!("a".parse::<KeyId>().unwrap() < "a-b".parse().unwrap());
    }

    #[test]
    fn a_wrong_master_key_is_told_why() {
        let check = |text: &str, expected| assert_eq!(text.parse::<MasterKey>().err(), expected, "{text}");
        check(&format!("p2p-master:k1:{SECRET}"), None);
        check("", Some(InvalidKey::MasterMissing));
        check(&format!("p2p-host:k1:7:{SECRET}"), Some(InvalidKey::HostKeyForMaster));
        check(SECRET, Some(InvalidKey::MasterForm));
        check(&format!("p2p-master:{SECRET}"), Some(InvalidKey::MasterForm));
        check(&format!("p2p-master:K1:{SECRET}"), Some(InvalidKey::KeyId(InvalidKeyId)));
        check(&format!("p2p-master::{SECRET}"), Some(InvalidKey::KeyId(InvalidKeyId)));
        check(&format!("p2p-master:k1:7:{SECRET}"), Some(InvalidKey::Secret));
        check(&format!("p2p-master:k1:{SECRET}\n"), Some(InvalidKey::Secret));
        check("p2p-master:k1:", Some(InvalidKey::Secret));
        check("p2p-master:k1:AAAA", Some(InvalidKey::Secret));
        // 33 bytes, 31 bytes, no padding, trailing bits.
        check(&format!("p2p-master:k1:{}", "A".repeat(44)), Some(InvalidKey::Secret));
        check(&format!("p2p-master:k1:{}==", "A".repeat(42)), Some(InvalidKey::Secret));
        check(&format!("p2p-master:k1:{}", "A".repeat(43)), Some(InvalidKey::Secret));
        check(&format!("p2p-master:k1:{}B=", "A".repeat(42)), Some(InvalidKey::Secret));
    }

    #[test]
    fn a_wrong_host_key_is_told_why() {
        let check = |text: &str, expected| assert_eq!(text.parse::<HostKey>().err(), expected, "{text}");
        check(&format!("p2p-host:k1:7:{SECRET}"), None);
        check(&format!("p2p-host:k1:0:{SECRET}"), None);
        check(&format!("p2p-host:k1:4294967295:{SECRET}"), None);
        check("", Some(InvalidKey::HostMissing));
        check(&format!("p2p-master:k1:{SECRET}"), Some(InvalidKey::MasterKeyForHost));
        check(&format!("p2p-host:k1:{SECRET}"), Some(InvalidKey::HostForm));
        check(SECRET, Some(InvalidKey::HostForm));
        for account in ["", "+7", "-7", "07", "4294967296", "x"] {
            check(&format!("p2p-host:k1:{account}:{SECRET}"), Some(InvalidKey::Account));
        }
        check("p2p-host:k1:7:", Some(InvalidKey::Secret));
    }

    #[test]
    fn a_missing_key_says_how_to_make_one() {
        assert!(InvalidKey::HostMissing.to_string().contains("main-server issue-host-key --account N"));
        assert!(InvalidKey::MasterKeyForHost.to_string().contains("main-server issue-host-key --account N"));
        assert!(InvalidKey::MasterMissing.to_string().contains("main-server new-master-key"));
        assert!(InvalidKey::MasterMissing.to_string().contains("p2p-master:<key id>:"));
    }

    #[test]
    fn a_key_prints_as_a_mask() {
        let master: MasterKey = format!("p2p-master:k1:{SECRET}").parse().unwrap();
        assert_eq!(format!("{master} {master:?}"), "p2p-master:k1:*** p2p-master:k1:***");
        let host = master.host_key(AccountId(7));
        assert_eq!(format!("{host} {host:?}"), "p2p-host:k1:7:*** p2p-host:k1:7:***");
    }

    #[test]
    fn a_fingerprint_tells_keys_apart_and_is_no_part_of_them() {
        let master: MasterKey = format!("p2p-master:k1:{SECRET}").parse().unwrap();
        let fingerprint = master.host_key(AccountId(7)).fingerprint();
        assert_eq!(fingerprint.len(), 16);
        assert_eq!(fingerprint, master.host_key(AccountId(7)).fingerprint());
        assert_ne!(fingerprint, master.host_key(AccountId(8)).fingerprint());
        let secret = *master.host_key(AccountId(7)).secret.expose();
        assert_ne!(fingerprint, format!("{:016x}", u64::from_be_bytes(secret[..8].try_into().unwrap())));
    }
}
