//! The keys of this host: read from files, and read again when those change.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig,
    client::WebPkiServerVerifier,
    crypto::ring,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use tracing::{info, warn};

use crate::names;

/// HTTP/2, as TLS has it (RFC 7301).
const ALPN: &[u8] = b"h2";

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The authority that signed the certificates of all hosts and operators; there may be several in it.
    pub ca: PathBuf,
    /// This host's certificate, with what leads to the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Lists of certificates that count no more, each signed by an authority of `ca`; none: all count until they end.
    pub crl: Option<PathBuf>,
}

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not PEM, or nothing of what is looked for in it.
    #[error("{path} has no {what}: {detail}")]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What should be there.
        what: &'static str,
        /// What the parser says.
        detail: String,
    },
    /// They do not belong together, or TLS cannot use them.
    #[error("{path}: {source}")]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Nobody could be checked by it.
    #[error("{path}: no certificate of it can be used as an authority")]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// No list of revoked certificates.
    #[error("{path}: a list of revoked certificates in it cannot be used: {detail}")]
    NoList {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// Everybody on this host could be this host.
    #[error("{path} can be read by everybody: `chmod 600 {path}`")]
    Open {
        /// The key.
        path: PathBuf,
    },
}

/// The keys of this host, always those that stand in the files now.
#[derive(Debug)]
pub struct Keys {
    files: Files,
    read: Mutex<Read>,
}

#[derive(Clone, Debug)]
struct Read {
    stamp: Stamp,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    ends_ms: Option<i64>,
}

/// Of each file inode, size and time of its last change: different when a file was replaced or written. None where it
/// cannot be looked at.
type Stamp = [Option<(u64, u64, i64, i64)>; 4];

impl Keys {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or used; a key that everybody can read.
    pub fn read(files: Files) -> Result<Keys, KeysError> {
        let read = Mutex::new(Read::from(&files, stamp(&files))?);
        Ok(Keys { files, read })
    }

    /// For who comes in: TLS 1.3, and a certificate of the authority or nothing.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.now().server
    }

    /// For who is called: it has to be of the authority and to have the name, and is shown our certificate.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.now().client
    }

    /// When this host's certificate ends, milliseconds since 1970; none if it does not say.
    pub fn ends_ms(&self) -> Option<i64> {
        self.now().ends_ms
    }

    /// Files that changed and cannot be used (half of them replaced, perhaps) change nothing: the last good ones stay.
    fn now(&self) -> Read {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.files);
        if stamp != read.stamp {
            match Read::from(&self.files, stamp) {
                Ok(fresh) => {
                    info!(certificate = %self.files.certificate.display(), "new keys are used from now on");
                    *read = fresh;
                }
                Err(error) => {
                    warn!("the keys changed and cannot be used, the last ones stay: {error}");
                    read.stamp = stamp;
                }
            }
        }
        read.clone()
    }
}

impl Read {
    fn from(files: &Files, stamp: Stamp) -> Result<Read, KeysError> {
        closed(&files.key)?;
        let roots = Arc::new(roots(&files.ca)?);
        let certificates = certificates(&files.certificate)?;
        let unusable = |source| KeysError::Unusable {
            path: files.certificate.clone(),
            source,
        };
        let ends_ms = certificates.first().and_then(|first| names::ends_ms(first));
        let provider = Arc::new(ring::default_provider());
        let lists = match &files.crl {
            Some(path) => lists(path)?,
            None => Vec::new(),
        };
        // Who is in no list is as good as without one, and a list that was not renewed in time still names whom it named: otherwise a
        // file that nobody looks after would one day cut every host off from every other.
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .with_crls(lists.clone())
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| no_verifier(files, &error))?;
        let called = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .with_crls(lists)
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| no_verifier(files, &error))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .and_then(|config| {
                let config = config.with_client_cert_verifier(callers);
                config.with_single_cert(certificates.clone(), key(&files.key).map_err(general)?)
            })
            .map_err(unusable)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A caller is asked for its certificate each time: one that was valid an hour ago need not be so now.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .and_then(|config| {
                let config = config.with_webpki_verifier(called);
                config.with_client_auth_cert(certificates, key(&files.key).map_err(general)?)
            })
            .map_err(unusable)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Read {
            stamp,
            server: Arc::new(server),
            client: Arc::new(client),
            ends_ms,
        })
    }
}

fn general(error: KeysError) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

fn stamp(files: &Files) -> Stamp {
    let files = [
        Some(&files.ca),
        Some(&files.certificate),
        Some(&files.key),
        files.crl.as_ref(),
    ];
    files.map(|path| {
        let found = fs::metadata(path?).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    })
}

fn closed(key: &Path) -> Result<(), KeysError> {
    let found = fs::metadata(key).map_err(|source| unreadable(key, source))?;
    if found.mode() & 0o007 != 0 {
        return Err(KeysError::Open { path: key.into() });
    }
    Ok(())
}

fn roots(path: &Path) -> Result<RootCertStore, KeysError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path)?);
    if roots.is_empty() {
        return Err(KeysError::NoAuthority { path: path.into() });
    }
    Ok(roots)
}

fn no_verifier(files: &Files, error: &VerifierBuilderError) -> KeysError {
    match (error, &files.crl) {
        (VerifierBuilderError::InvalidCrl(error), Some(path)) => KeysError::NoList {
            path: path.clone(),
            detail: format!("{error:?}"),
        },
        _ => KeysError::NoAuthority {
            path: files.ca.clone(),
        },
    }
}

/// One at least: a file without any is hardly what was meant.
fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, KeysError> {
    let pem = fs::read(path).map_err(|source| unreadable(path, source))?;
    let none = |detail: String| KeysError::NotPem {
        path: path.into(),
        what: "list of revoked certificates",
        detail,
    };
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| none(error.to_string()))?;
    match all.is_empty() {
        true => Err(none("there is no `X509 CRL` in it".into())),
        false => Ok(all),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeysError> {
    let pem = fs::read(path).map_err(|source| unreadable(path, source))?;
    let none = |detail: String| KeysError::NotPem {
        path: path.into(),
        what: "certificate",
        detail,
    };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| none(error.to_string()))?;
    if all.is_empty() {
        return Err(none("it is empty".into()));
    }
    Ok(all)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, KeysError> {
    let pem = fs::read(path).map_err(|source| unreadable(path, source))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| KeysError::NotPem {
        path: path.into(),
        what: "private key",
        detail: error.to_string(),
    })
}

fn unreadable(path: &Path, source: std::io::Error) -> KeysError {
    KeysError::Unreadable {
        path: path.into(),
        source,
    }
}
