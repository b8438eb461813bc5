//! Keys for a replay: a recording holds fingerprints only.

use thiserror::Error;

use super::KeyMark;
use super::replay::Parts;
use crate::envelope::{HostKey, HostRing, InvalidKey, InvalidRing, MasterKey, MasterRing};
use crate::host_sync::policy::SessionPolicy;
use crate::host_sync::sealed::{SealedHost, SealedServer};
use crate::id::AccountId;

/// Keys that were handed over, of hosts and of main servers.
#[derive(Clone, Debug, Default)]
pub struct KeyBag {
    masters: Vec<MasterKey>,
    hosts: Vec<HostKey>,
}

/// A replay lacks a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It was not handed over.
    #[error("the key {0} is not among those given")]
    Missing(KeyMark),
    /// The rig's seed gives another one.
    #[error("the key {0} does not derive from the rig's seed")]
    NotDerived(KeyMark),
    /// The recording names none, but its frames are sealed.
    #[error("the recording names no key")]
    None,
    /// They do not go together.
    #[error(transparent)]
    Ring(#[from] InvalidRing),
}

impl KeyBag {
    /// Adds a key by its text form, of a host or of a main server.
    ///
    /// # Errors
    /// When it is no key. The error shows nothing of the text.
    pub fn add(&mut self, text: &str) -> Result<(), InvalidKey> {
        if text.starts_with("p2p-host:") {
            self.hosts.push(text.parse()?);
        } else {
            self.masters.push(text.parse()?);
        }
        Ok(())
    }

    /// The ring of a host: of its own keys, or of those derived from a main server's.
    ///
    /// # Errors
    /// When a key is missing.
    pub fn host(&self, account: AccountId, marks: &[KeyMark]) -> Result<HostRing, KeyError> {
        let mut keys = marks.iter().map(|mark| {
            let own =
                self.hosts.iter().find(|key| fits(mark, &key.fingerprint()) && key.account() == account);
            let derived = || {
                let mut keys = self.masters.iter().map(|master| master.host_key(account));
                keys.find(|key| fits(mark, &key.fingerprint()))
            };
            own.cloned().or_else(derived).ok_or_else(|| KeyError::Missing(mark.clone()))
        });
        let sealing = keys.next().ok_or(KeyError::None)??;
        Ok(HostRing::new(sealing, keys.collect::<Result<_, _>>()?)?)
    }

    /// The ring of a main server.
    ///
    /// # Errors
    /// When a key is missing.
    pub fn server(&self, marks: &[KeyMark]) -> Result<MasterRing, KeyError> {
        let mut keys = marks.iter().map(|mark| {
            let key = self.masters.iter().find(|key| fits(mark, &key.fingerprint()));
            key.cloned().ok_or_else(|| KeyError::Missing(mark.clone()))
        });
        let sealing = keys.next().ok_or(KeyError::None)??;
        Ok(MasterRing::new(sealing, keys.collect::<Result<_, _>>()?)?)
    }
}

fn fits(mark: &KeyMark, fingerprint: &str) -> bool {
    mark.fingerprint == fingerprint
}

/// What engines of production are made of: frames sealed with keys from a bag.
#[derive(Clone, Debug, Default)]
pub struct SealedParts<P> {
    /// Where the keys come from.
    pub keys: KeyBag,
    /// How sessions decide.
    pub policy: P,
}

impl<P: SessionPolicy + Clone> Parts for SealedParts<P> {
    type HostCodec = SealedHost;
    type ServerCodec = SealedServer;
    type Policy = P;

    fn session(&mut self, account: AccountId, keys: &[KeyMark]) -> Result<(SealedHost, P), KeyError> {
        Ok((SealedHost::new(self.keys.host(account, keys)?), self.policy.clone()))
    }

    fn server(&mut self, _: u32, keys: &[KeyMark]) -> Result<SealedServer, KeyError> {
        Ok(SealedServer::new(self.keys.server(keys)?))
    }
}
