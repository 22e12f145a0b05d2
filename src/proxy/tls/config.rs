//! What all TLS connections of the process have in common.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, ServerConfig};

/// The name of HTTP/2 in ALPN (RFC 9113 §3.1).
pub const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";

/// The one place that says whose cryptography is used; `ticketer` must be of the same.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider()))
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
pub fn server(certs: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has cipher suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(certs);
    config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
    // State of sessions would be memory that strangers fill.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match ticketer() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "no session tickets: every TLS connection does a whole handshake"),
    }
    Arc::new(config)
}
