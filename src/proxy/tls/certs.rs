//! Certificates by name: built whole from a snapshot, never changed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{SignatureAlgorithm, SignatureScheme};

use super::config::provider;
use crate::wire::proxy::{Certificate, Front};

/// One certificate with its key, ready to sign.
pub struct Shown {
    names: Vec<String>,
    fingerprint: [u8; 32],
    key: Arc<CertifiedKey>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Shown {
    /// Whether it speaks for the name (in lower case).
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| name == host || name.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent))
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    fn is_ecdsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::ECDSA
    }
}

#[derive(Debug, Default)]
pub struct Certs {
    /// By exact name or `*.parent`; ECDSA first, else as the snapshot has them.
    by_name: HashMap<String, Vec<Arc<Shown>>>,
    fallback: Option<Arc<Shown>>,
}

impl Certs {
    /// Takes what a snapshot has; keys that `before` has already are not read again. One that can't be used is left out and logged.
    pub fn build(front: &Front, before: &Certs) -> Self {
        let all = before.by_name.values().flatten().chain(&before.fallback);
        let known: HashMap<[u8; 32], &Arc<Shown>> = all.map(|shown| (shown.fingerprint, shown)).collect();
        let read = |certificate: &Certificate| match shown(certificate, &known) {
            Ok(shown) => Some(Arc::new(shown)),
            Err(why) => {
                tracing::error!(names = certificate.names.join(" "), why, "a certificate can't be used; clients get another one");
                None
            }
        };
        let mut by_name: HashMap<String, Vec<Arc<Shown>>> = HashMap::new();
        for shown in front.certs.iter().filter_map(read) {
            for name in &shown.names {
                by_name.entry(name.clone()).or_default().push(Arc::clone(&shown));
            }
        }
        for fitting in by_name.values_mut() {
            fitting.sort_by_key(|shown| !shown.is_ecdsa());
        }
        Self { by_name, fallback: front.fallback.as_ref().and_then(read) }
    }

    /// What to show to a client that asks for this name (in lower case) and knows these ways to sign: of the exact name before the wildcard,
    /// ECDSA first, else the self-signed one.
    pub fn choose(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Shown>> {
        let wildcard = sni.and_then(|name| name.split_once('.')).map(|(_, parent)| format!("*.{parent}"));
        let named = [sni, wildcard.as_deref()].into_iter().flatten().filter_map(|name| self.by_name.get(name));
        named.flatten().find(|shown| shown.key.key.choose_scheme(schemes).is_some()).or(self.fallback.as_ref())
    }
}

impl ResolvesServerCert for Certs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name().map(str::to_ascii_lowercase);
        self.choose(sni.as_deref(), hello.signature_schemes()).map(|shown| Arc::clone(&shown.key))
    }
}

fn shown(certificate: &Certificate, known: &HashMap<[u8; 32], &Arc<Shown>>) -> Result<Shown, String> {
    let names: Vec<String> = certificate.names.iter().map(|name| name.to_ascii_lowercase()).collect();
    // The length keeps the border between the two texts.
    let mut hash = Sha256::new();
    hash.update(certificate.chain.len().to_be_bytes());
    hash.update(&certificate.chain);
    hash.update(certificate.key.reveal());
    let fingerprint: [u8; 32] = hash.finalize().into();
    let key = match known.get(&fingerprint) {
        Some(shown) => Arc::clone(&shown.key),
        None => Arc::new(read(certificate)?),
    };
    Ok(Shown { names, fingerprint, key })
}

fn read(certificate: &Certificate) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| format!("reading the chain: {e}"))?;
    // The reader's error does not show what it read.
    let key = PrivateKeyDer::from_pem_slice(certificate.key.reveal().as_bytes()).map_err(|_| "the key is no PEM".to_owned())?;
    CertifiedKey::from_der(chain, key, provider()).map_err(|e| format!("certificate and key: {e}"))
}
