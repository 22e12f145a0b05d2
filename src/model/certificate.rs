//! A certificate and what it is shown for.

use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::names::{HostPattern, Hostname};

/// What a certificate says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
    /// The DNS names that it speaks for.
    pub names: Vec<String>,
    pub issuer: String,
    /// `ECDSA P-256`, `RSA 2048`, …
    pub key_type: String,
    pub not_before: UnixMillis,
    pub not_after: UnixMillis,
}

/// A certificate of the store with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What it is shown for.
    pub hosts: Vec<HostPattern>,
    pub facts: Facts,
    /// PEM, the host's own certificate first.
    pub chain: String,
    /// PEM.
    pub key: Secret<String>,
    pub created_at: UnixMillis,
}

/// One of the store that no client can be shown, as it or its key can't be read. Its hosts get what a host without a certificate gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoilt {
    /// What it would be shown for, as far as that can be read.
    pub hosts: Vec<HostPattern>,
    /// None: nor can these.
    pub facts: Option<Facts>,
    pub why: String,
}

/// What there is of certificates. One that is spoilt spoils no other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    pub good: Vec<Certificate>,
    pub spoilt: Vec<Spoilt>,
}

/// Somebody should act when a certificate ends within so many days.
pub const ENDS_SOON_DAYS: i64 = 21;
const DAY_MS: i64 = 24 * 3600 * 1000;

impl Certificate {
    /// One for these hosts that holds until then, for tests to start from. Its chain and key are no real ones.
    #[cfg(test)]
    pub fn example(hosts: &[&str], not_after: UnixMillis) -> Self {
        Self {
            hosts: hosts.iter().map(|host| HostPattern::parse(host).expect("a host")).collect(),
            facts: Facts {
                fingerprint: hosts.join(" "),
                names: hosts.iter().map(|host| (*host).to_owned()).collect(),
                issuer: "R1".to_owned(),
                key_type: "ECDSA P-256".to_owned(),
                not_before: UnixMillis(0),
                not_after,
            },
            chain: "CHAIN".to_owned(),
            key: Secret::new("KEY".to_owned()),
            created_at: UnixMillis(0),
        }
    }

    /// Whether it is shown to who asks for this host.
    pub fn is_for(&self, host: &Hostname) -> bool {
        self.hosts.iter().any(|pattern| pattern.covers(host))
    }

    /// Its hosts as one text.
    pub fn shown_for(&self) -> String {
        listed(&self.hosts)
    }

    /// Whole days until it ends; negative: it has ended.
    pub fn days_left(&self, now: UnixMillis) -> i64 {
        (self.facts.not_after.0 - now.0).div_euclid(DAY_MS)
    }

    pub fn ends_soon(&self, now: UnixMillis) -> bool {
        self.days_left(now) < ENDS_SOON_DAYS
    }

    /// No client takes it any more.
    pub fn has_ended(&self, now: UnixMillis) -> bool {
        self.facts.not_after.0 <= now.0
    }
}

impl Spoilt {
    pub fn of(certificate: Certificate, why: impl Into<String>) -> Self {
        Spoilt { hosts: certificate.hosts, facts: Some(certificate.facts), why: why.into() }
    }

    /// Its hosts as one text.
    pub fn shown_for(&self) -> String {
        if self.hosts.is_empty() { "HOST".to_owned() } else { listed(&self.hosts) }
    }

    /// What is, in one line.
    pub fn text(&self) -> String {
        let hosts = self.shown_for();
        format!("the certificate for {hosts} can't be used, so clients get the self-signed one: {}", self.why)
    }

    /// What to do.
    pub fn todo(&self) -> String {
        format!("paas certs add {} --chain FILE --key FILE (puts another in its place)", self.shown_for())
    }
}

fn listed(hosts: &[HostPattern]) -> String {
    let hosts: Vec<&str> = hosts.iter().map(HostPattern::as_str).collect();
    hosts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_warned_three_weeks_before_the_end() {
        let ends = |days: i64| Certificate::example(&["shop.example", "*.shop.example"], UnixMillis(days * DAY_MS));
        let now = UnixMillis(0);
        assert_eq!([ends(22).ends_soon(now), ends(21).ends_soon(now), ends(20).ends_soon(now)], [false, false, true]);
        assert_eq!([ends(1), ends(0), ends(-1)].map(|c| c.has_ended(now)), [false, true, true]);
        assert_eq!((ends(13).days_left(now), ends(-1).days_left(UnixMillis(1))), (13, -2));
        let shown = |name: &str| ends(1).is_for(&Hostname::parse(name).expect("a host"));
        assert_eq!(["shop.example", "a.shop.example", "a.b.shop.example", "hop.example"].map(shown), [true, true, false, false]);
    }
}
