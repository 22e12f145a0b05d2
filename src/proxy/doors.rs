//! How many connections come in: all together, and from one address. No lock, and no memory that grows with the number of addresses.
//!
//! An address has one place in each of two rows, by two secret hashes; its count is the smaller of both. Strangers share a place seldom, and
//! to be turned away by others it must share both: with twenty addresses at their limit that happens to one in half a million, and nobody can
//! aim at it.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use nix::sys::resource::{Resource, getrlimit};

use crate::wire::limits::Limits;

/// Places per row.
const PLACES: usize = 1 << 14;
/// Descriptors that are not connections: listeners, control, runtimes.
const OTHER_DESCRIPTORS: u64 = 64;

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    All,
    Address,
}

pub struct Doors {
    open: AtomicU64,
    rows: [Box<[AtomicU32]>; 2],
    hashes: [RandomState; 2],
    /// What the process's descriptors are enough for, each connection with one to an instance.
    room: u64,
}

impl Default for Doors {
    fn default() -> Self {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let row = || std::iter::repeat_with(AtomicU32::default).take(PLACES).collect();
        Self {
            open: AtomicU64::new(0),
            rows: [row(), row()],
            hashes: [RandomState::new(), RandomState::new()],
            room: (descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2).max(1),
        }
    }
}

/// Counts one connection out when it is dropped.
pub struct Ticket {
    doors: Arc<Doors>,
    places: Option<[usize; 2]>,
}

impl Doors {
    /// Counts a connection in, unless that would be one too many. `known`: an address of our own, which only the sum limits.
    pub fn enter(self: &Arc<Self>, address: IpAddr, known: bool, limits: &Limits) -> Result<Ticket, Full> {
        if self.open.fetch_add(1, Relaxed) >= limits.connections.min(self.room) {
            self.open.fetch_sub(1, Relaxed);
            return Err(Full::All);
        }
        let places = (!known && !is_this_host(address)).then(|| self.places(address));
        // From here on dropping it takes everything back.
        let ticket = Ticket { doors: Arc::clone(self), places };
        let before = places.map(|p| self.rows.iter().zip(p).map(|(row, at)| row[at].fetch_add(1, Relaxed)).min());
        match before.flatten() {
            Some(before) if u64::from(before) >= limits.connections_per_address => Err(Full::Address),
            _ => Ok(ticket),
        }
    }

    fn places(&self, address: IpAddr) -> [usize; 2] {
        let whose = whose(address);
        // The remainder is below 2^14.
        [0, 1].map(|row: usize| (self.hashes[row].hash_one(whose) % PLACES as u64) as usize)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.doors.open.fetch_sub(1, Relaxed);
        if let Some(places) = self.places {
            for (row, at) in self.doors.rows.iter().zip(places) {
                row[at].fetch_sub(1, Relaxed);
            }
        }
    }
}

/// Programs on this host, such as checks and benchmarks, come from these two; the rest of 127.0.0.0/8 counts like any address.
fn is_this_host(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(v4) if v4 == std::net::Ipv4Addr::LOCALHOST)
        || matches!(address, IpAddr::V6(v6) if v6 == std::net::Ipv6Addr::LOCALHOST)
}

/// Who is counted together: an IPv4 address, or an IPv6 /64, of which one customer has at least one whole.
fn whose(address: IpAddr) -> (bool, u64) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (false, u64::from(v4.to_bits())),
        // The upper half fits.
        IpAddr::V6(v6) => (true, (v6.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u64, connections_per_address: u64) -> Limits {
        Limits { connections, connections_per_address, ..Limits::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn one_address_takes_no_more_than_its_share_and_gets_it_back() {
        let doors: Arc<Doors> = Arc::default();
        let limits = limits(100, 2);
        let enter = |address: &str| doors.enter(ip(address), false, &limits);
        let (one, _two) = (enter("192.0.2.1").ok(), enter("192.0.2.1").ok());
        assert_eq!(enter("192.0.2.1").err(), Some(Full::Address));
        assert_eq!(enter("::ffff:192.0.2.1").err(), Some(Full::Address), "the same address on a socket of both kinds");
        assert!(enter("192.0.2.2").is_ok());
        drop(one);
        let again = enter("192.0.2.1");
        assert!(again.is_ok());
        assert_eq!(enter("192.0.2.1").err(), Some(Full::Address), "a refusal takes no place");
    }

    #[test]
    fn addresses_of_one_customer_count_together() {
        let doors: Arc<Doors> = Arc::default();
        let limits = limits(100, 1);
        let _one = doors.enter(ip("2001:db8::1"), false, &limits).ok();
        assert_eq!(doors.enter(ip("2001:db8::ffff:1"), false, &limits).err(), Some(Full::Address));
        assert!(doors.enter(ip("2001:db8:0:1::1"), false, &limits).is_ok());
    }

    #[test]
    fn this_host_and_known_proxies_are_limited_by_the_sum_alone() {
        let doors: Arc<Doors> = Arc::default();
        let limits = limits(4, 1);
        let kept: Vec<_> = ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|a| doors.enter(ip(a), false, &limits).ok()).into();
        assert!(kept.iter().all(Option::is_some));
        let known = doors.enter(ip("192.0.2.1"), true, &limits).expect("known");
        assert_eq!(doors.enter(ip("127.0.0.1"), false, &limits).err(), Some(Full::All));
        drop(kept);
        let _known = [known, doors.enter(ip("192.0.2.1"), true, &limits).expect("the same once more")];
        assert!(doors.enter(ip("192.0.2.2"), false, &limits).is_ok());
        assert_eq!(doors.open.load(Relaxed), 2);
    }

    #[test]
    fn a_flood_from_many_addresses_does_not_turn_others_away() {
        let doors: Arc<Doors> = Arc::default();
        let limits = limits(20_000, 10);
        let flood: Vec<_> = (0..20).flat_map(|n| (0..10).map(move |_| n)).collect();
        let held: Vec<_> = flood.iter().map(|n| doors.enter(ip(&format!("198.51.100.{n}")), false, &limits)).collect();
        assert!(held.iter().filter(|h| h.is_ok()).count() >= 190);
        let strangers = (0..10_000u32).map(|n| IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)));
        let refused = strangers.filter(|a| doors.enter(*a, false, &limits).is_err()).count();
        assert!(refused <= 2, "{refused} of 10,000 strangers");
    }
}
