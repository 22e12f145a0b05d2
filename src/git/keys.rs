//! ssh public keys: read from users, written for sshd.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::base::atomic_file;
use crate::names::KeyId;

/// A public key that sshd will accept and that we are willing to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, `sk-ssh-ed25519@openssh.com`, …
    pub kind: String,
    /// The key itself, in canonical base64.
    pub base64: String,
    /// What stood behind it, cut and without control characters; may be empty.
    pub comment: String,
    /// `SHA256:…` as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

/// Why a public key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("there is no key; give the one line of a file such as `~/.ssh/id_ed25519.pub`")]
    Empty,
    #[error("this is a private key, which must never leave its machine; give the `.pub` file beside it")]
    Private,
    #[error("there is more than one line; give one key at a time")]
    ManyLines,
    #[error("options before the key are not allowed; the line must begin with the key's type, such as `ssh-ed25519`")]
    Options,
    #[error("keys of type `{0}` are not supported; make one with `ssh-keygen -t ed25519`")]
    Kind(String),
    #[error("the key is damaged ({0}); copy the whole line of the `.pub` file")]
    Damaged(&'static str),
    #[error("the RSA key has {0} bits and at least 3072 are needed; make one with `ssh-keygen -t ed25519`")]
    ShortRsa(usize),
}

/// Why the file for sshd could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("writing `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("path `{}` has a character that sshd's key file can't hold", .0.display())]
    Path(PathBuf),
}

/// 8 KiB hold an RSA key of 16384 bits with a long comment.
const LINE_LIMIT: usize = 8 << 10;
const COMMENT_LIMIT: usize = 100;
const RSA_MIN_BITS: usize = 3072;

impl PublicKey {
    /// A key that was parsed before and comes out of the store.
    pub fn known(kind: &str, base64: &str) -> Self {
        Self { kind: kind.to_owned(), base64: base64.to_owned(), comment: String::new(), fingerprint: String::new() }
    }

    /// Takes what a user gave: one line in OpenSSH's format, as `ssh-keygen` writes it (RFC 4253 §6.6, PROTOCOL.u2f for `sk-`).
    pub fn parse(given: &str) -> Result<Self, BadKey> {
        let mut lines = given.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or(BadKey::Empty)?;
        if line.starts_with("-----BEGIN") || line.starts_with("PuTTY-User-Key-File") {
            return Err(BadKey::Private);
        }
        if lines.next().is_some() {
            return Err(BadKey::ManyLines);
        }
        if line.len() > LINE_LIMIT {
            return Err(BadKey::Damaged("it is too long"));
        }
        let (kind, rest) = line.split_once([' ', '\t']).ok_or(BadKey::Damaged("nothing follows its type"))?;
        if !is_kind(kind) {
            return Err(if kind.contains(['=', ',', '"']) || is_kind(rest.split_whitespace().next().unwrap_or_default()) {
                BadKey::Options
            } else {
                BadKey::Kind(clean(kind))
            });
        }
        let rest = rest.trim_start();
        let (encoded, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let blob = STANDARD.decode(encoded).map_err(|_| BadKey::Damaged("it is not base64"))?;
        check(kind, &blob)?;
        Ok(Self {
            kind: kind.to_owned(),
            base64: STANDARD.encode(&blob),
            comment: clean(comment),
            fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))),
        })
    }
}

/// Writes the file that sshd reads by `AuthorizedKeysCommand /usr/bin/cat FILE` (mode 0644: public keys are no secret, and the command runs
/// as nobody). Each key is bound to its id: whoever logs in with it can only start `exe ssh-session … --key <id>`. Whole or untouched after a crash.
pub fn export<'a>(
    path: &Path,
    exe: &Path,
    config: &Path,
    keys: impl IntoIterator<Item = (KeyId, &'a PublicKey)>,
) -> Result<(), ExportError> {
    let mut text = String::from("# Written by paas; changes are overwritten. Use `paas keys`.\n");
    let (exe, config) = (shell_word(exe)?, shell_word(config)?);
    for (id, key) in keys {
        let command = format!("{exe} ssh-session --config {config} --key {id}").replace('"', "\\\"");
        writeln!(text, "restrict,pty,command=\"{command}\" {} {} {id}", key.kind, key.base64).expect("a String takes any text");
    }
    atomic_file::write_if_other(path, text.as_bytes(), 0o644)
        .map_err(|source| ExportError::Write { path: path.to_owned(), source })
}

/// sshd gives the command to the login user's shell: quoted for it. The caller escapes for sshd's own double quotes.
fn shell_word(path: &Path) -> Result<String, ExportError> {
    let bad = || ExportError::Path(path.to_owned());
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(bad)?;
    shlex::try_quote(text).map(std::borrow::Cow::into_owned).map_err(|_| bad())
}

fn is_kind(word: &str) -> bool {
    matches!(
        word,
        "ssh-ed25519"
            | "ssh-rsa"
            | "ecdsa-sha2-nistp256"
            | "ecdsa-sha2-nistp384"
            | "ecdsa-sha2-nistp521"
            | "sk-ssh-ed25519@openssh.com"
            | "sk-ecdsa-sha2-nistp256@openssh.com"
    )
}

/// Reads the blob field by field: it must be of the kind that the line says, whole, and nothing may follow.
fn check(kind: &str, blob: &[u8]) -> Result<(), BadKey> {
    let mut fields = Fields(blob);
    if fields.next()? != kind.as_bytes() {
        return Err(BadKey::Damaged("its type and its content differ"));
    }
    match kind {
        "ssh-rsa" => {
            fields.next()?;
            let modulus = fields.next()?;
            let bits = bits_of(modulus);
            if bits < RSA_MIN_BITS {
                return Err(BadKey::ShortRsa(bits));
            }
        }
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => {
            if fields.next()?.len() != 32 {
                return Err(BadKey::Damaged("an Ed25519 key has 32 bytes"));
            }
        }
        _ => {
            let curve = fields.next()?;
            let (expected, length) = match kind {
                "ecdsa-sha2-nistp384" => ("nistp384", 97),
                "ecdsa-sha2-nistp521" => ("nistp521", 133),
                _ => ("nistp256", 65),
            };
            let point = fields.next()?;
            if curve != expected.as_bytes() || point.len() != length || point[0] != 4 {
                return Err(BadKey::Damaged("its curve or point does not fit its type"));
            }
        }
    }
    if kind.starts_with("sk-") {
        // The application, usually `ssh:`.
        fields.next()?;
    }
    if fields.0.is_empty() { Ok(()) } else { Err(BadKey::Damaged("something follows the key")) }
}

/// The length-prefixed strings of RFC 4251 §5.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a [u8], BadKey> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or(BadKey::Damaged("it ends too early"))?;
        let length = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| BadKey::Damaged("a length is too large"))?;
        let (field, rest) = rest.split_at_checked(length).ok_or(BadKey::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(field)
    }
}

/// The bits of an unsigned big-endian number.
fn bits_of(number: &[u8]) -> usize {
    let digits = number.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &number[first..]);
    digits.first().map_or(0, |first| digits.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0))
}

fn clean(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(COMMENT_LIMIT).collect()
}
