//! Whose certificates are believed.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::{PROTOCOL, TlsFileError, TlsFileFault, files, provider};
use crate::config::Config;

/// The authorities that a client trusts: those of the system, and further ones of a file. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    further: Arc<Vec<CertificateDer<'static>>>,
}

impl Trust {
    /// The system's authorities and those of `tls_ca_file`.
    ///
    /// # Errors
    /// What is wrong with that file.
    pub fn of(config: &Config) -> Result<Self, TlsFileError> {
        Self::with_file("tls_ca_file", config.tls_ca_file.as_deref())
    }

    /// The system's authorities and those of a file; `setting` is what names it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn with_file(setting: &'static str, path: Option<&Path>) -> Result<Self, TlsFileError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let wrong = |fault| TlsFileError { setting, path: path.to_owned(), fault };
        let further = files::certificates(path).map_err(wrong)?;
        let mut store = RootCertStore::empty();
        for (index, certificate) in further.iter().enumerate() {
            let damaged = |_| wrong(TlsFileFault::DamagedCertificate(index + 1));
            store.add(certificate.clone()).map_err(damaged)?;
        }
        Ok(Self { further: Arc::new(further) })
    }

    /// What opens connections; `None` when there is nobody to trust.
    pub(crate) fn connector(&self) -> Result<Option<TlsConnector>, Error> {
        let mut store = RootCertStore::empty();
        let system = SYSTEM.iter().cloned();
        // The system's may hold some that are of no use here.
        store.add_parsable_certificates(system.chain(self.further.iter().cloned()));
        if store.is_empty() {
            return Ok(None);
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Some(TlsConnector::from(Arc::new(config))))
    }
}

/// Read once in a process: there are a hundred and more. What cannot be read is not trusted.
static SYSTEM: LazyLock<Vec<CertificateDer<'static>>> =
    LazyLock::new(|| rustls_native_certs::load_native_certs().certs);
