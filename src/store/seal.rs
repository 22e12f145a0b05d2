//! Sealing of secrets at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce in front of the ciphertext.
//! It protects copies of the database, not a host whose root is lost: the key is a file beside it.

use std::fs;
use std::io;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use super::StoreError;
use crate::base::atomic_file;

const NONCE: usize = 24;

pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

impl Sealer {
    /// Takes the 32 bytes of the installation's key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(&Key::from(*key)) }
    }

    /// Reads the key file (mode 0600), or makes it if `file` does not exist. Errors name the file; one that others may read is refused.
    pub fn load_or_create(file: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let named = |e: io::Error| io::Error::new(e.kind(), format!("the secret key `{}`: {e}", file.display()));
        match fs::read(file) {
            Ok(bytes) => {
                let mode = fs::metadata(file).map_err(named)?.permissions().mode();
                if mode & 0o077 != 0 {
                    let why = format!("mode {:o} lets others read it; run `chmod 600`", mode & 0o777);
                    return Err(named(io::Error::new(io::ErrorKind::PermissionDenied, why)));
                }
                let key: [u8; 32] =
                    bytes.try_into().map_err(|_| named(io::Error::new(io::ErrorKind::InvalidData, "it is not 32 bytes long")))?;
                Ok(Self::new(&key))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|e| named(io::Error::other(e)))?;
                atomic_file::write(file, &key, 0o600).map_err(named)?;
                Ok(Self::new(&key))
            }
            Err(e) => Err(named(e)),
        }
    }

    /// Seals `plain`; `bound` (such as `config/shop/KEY`) must be given again to open it.
    pub(super) fn seal(&self, plain: &[u8], bound: &str) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the kernel gives random bytes");
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: bound.as_bytes() })
            .expect("a value far below the cipher's limit can be sealed");
        [nonce.as_slice(), &sealed].concat()
    }

    pub(super) fn open(&self, sealed: &[u8], bound: &str) -> Result<Vec<u8>, StoreError> {
        let (nonce, body) = sealed.split_at_checked(NONCE).ok_or(StoreError::Sealed)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| StoreError::Sealed)?;
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: body, aad: bound.as_bytes() }).map_err(|_| StoreError::Sealed)
    }
}
