//! Clients that speak TLS, and the certificates of these tests.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, ProtocolVersion, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use super::{Answer, PATIENCE, World, answer_from};
use crate::base::secret::Secret;
use crate::proxy::tls::config::provider;
use crate::wire::proxy::{Certificate, Front, Snapshot};

/// A new self-signed certificate for the names.
pub fn certificate(names: &[&str]) -> Certificate {
    certificate_by(names, &rcgen::PKCS_ECDSA_P256_SHA256)
}

pub fn certificate_by(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Certificate {
    let key = KeyPair::generate_for(algorithm).expect("key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = CertificateParams::new(names.clone()).expect("names").self_signed(&key).expect("certificate");
    Certificate { names, chain: cert.pem(), key: Secret::new(key.serialize_pem()) }
}

pub fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.chain.as_bytes()).expect("PEM")
}

/// The same snapshot with these certificates.
pub fn with_certs(snapshot: Snapshot, certs: Vec<Certificate>) -> Snapshot {
    let front = Front { certs, ..snapshot.front };
    Snapshot { front, ..snapshot }
}

/// Takes any certificate: the tests look at it themselves. Signatures are checked.
#[derive(Debug)]
struct Trusting {
    schemes: Vec<SignatureScheme>,
}

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
        let algorithms = &provider().signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// What a client offers. One config is one client with its memory of tickets.
pub struct Offer {
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub alpn: &'static [&'static [u8]],
    /// None: all that the provider knows.
    pub schemes: Option<Vec<SignatureScheme>>,
    /// In this order; None: as the provider has them.
    pub suites: Option<Vec<CipherSuite>>,
}

impl Default for Offer {
    fn default() -> Self {
        Self { versions: tokio_rustls::rustls::ALL_VERSIONS.to_vec(), alpn: &[], schemes: None, suites: None }
    }
}

impl Offer {
    pub fn config(self) -> Arc<ClientConfig> {
        let known = provider().signature_verification_algorithms.supported_schemes();
        let verifier = Arc::new(Trusting { schemes: self.schemes.unwrap_or(known) });
        let mut crypto = CryptoProvider::clone(provider());
        if let Some(suites) = self.suites {
            let find = |wanted: CipherSuite| *crypto.cipher_suites.iter().find(|s| s.suite() == wanted).expect("a known suite");
            crypto.cipher_suites = suites.into_iter().map(find).collect();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto))
            .with_protocol_versions(&self.versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

/// A client that writes bytes over TLS and reads answers.
pub struct TlsClient {
    pub read: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl TlsClient {
    /// `sni` is the name asked for; an IP address asks for none.
    pub fn connect(world: &World, sni: &str, config: &Arc<ClientConfig>) -> Self {
        Self::try_connect(world, sni, config).expect("handshake")
    }

    pub fn try_connect(world: &World, sni: &str, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(world.tls_address).expect("the proxy accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        let name = ServerName::try_from(sni.to_owned()).expect("name");
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("client"), stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { read: BufReader::new(stream) })
    }

    pub fn conn(&self) -> &ClientConnection {
        &self.read.get_ref().conn
    }

    pub fn shown(&self) -> CertificateDer<'static> {
        self.conn().peer_certificates().expect("certificates")[0].clone().into_owned()
    }

    pub fn version(&self) -> ProtocolVersion {
        self.conn().protocol_version().expect("a version")
    }

    pub fn resumed(&self) -> bool {
        self.conn().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.read.get_mut().write_all(bytes.as_ref());
        let _ = self.read.get_mut().flush();
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("a whole answer")
    }

    pub fn try_answer(&mut self) -> Option<Answer> {
        answer_from(&mut self.read, false)
    }

    #[track_caller]
    pub fn get(&mut self, host: &str) -> Answer {
        self.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.answer()
    }
}

impl World {
    /// One more client without memory.
    pub fn tls(&self, sni: &str) -> TlsClient {
        TlsClient::connect(self, sni, &Offer::default().config())
    }
}
