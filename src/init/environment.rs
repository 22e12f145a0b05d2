//! The app's environment: init's own, less what is init's, and with the addresses from which the proxy's connections come.

use std::ffi::{CString, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use super::OWN_VARIABLES;

/// Which peers may say in X-Forwarded-For who the client is (gunicorn, uvicorn): the dialer connects from the instance's own addresses, which
/// nobody outside of the instance can use as a source.
const TRUSTED_PEERS: &str = "FORWARDED_ALLOW_IPS";

/// `NAME=value` for the app. A value that its owner set stays.
pub(super) fn of_app() -> Result<Vec<CString>, Errno> {
    let mut variables: Vec<(OsString, OsString)> =
        std::env::vars_os().filter(|(name, _)| !OWN_VARIABLES.iter().any(|own| name == own)).collect();
    if !variables.iter().any(|(name, _)| name == TRUSTED_PEERS) {
        variables.push((TRUSTED_PEERS.into(), own_addresses().into()));
    }
    let text = |(name, value): (OsString, OsString)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat());
    variables.into_iter().map(|variable| text(variable).map_err(|_| Errno::EINVAL)).collect()
}

/// The instance's addresses, loopback first, with commas between.
fn own_addresses() -> String {
    let mut addresses = vec!["127.0.0.1".to_owned(), "::1".to_owned()];
    // Without them the app trusts localhost alone, which is its own default.
    if let Ok(interfaces) = nix::ifaddrs::getifaddrs() {
        for address in interfaces.filter_map(|i| i.address) {
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())));
            addresses.extend(ip.filter(|ip| !ip.is_loopback()).map(|ip| ip.to_string()));
        }
    }
    addresses.dedup();
    addresses.join(",")
}
