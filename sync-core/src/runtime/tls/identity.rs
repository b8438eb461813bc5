//! What a listener shows of itself.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{Error, ServerConfig};

use super::{PROTOCOL, TlsFileError, TlsFileFault, files, provider};
use crate::config::TlsFiles;

/// A listener's certificate and its private key. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// Reads the files of a configuration.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsFileError> {
        Self::named(files, ["tls_certificate_file", "tls_private_key_file"])
    }

    /// The same, with what names the two files where it is no configuration.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn named(files: &TlsFiles, settings: [&'static str; 2]) -> Result<Self, TlsFileError> {
        let [certificate, private_key] = settings;
        let of_chain = |fault| TlsFileError { setting: certificate, path: files.certificate.clone(), fault };
        let of_key = |fault| TlsFileError { setting: private_key, path: files.private_key.clone(), fault };
        let chain = files::certificates(&files.certificate).map_err(of_chain)?;
        let key = files::private_key(&files.private_key).map_err(of_key)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        match config {
            Ok(mut config) => {
                config.alpn_protocols = vec![PROTOCOL.to_vec()];
                Ok(Self(Arc::new(config)))
            }
            Err(Error::InconsistentKeys(_)) => Err(of_key(TlsFileFault::OtherKey)),
            Err(Error::InvalidCertificate(_)) => Err(of_chain(TlsFileFault::DamagedCertificate(1))),
            Err(_) => Err(of_key(TlsFileFault::UnusableKey)),
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}
