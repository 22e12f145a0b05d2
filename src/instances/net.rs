//! Each app's network: its subnet out of the installation's own pool. Pure arithmetic.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Addresses per app: a /26 has 61 for instances, blue and green and one-offs together.
const APP_PREFIX: u8 = 26;

/// How many app networks a pool of `prefix` bits holds.
pub fn capacity(prefix: u8) -> u32 {
    1 << APP_PREFIX.saturating_sub(prefix).min(20)
}

/// Subnet and gateway number `n` of the pool, as Docker wants them.
pub fn subnet4(pool: Ipv4Addr, n: u32) -> (String, String) {
    let start = u32::from(pool) + n * (1 << (32 - APP_PREFIX));
    (format!("{}/{APP_PREFIX}", Ipv4Addr::from(start)), Ipv4Addr::from(start + 1).to_string())
}

/// The app's unique local IPv6 subnet (RFC 4193 §3.1): `fd`, 40 bits of this installation, 16 bits of the app.
pub fn subnet6(install: &str, n: u32) -> String {
    let hex: String = install.chars().filter(char::is_ascii_hexdigit).take(10).collect();
    let global = u64::from_str_radix(&hex, 16).unwrap_or(0) & 0xff_ffff_ffff;
    let top = (0xfd_u128 << 120) | (u128::from(global) << 80) | (u128::from(n & 0xffff) << 64);
    format!("{}/64", Ipv6Addr::from(top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_of_a_pool_do_not_overlap() {
        let pool = Ipv4Addr::new(10, 213, 0, 0);
        assert_eq!(capacity(16), 1024);
        assert_eq!(subnet4(pool, 0), ("10.213.0.0/26".to_owned(), "10.213.0.1".to_owned()));
        assert_eq!(subnet4(pool, 5), ("10.213.1.64/26".to_owned(), "10.213.1.65".to_owned()));
        assert_eq!(subnet4(pool, 1023).0, "10.213.255.192/26");
        assert_eq!(subnet6("0123456789ab", 2), "fd01:2345:6789:2::/64");
    }
}
