//! The Host of a request: checked, and brought to the one form that routes know.

use super::head::HeadError;
use crate::names::Hostname;

/// A host as the client wrote it and as we look it up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// As sent; goes to the instance unchanged.
    pub raw: String,
    /// None: well-formed, but no name that a route could have (an address, an underscore).
    pub name: Option<Hostname>,
    pub port: Option<u16>,
}

impl Host {
    /// Takes the value of a Host field or the authority of an absolute target (RFC 9110 §7.2, RFC 3986 §3.2.2). No user name, no list, no space.
    pub fn parse(value: &[u8]) -> Result<Self, HeadError> {
        const WRONG: HeadError = HeadError::Malformed("Host");
        let raw = std::str::from_utf8(value).map_err(|_| WRONG)?;
        let (name, port) = split(raw).ok_or(WRONG)?;
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.len() <= 5 && digits.bytes().all(|c| c.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0).ok_or(WRONG)?)
            }
            Some(_) => return Err(WRONG),
        };
        Ok(Self { raw: raw.to_owned(), name: Hostname::parse(name).ok(), port })
    }

    /// Whether both name the same place: same name in its normal form (or same text) and same port.
    pub fn same_as(&self, other: &Self) -> bool {
        let names = match (&self.name, &other.name) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.raw.eq_ignore_ascii_case(&other.raw),
            (Some(_), None) | (None, Some(_)) => false,
        };
        names && self.port.unwrap_or(80) == other.port.unwrap_or(80)
    }
}

/// Name and port text of a well-formed host; None for anything else.
fn split(raw: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = raw.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let plain = !address.is_empty() && address.bytes().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.'));
        return match (plain, after.strip_prefix(':')) {
            (true, Some(port)) => Some((address, Some(port))),
            (true, None) if after.is_empty() => Some((address, None)),
            _ => None,
        };
    }
    let (name, port) = raw.split_once(':').map_or((raw, None), |(name, port)| (name, Some(port)));
    // The reg-name of RFC 3986 without `%` and `,`: nobody's host needs them, and a list of hosts must not pass.
    let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&c));
    (plain && !name.is_empty()).then_some((name, port))
}
