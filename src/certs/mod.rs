//! Certificates that people bring: read, and checked before they are kept.
//!
//! Owns: what a chain and a key must be to be shown to clients. Uses: names, base, model. Never: keeps anything (the store does; but for the self-signed one of the host), shows
//! anything (the proxy does), puts a key into an error. Invariant: what passes here, the proxy can show.

pub mod self_signed;
pub mod sieve; // what was kept and can't be shown any more

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::base::clock::UnixMillis;
use crate::model::certificate::Facts;
use crate::names::HostPattern;

/// Bytes of a chain or a key: ten of the largest certificates there are.
const LARGEST: usize = 128 * 1024;

/// Why a certificate is not taken. One line each; none repeats what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertTrouble {
    #[error("the {0} is larger than {LARGEST} bytes")]
    TooLarge(&'static str),
    #[error("the chain holds no certificate: it must be PEM, with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    #[error("chain and key are exchanged: the chain holds a private key, and the key a certificate")]
    Exchanged,
    #[error("the key is encrypted; decrypt it first: openssl pkey -in KEY -out KEY.plain")]
    KeyEncrypted,
    #[error("the key file holds no private key: it must be PEM, with `-----BEGIN PRIVATE KEY-----` or the like")]
    NoKey,
    #[error("certificate {0} of the chain can't be read")]
    Malformed(usize),
    #[error("the key is of a kind that is not supported: use ECDSA P-256 or P-384, RSA of 2048 bits or more, or Ed25519")]
    KeyKind,
    #[error("the key belongs to certificate {0} of the chain, which must begin with it")]
    Order(usize),
    #[error("the key does not belong to the certificate")]
    OtherKey,
    #[error("certificate {0} of the chain was not issued by the one after it: leave out what does not belong to it")]
    Broken(usize),
    #[error("the certificate ended at {}", .0.rfc3339())]
    Ended(UnixMillis),
    #[error("the certificate begins at {} only", .0.rfc3339())]
    NotYet(UnixMillis),
    #[error("the certificate does not speak for `{host}`, but for {names}")]
    OtherNames { host: HostPattern, names: String },
}

/// Checks what was given for `hosts` and says what the certificate is. `now` is the host's time.
pub fn check(hosts: &[HostPattern], chain: &str, key: &str, now: UnixMillis) -> Result<Facts, CertTrouble> {
    if chain.len() > LARGEST || key.len() > LARGEST {
        return Err(CertTrouble::TooLarge(if chain.len() > LARGEST { "chain" } else { "key" }));
    }
    let ders = certificates(chain, key)?;
    let secret = private_key(key)?;
    let parsed = parsed(&ders)?;
    let first = parsed.first().ok_or(CertTrouble::NoCertificate)?;
    belongs(&ders, &parsed, secret)?;
    for (n, pair) in parsed.windows(2).enumerate() {
        if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
            return Err(CertTrouble::Broken(n + 1));
        }
    }
    let at = |time: x509_parser::time::ASN1Time| UnixMillis(time.timestamp().saturating_mul(1000));
    let facts = Facts {
        fingerprint: Sha256::digest(&ders[0]).iter().map(|byte| format!("{byte:02x}")).collect(),
        names: names(first),
        issuer: issuer(first),
        key_type: key_type(first),
        not_before: at(first.validity().not_before),
        not_after: at(first.validity().not_after),
    };
    if facts.not_after.0 <= now.0 {
        return Err(CertTrouble::Ended(facts.not_after));
    }
    if facts.not_before.0 > now.0 {
        return Err(CertTrouble::NotYet(facts.not_before));
    }
    let speaks =
        |host: &&HostPattern| facts.names.iter().filter_map(|name| HostPattern::parse(name).ok()).any(|name| name.includes(host));
    match hosts.iter().find(|host| !speaks(host)) {
        Some(host) => Err(CertTrouble::OtherNames { host: host.clone(), names: listed(&facts.names) }),
        None => Ok(facts),
    }
}

fn certificates(chain: &str, key: &str) -> Result<Vec<CertificateDer<'static>>, CertTrouble> {
    let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    match ders {
        Ok(ders) if !ders.is_empty() => Ok(ders),
        _ if chain.contains("PRIVATE KEY-----") && key.contains("BEGIN CERTIFICATE-----") => Err(CertTrouble::Exchanged),
        _ => Err(CertTrouble::NoCertificate),
    }
}

fn parsed<'a>(ders: &'a [CertificateDer<'static>]) -> Result<Vec<X509Certificate<'a>>, CertTrouble> {
    let one = |(n, der): (usize, &'a CertificateDer<'static>)| match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err(CertTrouble::Malformed(n + 1)),
    };
    ders.iter().enumerate().map(one).collect()
}

/// Several keys in one file would be a guess about which is meant.
fn private_key(key: &str) -> Result<PrivateKeyDer<'static>, CertTrouble> {
    let mut keys = PrivateKeyDer::pem_slice_iter(key.as_bytes());
    match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) if !key_is_encrypted(key.secret_der(), &key) => Ok(key),
        _ if key.contains("ENCRYPTED") => Err(CertTrouble::KeyEncrypted),
        _ => Err(CertTrouble::NoKey),
    }
}

/// The old form (`Proc-Type: 4,ENCRYPTED`) reads as a PKCS#1 or SEC1 key whose bytes are no DER sequence.
fn key_is_encrypted(der: &[u8], key: &PrivateKeyDer<'_>) -> bool {
    !matches!(key, PrivateKeyDer::Pkcs8(_)) && der.first() != Some(&0x30)
}

/// The key is that of the first certificate, and one that the proxy can sign with.
fn belongs(
    ders: &[CertificateDer<'static>],
    parsed: &[X509Certificate<'_>],
    key: PrivateKeyDer<'static>,
) -> Result<(), CertTrouble> {
    let provider = ring::default_provider();
    let signing = provider.key_provider.load_private_key(key).map_err(|_| CertTrouble::KeyKind)?;
    if CertifiedKey::new(ders.to_vec(), signing.clone()).keys_match().is_ok() {
        return Ok(());
    }
    let public = signing.public_key();
    let owner = parsed.iter().position(|c| public.as_ref().is_some_and(|spki| spki.as_ref() == c.public_key().raw));
    Err(match owner {
        Some(n) if n > 0 => CertTrouble::Order(n + 1),
        Some(_) | None => CertTrouble::OtherKey,
    })
}

/// The DNS names of the subject alternative name; the common name counts for no client (RFC 9525 §2).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let all = extension.map(|e| e.value.general_names.as_slice()).unwrap_or_default();
    let dns = all.iter().filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    dns.map(str::to_ascii_lowercase).collect()
}

/// Organisation and common name of who signed it.
fn issuer(certificate: &X509Certificate<'_>) -> String {
    let name = certificate.issuer();
    let organisation = name.iter_organization().next().and_then(|o| o.as_str().ok());
    let common = name.iter_common_name().next().and_then(|c| c.as_str().ok());
    let parts: Vec<&str> = organisation.into_iter().chain(common).collect();
    // It is printed in tables and logs.
    parts.join(", ").chars().filter(|c| !c.is_control()).take(120).collect()
}

fn key_type(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        _ if certificate.public_key().algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".to_owned(),
        _ => "another kind".to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no host name at all".to_owned(),
        names => {
            let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
            let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
            shown.join(", ") + &more
        }
    }
}

#[cfg(test)]
mod tests;
