//! Host names of routes: one spelling per name, so that two apps can never own the same one (RFC 1123 §2.1, RFC 4343).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BadName, text_impls};

/// A DNS name in its one normal form: lower case, no port, no final dot. Names with other letters must be given in their `xn--` form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

const KIND: &str = "host name";
const RULE: &str = "use letters, digits and `-` in labels of at most 63 characters, at most 253 in all, without port, path or `*` \
                    (names with other letters in their `xn--` form)";

impl Hostname {
    /// Takes a name as a person or a client writes it (upper case and one final dot are allowed) and gives its normal form.
    pub fn parse(given: &str) -> Result<Self, BadName> {
        let name = given.strip_suffix('.').unwrap_or(given).to_ascii_lowercase();
        let labels_ok = name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
        // An all-numeric last label would be an IPv4 address (RFC 3696 §2).
        let last_is_number = name.rsplit('.').next().is_some_and(|l| l.bytes().all(|c| c.is_ascii_digit()));
        if name.len() <= 253 && labels_ok && !last_is_number {
            Ok(Self(name))
        } else {
            Err(BadName { kind: KIND, given: given.to_owned(), rule: RULE })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_impls!(Hostname);

/// A host name, or `*.example.com` for every name with one label in the place of the `*` (RFC 9525 §6.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern(String);

impl HostPattern {
    /// Takes a host name, or one behind `*.`; gives its normal form.
    pub fn parse(given: &str) -> Result<Self, BadName> {
        match given.strip_prefix("*.") {
            Some(parent) => Hostname::parse(parent).map(|parent| Self(format!("*.{parent}"))),
            None => Hostname::parse(given).map(|host| Self(host.0)),
        }
    }

    pub fn covers(&self, host: &Hostname) -> bool {
        match self.0.strip_prefix("*.") {
            Some(parent) => host.0.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => self.0 == host.0,
        }
    }

    /// Whether it speaks for all that `other` speaks for.
    pub fn includes(&self, other: &Self) -> bool {
        self == other || Hostname::parse(&other.0).is_ok_and(|host| self.covers(&host))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_impls!(HostPattern);
