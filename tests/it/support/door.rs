//! The ways in which clients reach a proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::world::World;

/// Where a world listens for TLS, as a list of the host config.
pub const TLS: &str = "\"127.0.0.1:0\"";

/// What is spoken, and where to.
#[derive(Debug, Clone, Copy)]
pub enum Door {
    Plain(SocketAddr),
    Tls(SocketAddr),
    /// HTTP/2 over TLS.
    H2(SocketAddr),
}

impl From<SocketAddr> for Door {
    fn from(plain: SocketAddr) -> Door {
        Door::Plain(plain)
    }
}

/// How one client of constant traffic asks.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub door: Door,
    /// On one connection for as long as the proxy lets it; else on a new one for each request.
    pub keep: bool,
}

impl World {
    /// Where the proxy takes TLS.
    pub fn proxy_tls(&self) -> SocketAddr {
        let told = std::fs::read_to_string(self.run_dir().join("listening.json")).expect("it is written before any role starts");
        let told: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
        told["https"][0].as_str().expect("an address").parse().expect("an address")
    }

    /// Plain, by TLS and by HTTP/2, on kept connections and on new ones.
    pub fn ways(&self) -> Vec<Way> {
        let (plain, tls, h2) = (Door::Plain(self.proxy()), Door::Tls(self.proxy_tls()), Door::H2(self.proxy_tls()));
        let ways = [(plain, true), (plain, false), (tls, true), (tls, false), (h2, true), (h2, false)];
        ways.map(|(door, keep)| Way { door, keep }).to_vec()
    }
}

/// A client that takes any certificate, as a world has none that anybody knows; the handshake itself is checked.
pub fn trusting(protocol: &[u8]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.expect("versions").dangerous().with_custom_certificate_verifier(Arc::new(Trusting(provider)));
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
