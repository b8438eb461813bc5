//! The shared key of peers: what signs requests, answers and announcements, and what a signature covers.
//!
//! HMAC-SHA256 over everything that counts, each part preceded by its length, under a purpose of its own, so that no
//! signature of one kind passes for another. It proves who speaks and that nothing was altered; it hides nothing: what
//! peers exchange is readable on its way.

mod replay;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

pub use replay::{NotFresh, ReplayGuard};

use super::announcement::Announcement;
use crate::secret::Secret;
use crate::time::Timestamp;

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;

const PREFIX: &str = "p2p-peers:";
const PURPOSE_REQUEST: &[u8] = b"p2p-peers v1 request";
const PURPOSE_ANSWER: &[u8] = b"p2p-peers v1 answer";
const PURPOSE_ANNOUNCEMENT: &[u8] = b"p2p-peers v1 announcement";
const PURPOSE_TOKEN: &[u8] = b"p2p-peers v1 token";

/// The key that all peers of one mesh hold. Its text form is `p2p-peers:<base64 of 32 bytes>`.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey(Secret<[u8; KEY_BYTES]>);

/// The text is no shared key. Shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a shared key reads `p2p-peers:<base64 of 32 bytes>`")]
pub struct InvalidSharedKey;

/// Drawn for each request, so that none is taken twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce(pub u128);

/// Proves that whoever made it holds the key. Shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 32]);

/// The text is no signature, or no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not `P2P-HMAC time=<milliseconds>,nonce=<32 hex digits>,signature=<64 hex digits>`")]
pub struct InvalidProof;

/// What goes with a request or an announcement. As text: `P2P-HMAC time=..,nonce=..,signature=..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// When it was made, to the millisecond.
    pub at: Timestamp,
    /// Which one it is.
    pub nonce: Nonce,
    /// Over both and what is signed.
    pub signature: Signature,
}

/// What a request says beside its proof.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// A further part of its head that counts; empty for none.
    pub head: &'a str,
    /// The body as it travels.
    pub body: &'a [u8],
}

impl SharedKey {
    /// From its bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Secret::new(bytes))
    }

    /// The text form.
    pub fn to_text(&self) -> Secret<String> {
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(self.0.expose())))
    }

    /// Signs a request of this moment.
    pub fn prove(&self, request: &Request<'_>, at: Timestamp, nonce: Nonce) -> Proof {
        let at = Timestamp::from_ms(at.as_ms());
        Proof { at, nonce, signature: self.over_request(request, at, nonce).signature() }
    }

    /// Whether a request was made by somebody who holds the key. Says nothing about when.
    pub fn verifies(&self, request: &Request<'_>, proof: &Proof) -> bool {
        self.over_request(request, proof.at, proof.nonce).verifies(proof.signature)
    }

    /// Signs the answer to the request with this nonce.
    pub fn sign_answer(&self, nonce: Nonce, status: u16, body: &[u8]) -> Signature {
        self.over_answer(nonce, status, body).signature()
    }

    /// Whether an answer is that of somebody who holds the key, to this very request.
    pub fn verifies_answer(&self, nonce: Nonce, status: u16, body: &[u8], signature: Signature) -> bool {
        self.over_answer(nonce, status, body).verifies(signature)
    }

    /// Signs an announcement.
    pub fn prove_announcement(&self, announcement: &Announcement, at: Timestamp, nonce: Nonce) -> Proof {
        let at = Timestamp::from_ms(at.as_ms());
        Proof { at, nonce, signature: self.over_announcement(announcement, at, nonce).signature() }
    }

    /// Whether an announcement is that of somebody who holds the key.
    pub fn verifies_announcement(&self, announcement: &Announcement, proof: &Proof) -> bool {
        self.over_announcement(announcement, proof.at, proof.nonce).verifies(proof.signature)
    }

    /// What people show to the documented endpoints in place of a proof (`Authorization: Bearer ...`): it cannot be
    /// turned back into the key.
    pub fn token(&self) -> Secret<String> {
        Secret::new(Parts::new(self, PURPOSE_TOKEN).signature().to_string())
    }

    /// Whether this is the token.
    pub fn verifies_token(&self, token: &str) -> bool {
        token.parse().is_ok_and(|signature| Parts::new(self, PURPOSE_TOKEN).verifies(signature))
    }

    fn over_request(&self, request: &Request<'_>, at: Timestamp, nonce: Nonce) -> Parts {
        Parts::new(self, PURPOSE_REQUEST)
            .with(&at.as_ms().to_be_bytes())
            .with(&nonce.0.to_be_bytes())
            .with(request.method.as_bytes())
            .with(request.target.as_bytes())
            .with(request.head.as_bytes())
            .with(request.body)
    }

    fn over_answer(&self, nonce: Nonce, status: u16, body: &[u8]) -> Parts {
        Parts::new(self, PURPOSE_ANSWER).with(&nonce.0.to_be_bytes()).with(&status.to_be_bytes()).with(body)
    }

    fn over_announcement(&self, announcement: &Announcement, at: Timestamp, nonce: Nonce) -> Parts {
        // As the type writes it, whatever else stood in the datagram and in which order.
        let text = serde_json::to_vec(announcement).unwrap_or_default();
        Parts::new(self, PURPOSE_ANNOUNCEMENT)
            .with(&at.as_ms().to_be_bytes())
            .with(&nonce.0.to_be_bytes())
            .with(&text)
    }
}

impl FromStr for SharedKey {
    type Err = InvalidSharedKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSharedKey)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| InvalidSharedKey)?);
        Ok(Self::new(bytes.as_slice().try_into().map_err(|_| InvalidSharedKey)?))
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(***)")
    }
}

/// A signature in the making.
struct Parts(Hmac<Sha256>);

impl Parts {
    fn new(key: &SharedKey, purpose: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key.0.expose()).expect("HMAC takes a key of any length")).with(purpose)
    }

    fn with(mut self, part: &[u8]) -> Self {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    fn signature(self) -> Signature {
        Signature(self.0.finalize().into_bytes().into())
    }

    /// In constant time.
    fn verifies(self, signature: Signature) -> bool {
        self.0.verify_slice(&signature.0).is_ok()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = InvalidProof;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| InvalidProof)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let (high, low) = (digit(pair[0]).ok_or(InvalidProof)?, digit(pair[1]).ok_or(InvalidProof)?);
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, nonce: Nonce(nonce), signature } = self;
        write!(f, "P2P-HMAC time={},nonce={nonce:032x},signature={signature}", at.as_ms())
    }
}

impl FromStr for Proof {
    type Err = InvalidProof;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("P2P-HMAC time=").ok_or(InvalidProof)?;
        let (time, rest) = rest.split_once(",nonce=").ok_or(InvalidProof)?;
        let (nonce, signature) = rest.split_once(",signature=").ok_or(InvalidProof)?;
        let plain = time.bytes().all(|b| b.is_ascii_digit()) && nonce.bytes().all(|b| b.is_ascii_hexdigit());
        if !plain || time.len() > MILLISECOND_DIGITS_MAX || nonce.len() != 32 {
            return Err(InvalidProof);
        }
        Ok(Self {
            at: Timestamp::from_ms(time.parse().map_err(|_| InvalidProof)?),
            nonce: Nonce(u128::from_str_radix(nonce, 16).map_err(|_| InvalidProof)?),
            signature: signature.parse()?,
        })
    }
}

/// More would not be milliseconds that fit into microseconds.
const MILLISECOND_DIGITS_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce(7);
    const AT: Timestamp = Timestamp::from_ms(1_735_732_800_000);

    fn key(byte: u8) -> SharedKey {
        SharedKey::new([byte; KEY_BYTES])
    }

    fn request(body: &[u8]) -> Request<'_> {
        Request { method: "POST", target: "/a?b", head: "h", body }
    }

    #[test]
    fn a_proof_holds_for_one_request_under_one_key() {
        let proof = key(1).prove(&request(b"x"), AT, NONCE);
        assert!(key(1).verifies(&request(b"x"), &proof));
        assert!(!key(2).verifies(&request(b"x"), &proof));
        for other in [
            request(b"y"),
            Request { method: "GET", ..request(b"x") },
            Request { target: "/a?c", ..request(b"x") },
            Request { head: "", ..request(b"x") },
            // The same bytes, cut elsewhere.
            Request { head: "hx", ..request(b"") },
        ] {
            assert!(!key(1).verifies(&other, &proof), "{other:?}");
        }
        let later = Proof { at: Timestamp::from_ms(AT.as_ms() + 1), ..proof };
        let again = Proof { nonce: Nonce(8), ..proof };
        assert!(!key(1).verifies(&request(b"x"), &later) && !key(1).verifies(&request(b"x"), &again));
    }

    #[test]
    fn an_answer_belongs_to_its_request() {
        let signature = key(1).sign_answer(NONCE, 200, b"x");
        assert!(key(1).verifies_answer(NONCE, 200, b"x", signature));
        assert!(!key(1).verifies_answer(Nonce(8), 200, b"x", signature));
        assert!(!key(1).verifies_answer(NONCE, 403, b"x", signature));
        assert!(!key(1).verifies_answer(NONCE, 200, b"y", signature));
    }

    #[test]
    fn texts_come_back_as_they_were_and_others_are_refused() {
        let proof = key(1).prove(&request(b"x"), AT, NONCE);
        assert_eq!(proof.to_string().parse(), Ok(proof));
        let text = key(3).to_text();
        assert_eq!(text.expose().parse(), Ok(key(3)));
        for wrong in ["", "p2p-peers:", "p2p-peers:AAAA", "p2p-master:k:AAAA", "AAAA"] {
            assert_eq!(wrong.parse::<SharedKey>(), Err(InvalidSharedKey), "{wrong}");
        }
        let good = proof.to_string();
        for at in 0..good.len() {
            assert!(good[..at].parse::<Proof>().is_err(), "{at}");
        }
        assert!(good.replace("time=", "time=+").parse::<Proof>().is_err());
    }

    #[test]
    fn the_key_shows_itself_nowhere_and_its_token_is_another_text() {
        assert_eq!(format!("{:?}", key(1)), "SharedKey(***)");
        let token = key(1).token();
        assert!(key(1).verifies_token(token.expose()) && !key(2).verifies_token(token.expose()));
        assert!(!key(1).verifies_token("") && !key(1).verifies_token(&"0".repeat(64)));
    }
}
