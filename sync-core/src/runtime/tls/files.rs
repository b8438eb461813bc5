//! Reads PEM files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsFileFault;
use crate::limits;

/// The certificates of a file, in its order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileFault> {
    let bytes = read(path)?;
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let damaged = |_| TlsFileFault::DamagedCertificate(certificates.len() + 1);
        let certificate = certificate.map_err(damaged)?;
        certificates.push(certificate);
    }
    if certificates.is_empty() { Err(TlsFileFault::NoCertificate) } else { Ok(certificates) }
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileFault> {
    let bytes = read(path)?;
    let says = |words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
    if says(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || says(b"Proc-Type: 4,ENCRYPTED") {
        return Err(TlsFileFault::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsFileFault::NoKey,
        _ => TlsFileFault::UnusableKey,
    })
}

/// Wiped when dropped: it may hold a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsFileFault> {
    let unreadable = |error: std::io::Error| TlsFileFault::Unreadable(error.to_string());
    // Room for all of it, so that no piece is left behind by a buffer that grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limits::PEM_BYTES_MAX + 1));
    let file = File::open(path).map_err(unreadable)?;
    file.take(limits::PEM_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limits::PEM_BYTES_MAX { Err(TlsFileFault::TooLarge) } else { Ok(bytes) }
}
