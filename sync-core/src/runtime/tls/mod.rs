//! TLS: who is trusted ([`Trust`]), what a listener shows ([`Identity`]), and the files that both come from.
//!
//! TLS 1.2 and 1.3 as rustls has them by default, with the cryptography of ring. Files are PEM and are read once. No
//! error shows what a file holds.

mod files;
mod identity;
mod trust;

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub use identity::Identity;
pub use trust::Trust;

/// What is wrong with a file of certificates or with that of a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{setting}`: {}: {fault}", path.display())]
pub struct TlsFileError {
    /// What names the file: a key of the configuration, or an argument.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: TlsFileFault,
}

/// What is wrong with the file. Each tells what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsFileFault {
    /// The system does not give it; with what the system says.
    #[error("cannot be read: {0}; name a file that is there and that this program may read")]
    Unreadable(String),
    /// It is larger than [`limits::PEM_BYTES_MAX`](crate::limits::PEM_BYTES_MAX).
    #[error("larger than 1 MiB; name the file with the certificate and nothing else")]
    TooLarge,
    /// It holds no certificate.
    #[error("holds no certificate; one begins with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// One of its certificates cannot be read.
    #[error("certificate {0} in it is damaged; copy the file again, or have the certificate issued again")]
    DamagedCertificate(usize),
    /// It holds no private key.
    #[error(
        "holds no private key; one begins with `-----BEGIN PRIVATE KEY-----`, or `RSA` or `EC` in front of `PRIVATE`"
    )]
    NoKey,
    /// The private key is encrypted.
    #[error(
        "the private key in it is encrypted; write it out in clear with `openssl pkey -in FILE -out OTHER`"
    )]
    EncryptedKey,
    /// The private key cannot be read, or is of a kind that is not known.
    #[error(
        "the private key in it cannot be used; it must be an RSA key of at least 2048 bits, or ECDSA (P-256, P-384) \
         or Ed25519"
    )]
    UnusableKey,
    /// The private key belongs to another certificate.
    #[error(
        "the private key in it is not that of the certificate; name the two files that were made together"
    )]
    OtherKey,
}

/// Named, so that what else is built into a program cannot change it.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The one protocol that is spoken inside.
const PROTOCOL: &[u8] = b"http/1.1";
