//! What of the kept certificates the proxy can show. One that it can't is set apart with its reason, so that nobody is sent to it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::{CertTrouble, belongs, certificates, parsed, private_key};
use crate::model::certificate::{Certificate, Certificates, Spoilt};

/// Remembers what passed: reading a key costs far more than a hash, and every publish of the routes asks.
#[derive(Debug, Default)]
pub struct Sieve {
    passed: Mutex<BTreeSet<[u8; 32]>>,
}

impl Sieve {
    /// Moves to the spoilt ones what can't be shown.
    pub fn sift(&self, all: Certificates) -> Certificates {
        let mut passed = self.passed.lock().expect("no code panics while it holds what passed");
        let mut now = BTreeSet::new();
        let mut sifted = Certificates { good: Vec::new(), spoilt: all.spoilt };
        for certificate in all.good {
            let hash = hash(&certificate);
            match if passed.contains(&hash) { Ok(()) } else { usable(&certificate) } {
                Ok(()) => {
                    now.insert(hash);
                    sifted.good.push(certificate);
                }
                Err(why) => sifted.spoilt.push(Spoilt::of(certificate, why.to_string())),
            }
        }
        *passed = now;
        sifted
    }
}

/// Whether the proxy can show it. Its dates and names were looked at when it was added.
fn usable(certificate: &Certificate) -> Result<(), CertTrouble> {
    let key = certificate.key.reveal();
    let ders = certificates(&certificate.chain, key)?;
    let secret = private_key(key)?;
    belongs(&ders, &parsed(&ders)?, secret)
}

fn hash(certificate: &Certificate) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The length keeps the border between the two texts.
    hash.update(certificate.chain.len().to_be_bytes());
    hash.update(&certificate.chain);
    hash.update(certificate.key.reveal());
    hash.finalize().into()
}
