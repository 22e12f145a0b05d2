//! Names and numbers that users and other programs give us: parsed once at the edge, then trusted.
//!
//! Owns: the syntax of every identifier. Uses: nothing. Never: looks anything up.
//! Invariant: a value of one of these types is safe in a path, a container name, a git ref and an argv.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod hostname;

pub use hostname::{HostPattern, Hostname};

/// Why a name was refused: what was given and the rule it breaks, ready to be shown to a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{}` is not valid: {rule}", shown(given))]
pub struct BadName {
    pub kind: &'static str,
    pub given: String,
    pub rule: &'static str,
}

/// Cuts and escapes what a stranger gave us, so that an error line can neither flood nor steer a terminal.
fn shown(given: &str) -> String {
    let mut short: String = given.chars().take(60).collect();
    if short.len() < given.len() {
        short.push('…');
    }
    short.escape_debug().to_string()
}

/// Makes a string newtype with a private field, `parse`, `as_str`, Display and serde through `parse`.
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes untrusted text; gives the name or says which rule it breaks.
            pub fn parse(given: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(given) {
                    Ok(Self(given.to_owned()))
                } else {
                    Err(BadName { kind: $kind, given: given.to_owned(), rule: $rule })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text_impls!($name);
    };
}

macro_rules! text_impls {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(given: &str) -> Result<Self, BadName> {
                Self::parse(given)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let given = String::deserialize(from)?;
                Self::parse(&given).map_err(serde::de::Error::custom)
            }
        }
    };
}
use text_impls;

text_name!(
    /// An app: `shop`. Also a DNS label, a folder and part of container names.
    AppName,
    "app name",
    "use 2 to 32 characters: lower-case letters, digits and `-`, starting with a letter and not ending with `-`",
    |s| {
        let b = s.as_bytes();
        (2..=32).contains(&b.len())
            && b[0].is_ascii_lowercase()
            && b[b.len() - 1] != b'-'
            && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
    }
);

text_name!(
    /// A process type of an app: `web`, `worker`.
    ProcessName,
    "process type",
    "use 1 to 24 characters: lower-case letters, digits, `-` and `_`, starting with a letter",
    |s| {
        let b = s.as_bytes();
        (1..=24).contains(&b.len())
            && b[0].is_ascii_lowercase()
            && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
    }
);

text_name!(
    /// The name of an environment variable that a user sets.
    ConfigKey,
    "config key",
    "use 1 to 128 characters: letters, digits and `_`, not starting with a digit",
    |s| {
        let b = s.as_bytes();
        (1..=128).contains(&b.len())
            && !b[0].is_ascii_digit()
            && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
    }
);

text_name!(
    /// The name a user gives to an ssh key: `laptop`.
    KeyName,
    "key name",
    "use 1 to 64 characters: letters, digits, `.`, `-`, `_` and `@`, starting with a letter or digit",
    |s| {
        let b = s.as_bytes();
        (1..=64).contains(&b.len())
            && b[0].is_ascii_alphanumeric()
            && b.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b'@'))
    }
);

text_name!(
    /// A git commit: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
    CommitSha,
    "commit",
    "use the full 40 or 64 hexadecimal digits",
    |s| matches!(s.len(), 40 | 64) && s.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
);

text_name!(
    /// The first digits of a commit, as people write them; all of them are fine too. Fewer than four are more likely a slip.
    CommitDigits,
    "commit",
    "use hexadecimal digits: all 40 or 64, or the first ones, four at least",
    |s| (4..=64).contains(&s.len()) && s.bytes().all(|c| c.is_ascii_hexdigit())
);

text_name!(
    /// A branch without `refs/heads/`. Stricter than git-check-ref-format(1): no character that a shell or a path gives a meaning to.
    BranchName,
    "branch name",
    "use 1 to 100 letters, digits, `.`, `_`, `-` and `/`, without `..`, `//` or `.lock`, and not starting or ending with `/`, `.` or `-`",
    |s| {
        (1..=100).contains(&s.len())
            && s.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b'/'))
            && !s.contains("..")
            && !s.contains("//")
            && s.split('/').all(|part| !part.starts_with(['.', '-']) && !part.ends_with(".lock"))
            && !s.starts_with('/')
            && !s.ends_with(['/', '.', '-'])
    }
);

impl CommitSha {
    /// The seven digits that people read.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }

    /// git's name for "no commit": a ref that does not exist yet, or is to be deleted.
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|c| c == b'0')
    }
}

/// Makes a number newtype that people see with a letter in front: `d12`, `v3`, `i7`.
macro_rules! number_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $letter:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl $name {
            /// Takes the number with its letter (as printed) or without.
            pub fn parse(given: &str) -> Result<Self, BadName> {
                let digits = given.strip_prefix($letter).unwrap_or(given);
                match digits.parse::<i64>() {
                    Ok(n) if n > 0 && digits.bytes().all(|c| c.is_ascii_digit()) => Ok(Self(n)),
                    _ => Err(BadName { kind: $kind, given: given.to_owned(), rule: $rule }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{}{}", $letter, self.0))
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(given: &str) -> Result<Self, BadName> {
                Self::parse(given)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let given = String::deserialize(from)?;
                Self::parse(&given).map_err(serde::de::Error::custom)
            }
        }
    };
}

number_name!(
    /// One deploy, counted over the whole installation: `d12`.
    DeployId, "deploy", 'd', "deploys are numbered d1, d2, …; `paas deploys list` shows them"
);
number_name!(
    /// One release of an app, counted per app: `v3`.
    ReleaseNumber, "release", 'v', "releases are numbered v1, v2, …; `paas releases` shows them"
);
number_name!(
    /// One instance (container), counted over the whole installation and never given twice: `i45`. Also names its routing target.
    InstanceId, "instance id", 'i', "instance ids look like i45; `paas ps` shows them"
);
number_name!(
    /// One crash file that was kept, counted over the whole installation: `c7`.
    CrashId, "crash file", 'c', "crash files are numbered c1, c2, …; `paas crashes list` shows them"
);
number_name!(
    /// One ssh key: `k3`.
    KeyId, "key id", 'k', "keys are numbered k1, k2, …; `paas keys list` shows them"
);

#[cfg(test)]
mod tests;
