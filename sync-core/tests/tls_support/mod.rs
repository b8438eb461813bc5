//! Certificates that are made for one test, in files of its own.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use sync_core::config::TlsFiles;

/// An authority with a folder for what it issues; the folder goes when this is dropped.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    issued: AtomicU32,
}

/// What may be wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Expired,
    NotYetValid,
    WrongName,
    Authority,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("authority of a test")
    }

    pub(crate) fn named(common_name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("p2p-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common_name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, folder, issued: AtomicU32::new(0) };
        fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    /// For `tls_ca_file`.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A certificate for this machine, and its key.
    pub(crate) fn issue(&self, flaw: Flaw) -> TlsFiles {
        let names = if flaw == Flaw::WrongName {
            ["elsewhere.example", "10.1.2.3"]
        } else {
            ["localhost", "127.0.0.1"]
        };
        let mut params = CertificateParams::new(names.map(String::from)).unwrap();
        match flaw {
            Flaw::None | Flaw::WrongName => {}
            Flaw::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Flaw::NotYetValid => params.not_before = date_time_ymd(2200, 1, 1),
            Flaw::Authority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        TlsFiles {
            certificate: self.write(&format!("chain{number}.pem"), &certificate.pem()),
            private_key: self.write(&format!("key{number}.pem"), &key.serialize_pem()),
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The lines of a main server's configuration.
pub(crate) fn lines(files: &TlsFiles) -> String {
    format!(
        "tls_certificate_file = {}\ntls_private_key_file = {}",
        files.certificate.display(),
        files.private_key.display()
    )
}
