//! The certificate that clients see where no other fits: made once and kept, so that who has chosen to trust it is not asked again.

use std::io;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::base::atomic_file;
use crate::base::secret::Secret;

const KEY_BEGINS: &str = "-----BEGIN PRIVATE KEY-----";

/// PEM, both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    pub chain: String,
    pub key: Secret<String>,
}

/// Reads the file (mode 0600), or makes it: ECDSA P-256, for no name. One that can't be read or written is told and costs nothing but that the
/// next start makes another one.
pub fn load_or_make(path: &Path) -> io::Result<SelfSigned> {
    if let Some(found) = std::fs::read_to_string(path).ok().and_then(|text| split(&text)) {
        return Ok(found);
    }
    let made = make().map_err(io::Error::other)?;
    let text = format!("{}{}", made.chain, made.key.reveal());
    if let Err(error) = atomic_file::write(path, text.as_bytes(), 0o600) {
        tracing::warn!(%error, file = %path.display(), "the self-signed certificate could not be kept");
    }
    Ok(made)
}

fn split(text: &str) -> Option<SelfSigned> {
    let at = text.find(KEY_BEGINS)?;
    let (chain, key) = text.split_at(at);
    let whole = chain.trim_end().ends_with("-----END CERTIFICATE-----") && key.trim_end().ends_with("-----END PRIVATE KEY-----");
    whole.then(|| SelfSigned { chain: chain.to_owned(), key: Secret::new(key.to_owned()) })
}

fn make() -> Result<SelfSigned, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut about = CertificateParams::new(Vec::new())?;
    about.distinguished_name = DistinguishedName::new();
    about.distinguished_name.push(DnType::CommonName, "paas: no certificate for this name yet");
    let certificate = about.self_signed(&key)?;
    Ok(SelfSigned { chain: certificate.pem(), key: Secret::new(key.serialize_pem()) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_only_and_a_broken_file_is_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("self-signed.pem");
        let made = load_or_make(&path).expect("made");
        assert_eq!(load_or_make(&path).expect("read"), made);
        assert_eq!(std::fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, &made.chain).expect("half a file");
        let other = load_or_make(&path).expect("made anew");
        assert_ne!(other, made);
        assert_eq!(load_or_make(&path).expect("read"), other);
        assert!(load_or_make(&folder.path().join("no/folder")).is_ok());
    }
}
