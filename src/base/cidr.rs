//! Networks of addresses in CIDR notation (RFC 4632, RFC 4291 §2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A network such as `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Takes `ADDRESS` or `ADDRESS/PREFIX`; gives the network or a text that says what is wrong. Bits beyond the prefix are refused, as they
    /// are a sign of a typing error; so is a network of every address, which would make forgery the rule.
    pub fn parse(given: &str) -> Result<Self, String> {
        let refused = || "must be an address or a network, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32".to_owned();
        let (address, prefix) = given.split_once('/').map_or((given, None), |(address, prefix)| (address, Some(prefix)));
        let network: IpAddr = address.parse().map_err(|_| refused())?;
        let widest = if network.is_ipv4() { 32 } else { 128 };
        let digits = |p: &str| (1..=3).contains(&p.len()) && p.bytes().all(|c| c.is_ascii_digit());
        let prefix: u8 = match prefix {
            None => widest,
            Some(text) if digits(text) => text.parse().map_err(|_| refused())?,
            Some(_) => return Err(refused()),
        };
        if prefix > widest {
            return Err(refused());
        }
        if prefix == 0 {
            return Err("names every address there is; name the networks of your own proxies".to_owned());
        }
        let found = Self { network, prefix };
        let masked = found.masked(network).ok_or_else(refused)?;
        if masked != network {
            return Err(format!("has bits set beyond the prefix; did you mean {masked}/{prefix}?"));
        }
        // One spelling for both families: clients are compared in their IPv4 form if they have one.
        match (network, network.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) if prefix >= 96 => Ok(Self { network: v4.into(), prefix: prefix - 96 }),
            _ => Ok(found),
        }
    }

    /// Whether `address` is in it; an IPv4 address in its IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.masked(address.to_canonical()) == Some(self.network)
    }

    /// The first `prefix` bits of an address of the same family.
    fn masked(&self, address: IpAddr) -> Option<IpAddr> {
        let zeros = |width: u8| u32::from(width - self.prefix);
        match (self.network, address) {
            (IpAddr::V4(_), IpAddr::V4(a)) => {
                let mask = u32::MAX.checked_shl(zeros(32)).unwrap_or(0);
                Some(Ipv4Addr::from(u32::from(a) & mask).into())
            }
            (IpAddr::V6(_), IpAddr::V6(a)) => {
                let mask = u128::MAX.checked_shl(zeros(128)).unwrap_or(0);
                Some(Ipv6Addr::from(u128::from(a) & mask).into())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(given: &str) -> Result<Self, String> {
        Self::parse(given)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        let cases = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("128.0.0.0/1", "200.1.1.1", true),
        ];
        for (network, address, is) in cases {
            let cidr = Cidr::parse(network).expect(network);
            assert_eq!(cidr.contains(address.parse().expect(address)), is, "{address} in {network}");
            assert_eq!(Cidr::parse(&cidr.to_string()).expect("what it prints"), cidr);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "::/129",
            "ten/8",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/0008",
            "10.0.0.0/8/8",
        ] {
            assert!(Cidr::parse(bad).is_err(), "{bad}");
        }
        assert!(Cidr::parse("10.1.0.0/8").expect_err("bits").contains("10.0.0.0/8"));
    }
}
