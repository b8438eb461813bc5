//! The keys that one side uses together: one that seals, others that only open.
//!
//! Replacing a key is: accept the new one everywhere, then seal with it, then drop the old one. In
//! between both open, and only the new one seals, replies to requests under the old one included.
//!
//! A frame that has the form of version 2 is never tried as a legacy one, so that an attacker cannot
//! have the tag ignored by spoiling it. A legacy frame is a multiple of 16 bytes long and one of version
//! 2 is that only when its key id has 14 or 30 characters: that random bytes look like one happens
//! once in 10^16 frames.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::frame::{IV_BYTES, Parts};
use super::keys::{HostKey, KeyId, MasterKey};
use super::legacy::LegacyKey;
use super::{EnvelopeError, Header};
use crate::id::AccountId;
use crate::limits;

/// Which envelope a frame had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Encrypted and tagged: content and header are authentic.
    Version2,
    /// Encrypted only: neither content nor header is authentic. Its sender understands only the same.
    Legacy,
}

/// The keys cannot be used together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRing {
    /// More keys that open than allowed.
    #[error("at most {} keys may be accepted beside the one that seals", limits::KEYS_ACCEPTED_MAX)]
    TooManyKeys,
    /// Two keys have the same id.
    #[error("two keys have the id `{0}`; give every key an id of its own")]
    DuplicateKeyId(KeyId),
    /// A key is another account's.
    #[error("a key of account {found} is among those of account {expected}; a host has keys of one account")]
    OtherAccount {
        /// The account of the key that seals.
        expected: AccountId,
        /// The account of the key in question.
        found: AccountId,
    },
}

/// Which keys of a ring are in use, by their names: what changes while keys are replaced. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// The one that seals, and opens as well.
    pub seals: KeyId,
    /// Those that only open.
    pub opens: Vec<KeyId>,
}

impl KeyUse {
    fn includes(&self, id: KeyId) -> bool {
        self.seals == id || self.opens.contains(&id)
    }
}

/// A host's keys, all of one account.
#[derive(Clone, Debug)]
pub struct HostRing {
    sealing: HostKey,
    accepted: Box<[HostKey]>,
    /// A bit for each of `accepted` that is not in use.
    unused: u16,
    legacy: Option<LegacyKey>,
}

// A bit for each key.
const _: () = assert!(limits::KEYS_ACCEPTED_MAX < 16);

impl HostRing {
    /// One key that seals and opens, and further ones that only open (at most
    /// [`limits::KEYS_ACCEPTED_MAX`]).
    ///
    /// # Errors
    /// When there are too many keys, two of one id, or keys of several accounts.
    pub fn new(sealing: HostKey, accepted: Vec<HostKey>) -> Result<Self, InvalidRing> {
        check_ids(std::iter::once(&sealing).chain(&accepted).map(HostKey::id))?;
        if let Some(other) = accepted.iter().find(|key| key.account() != sealing.account()) {
            return Err(InvalidRing::OtherAccount { expected: sealing.account(), found: other.account() });
        }
        Ok(Self { sealing, accepted: accepted.into(), unused: 0, legacy: None })
    }

    /// Opens legacy frames too (`allow_legacy_envelope = 1`).
    #[must_use]
    pub fn with_legacy(self, key: LegacyKey) -> Self {
        Self { legacy: Some(key), ..self }
    }

    /// From now on these keys of the ring are in use and no others. Names that it has no key for open nothing;
    /// without the key that is to seal nothing changes, and the answer is false.
    pub fn use_keys(&mut self, keys: &KeyUse) -> bool {
        if self.sealing.id() != keys.seals {
            let Some(next) = self.accepted.iter_mut().find(|key| key.id() == keys.seals) else {
                return false;
            };
            std::mem::swap(&mut self.sealing, next);
        }
        self.unused = bits(self.accepted.iter().map(|key| !keys.includes(key.id())));
        true
    }

    /// Whose keys they are.
    pub const fn account(&self) -> AccountId {
        self.sealing.account()
    }

    /// The key that seals.
    pub const fn sealing_key(&self) -> &HostKey {
        &self.sealing
    }

    /// Every key of version 2, the one that seals first.
    pub fn keys(&self) -> impl Iterator<Item = &HostKey> {
        std::iter::once(&self.sealing).chain(&self.accepted)
    }

    /// Seals with the sealing key, see [`HostKey::seal`].
    pub fn seal(&self, header: &Header, iv: [u8; IV_BYTES], plaintext: &[u8], frame: &mut Vec<u8>) {
        self.sealing.seal(header, iv, plaintext, frame);
    }

    /// Opens with whichever key the frame names, see [`HostKey::open`].
    ///
    /// # Errors
    /// When no key opens the frame under this header, or it is a legacy one and those are not allowed.
    pub fn open(
        &self,
        header: &Header,
        frame: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<Form, EnvelopeError> {
        plaintext.clear();
        let Some(parts) = Parts::split(frame) else {
            return open_legacy(self.legacy.as_ref(), frame, plaintext);
        };
        let accepted = (0..).zip(&self.accepted).filter(|(place, _)| self.unused >> place & 1 == 0);
        let key = std::iter::once(&self.sealing)
            .chain(accepted.map(|(_, key)| key))
            .find(|key| key.id().as_bytes() == parts.key_id)
            .ok_or(EnvelopeError)?;
        key.open_parts(header, &parts, plaintext).map(|()| Form::Version2)
    }

    /// Seals a legacy frame, which no header protects, see [`LegacyKey::seal`].
    ///
    /// # Errors
    /// When legacy frames are not allowed; `frame` is then empty.
    pub fn seal_legacy(
        &self,
        iv: [u8; IV_BYTES],
        plaintext: &[u8],
        frame: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        seal_legacy(self.legacy.as_ref(), iv, plaintext, frame)
    }
}

/// The main server's keys. Hosts' keys are derived when needed and kept, at most
/// [`limits::HOST_KEYS_CACHED_MAX`]; past it the cache starts anew.
#[derive(Clone, Debug)]
pub struct MasterRing {
    /// The first one seals.
    masters: Box<[MasterKey]>,
    /// A bit for each of them that is not in use.
    unused: u16,
    legacy: Option<LegacyKey>,
    // By the key's place in `masters`. Never iterated.
    cache: FxHashMap<(u8, AccountId), HostKey>,
    cached_max: usize,
}

/// The place of the key that seals.
const SEALING: u8 = 0;

impl MasterRing {
    /// One key that seals and opens, and further ones that only open (at most
    /// [`limits::KEYS_ACCEPTED_MAX`]).
    ///
    /// # Errors
    /// When there are too many keys, or two of one id.
    pub fn new(sealing: MasterKey, accepted: Vec<MasterKey>) -> Result<Self, InvalidRing> {
        let masters: Box<[_]> = std::iter::once(sealing).chain(accepted).collect();
        check_ids(masters.iter().map(MasterKey::id))?;
        Ok(Self {
            masters,
            unused: 0,
            legacy: None,
            cache: FxHashMap::default(),
            cached_max: limits::HOST_KEYS_CACHED_MAX,
        })
    }

    /// Opens legacy frames too (`allow_legacy_envelope = 1`).
    #[must_use]
    pub fn with_legacy(self, key: LegacyKey) -> Self {
        Self { legacy: Some(key), ..self }
    }

    /// From now on these keys of the ring are in use and no others, see [`HostRing::use_keys`].
    pub fn use_keys(&mut self, keys: &KeyUse) -> bool {
        let Some(place) = self.masters.iter().position(|master| master.id() == keys.seals) else {
            return false;
        };
        // What is kept is kept by place.
        self.cache.clear();
        self.masters.swap(usize::from(SEALING), place);
        self.unused = bits(self.masters.iter().map(|master| !keys.includes(master.id())));
        true
    }

    /// Which keys are in use, by name.
    pub fn in_use(&self) -> KeyUse {
        let opens = (0..).zip(&self.masters).skip(1).filter(|(place, _)| self.unused >> place & 1 == 0);
        KeyUse { seals: self.sealing_key().id(), opens: opens.map(|(_, master)| master.id()).collect() }
    }

    /// How many keys are in use, a legacy one not counted.
    pub fn in_use_count(&self) -> usize {
        self.masters.len() - self.unused.count_ones() as usize
    }

    /// The key that seals, from which hosts' keys are issued.
    pub fn sealing_key(&self) -> &MasterKey {
        &self.masters[usize::from(SEALING)]
    }

    /// Every key of version 2, the one that seals first.
    pub fn keys(&self) -> impl Iterator<Item = &MasterKey> {
        self.masters.iter()
    }

    /// Seals with the key of the header's account under the sealing key, see [`HostKey::seal`].
    ///
    /// Meant for the answer to a request that has been opened: each account sealed for is kept in the
    /// cache.
    pub fn seal(&mut self, header: &Header, iv: [u8; IV_BYTES], plaintext: &[u8], frame: &mut Vec<u8>) {
        match self.cache.get(&(SEALING, header.account)) {
            Some(key) => key.seal(header, iv, plaintext, frame),
            None => {
                let key = self.sealing_key().host_key(header.account);
                key.seal(header, iv, plaintext, frame);
                self.keep(SEALING, key);
            }
        }
    }

    /// Opens with the key of the header's account under whichever master key the frame names, see
    /// [`HostKey::open`].
    ///
    /// # Errors
    /// When no key opens the frame under this header, or it is a legacy one and those are not allowed.
    pub fn open(
        &mut self,
        header: &Header,
        frame: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<Form, EnvelopeError> {
        plaintext.clear();
        let Some(parts) = Parts::split(frame) else {
            return open_legacy(self.legacy.as_ref(), frame, plaintext);
        };
        let (place, master) = (SEALING..)
            .zip(&self.masters)
            .find(|(place, master)| self.unused >> place & 1 == 0 && master.id().as_bytes() == parts.key_id)
            .ok_or(EnvelopeError)?;
        match self.cache.get(&(place, header.account)) {
            Some(key) => key.open_parts(header, &parts, plaintext)?,
            None => {
                let key = master.host_key(header.account);
                key.open_parts(header, &parts, plaintext)?;
                // Only now: forged requests for random accounts must not fill the cache.
                self.keep(place, key);
            }
        }
        Ok(Form::Version2)
    }

    /// Opens a frame that stands where only legacy ones do; one of version 2 is refused there.
    ///
    /// # Errors
    /// When legacy frames are not allowed, or it is none.
    pub fn open_legacy(&self, frame: &[u8], plaintext: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        plaintext.clear();
        match Parts::split(frame) {
            Some(_) => Err(EnvelopeError),
            None => open_legacy(self.legacy.as_ref(), frame, plaintext).map(|_| ()),
        }
    }

    /// Seals a legacy frame, which no header protects, see [`LegacyKey::seal`].
    ///
    /// # Errors
    /// When legacy frames are not allowed; `frame` is then empty.
    pub fn seal_legacy(
        &self,
        iv: [u8; IV_BYTES],
        plaintext: &[u8],
        frame: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        seal_legacy(self.legacy.as_ref(), iv, plaintext, frame)
    }

    fn keep(&mut self, place: u8, key: HostKey) {
        if self.cache.len() >= self.cached_max {
            self.cache.clear();
        }
        self.cache.insert((place, key.account()), key);
    }
}

/// The n-th is bit n.
fn bits(set: impl Iterator<Item = bool>) -> u16 {
    set.zip(0..).fold(0, |bits, (is_set, place)| bits | u16::from(is_set) << place)
}

/// The first id is that of the key that seals.
fn check_ids(ids: impl Iterator<Item = KeyId>) -> Result<(), InvalidRing> {
    let mut seen = Vec::with_capacity(1 + limits::KEYS_ACCEPTED_MAX);
    for id in ids {
        if seen.len() > limits::KEYS_ACCEPTED_MAX {
            return Err(InvalidRing::TooManyKeys);
        }
        if seen.contains(&id) {
            return Err(InvalidRing::DuplicateKeyId(id));
        }
        seen.push(id);
    }
    Ok(())
}

fn open_legacy(
    key: Option<&LegacyKey>,
    frame: &[u8],
    plaintext: &mut Vec<u8>,
) -> Result<Form, EnvelopeError> {
    key.ok_or(EnvelopeError)?.open(frame, plaintext).map(|()| Form::Legacy)
}

fn seal_legacy(
    key: Option<&LegacyKey>,
    iv: [u8; IV_BYTES],
    plaintext: &[u8],
    frame: &mut Vec<u8>,
) -> Result<(), EnvelopeError> {
    frame.clear();
    key.ok_or(EnvelopeError)?.seal(iv, plaintext, frame);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Direction, KEY_BYTES};
    use super::*;
    use crate::id::{Incarnation, OperationId};
    use crate::secret::Secret;

    fn master(id: &str, fill: u8) -> MasterKey {
        MasterKey::new(id.parse().unwrap(), Secret::new([fill; KEY_BYTES]))
    }

    fn header(direction: Direction, account: u32) -> Header {
        let account = AccountId(account);
        let operation = OperationId { account, incarnation: Incarnation(5), counter: 1 };
        Header { direction, account, operation, is_critical: false }
    }

    fn sealed(key: &HostKey, header: &Header) -> Vec<u8> {
        let mut frame = Vec::new();
        key.seal(header, [3; IV_BYTES], b"{}", &mut frame);
        frame
    }

    #[test]
    fn the_cache_is_bounded_and_forged_frames_do_not_enter_it() {
        let (old, new) = (master("old", 1), master("new", 2));
        let mut ring = MasterRing::new(new.clone(), vec![old.clone()]).unwrap();
        ring.cached_max = 3;
        let mut out = Vec::new();
        for account in 0..100 {
            let header = header(Direction::Request, account);
            let forged = sealed(&master("new", 9).host_key(header.account), &header);
            assert_eq!(ring.open(&header, &forged, &mut out), Err(EnvelopeError));
        }
        assert_eq!(ring.cache.len(), 0);
        for account in 0..10 {
            for key in [&old, &new] {
                let header = header(Direction::Request, account);
                for _ in 0..2 {
                    let frame = sealed(&key.host_key(header.account), &header);
                    assert_eq!(ring.open(&header, &frame, &mut out), Ok(Form::Version2));
                    assert!(ring.cache.len() <= 3);
                }
            }
            let header = header(Direction::Reply, account);
            for _ in 0..2 {
                ring.seal(&header, [3; IV_BYTES], b"{}", &mut out);
                assert_eq!(out, sealed(&new.host_key(header.account), &header));
                assert!(ring.cache.len() <= 3);
            }
        }
    }

    #[test]
    fn a_cached_key_refuses_like_a_fresh_one() {
        let key = master("k", 1);
        let mut ring = MasterRing::new(key.clone(), vec![]).unwrap();
        let header = header(Direction::Request, 7);
        let frame = sealed(&key.host_key(header.account), &header);
        let mut altered = frame.clone();
        altered[20] ^= 1;
        let mut out = Vec::new();
        assert_eq!(ring.open(&header, &altered, &mut out), Err(EnvelopeError));
        assert_eq!(ring.open(&header, &frame, &mut out), Ok(Form::Version2));
        assert_eq!(ring.open(&header, &altered, &mut out), Err(EnvelopeError));
        assert!(out.is_empty());
    }

    /// Every step of a rotation: announced, in use, the old one retired.
    #[test]
    fn keys_in_use_seal_and_open_and_no_others() {
        let (old, new) = (master("old", 1), master("new", 2));
        let header = header(Direction::Request, 7);
        let mut ends = (
            HostRing::new(old.host_key(header.account), vec![new.host_key(header.account)]).unwrap(),
            MasterRing::new(old.clone(), vec![new.clone()]).unwrap(),
        );
        let frame = |key: &MasterKey| sealed(&key.host_key(header.account), &header);
        let mut check = |seals: &MasterKey, opens: &[&MasterKey]| {
            let keys = KeyUse { seals: seals.id(), opens: opens.iter().map(|key| key.id()).collect() };
            assert!(ends.0.use_keys(&keys) && ends.1.use_keys(&keys));
            let mut out = Vec::new();
            for key in [&old, &new] {
                let opened = keys.includes(key.id());
                assert_eq!(ends.0.open(&header, &frame(key), &mut out).is_ok(), opened);
                assert_eq!(ends.1.open(&header, &frame(key), &mut out).is_ok(), opened);
            }
            ends.0.seal(&header, [3; IV_BYTES], b"{}", &mut out);
            assert_eq!(out, frame(seals));
            ends.1.seal(&header, [3; IV_BYTES], b"{}", &mut out);
            assert_eq!(out, frame(seals));
        };
        check(&old, &[]);
        check(&old, &[&new]);
        check(&new, &[&old]);
        check(&new, &[]);
        check(&old, &[&new]);
        let unknown = KeyUse { seals: "other".parse().unwrap(), opens: Vec::new() };
        assert!(!ends.0.use_keys(&unknown) && !ends.1.use_keys(&unknown));
        assert_eq!(ends.0.sealing_key().id(), old.id());
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused() {
        let host = |id, account| master(id, 1).host_key(AccountId(account));
        let check = |accepted, expected| assert_eq!(HostRing::new(host("k0", 7), accepted).err(), expected);
        check(vec![host("k1", 7)], None);
        let duplicate = InvalidRing::DuplicateKeyId("k0".parse().unwrap());
        check(vec![host("k0", 7)], Some(duplicate));
        let other = InvalidRing::OtherAccount { expected: AccountId(7), found: AccountId(8) };
        check(vec![host("k1", 8)], Some(other));
        let many = |count: usize| (1..=count).map(|n| master(&format!("k{n}"), 1)).collect::<Vec<_>>();
        let check =
            |accepted, expected| assert_eq!(MasterRing::new(master("k0", 1), accepted).err(), expected);
        check(many(limits::KEYS_ACCEPTED_MAX), None);
        check(many(limits::KEYS_ACCEPTED_MAX + 1), Some(InvalidRing::TooManyKeys));
        check(vec![master("k0", 2)], Some(duplicate));
    }
}
