//! What all TLS connections of the process have in common.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{CipherSuite, Error, ServerConfig};

/// The name of HTTP/2 in ALPN (RFC 9113 §3.1).
pub const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";

/// The one place that says whose cryptography is used; `ticketer` must be of the same.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let mut ring = ring::default_provider();
        // AES-128 before AES-256: its handshake hashes with SHA-256, which processors have instructions for; SHA-384 took a tenth of the time
        // of a new connection. A stable sort: else in the order of the provider.
        ring.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
        Arc::new(ring)
    })
}

/// How connections are served, by what the client prefers.
#[derive(Debug)]
pub struct Servers {
    ours: Arc<ServerConfig>,
    theirs: Arc<ServerConfig>,
}

impl Servers {
    /// The one for a client that names these cipher suites: in our order, but a client that prefers ChaCha20 has no instructions for AES.
    pub fn fitting(&self, suites: &[CipherSuite]) -> &Arc<ServerConfig> {
        let known = |asked: &&CipherSuite| provider().cipher_suites.iter().any(|suite| suite.suite() == **asked);
        let prefers_chacha = matches!(
            suites.iter().find(known),
            Some(
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                    | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
            )
        );
        if prefers_chacha { &self.theirs } else { &self.ours }
    }
}

/// Tickets let a client that comes back skip the certificate and its signature. The keys are one set per process (any worker resumes), live
/// in memory only, and change every six hours; with another process a client does a whole handshake once.
fn ticketer() -> Result<Arc<dyn ProducesTickets>, Error> {
    static TICKETER: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    match TICKETER.get() {
        Some(ticketer) => Ok(Arc::clone(ticketer)),
        None => {
            let made = ring::Ticketer::new()?;
            Ok(Arc::clone(TICKETER.get_or_init(|| made)))
        }
    }
}

/// TLS 1.2 and 1.3 with these certificates; no client certificates, no early data (it can be replayed).
pub fn servers(certs: Arc<dyn ResolvesServerCert>) -> Servers {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has cipher suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(certs);
    config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
    // One is what a client that comes back uses up; it gets the next with it. Each costs as much as a request.
    config.send_tls13_tickets = 1;
    // State of sessions would be memory that strangers fill.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match ticketer() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "no session tickets: every TLS connection does a whole handshake"),
    }
    let theirs = Arc::new(config.clone());
    config.ignore_client_order = true;
    Servers { ours: Arc::new(config), theirs }
}
