use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use time::{Duration, OffsetDateTime};

use super::*;
use crate::base::secret::Secret;
use crate::model::certificate::{Certificate, Certificates};

fn now() -> UnixMillis {
    UnixMillis::now()
}

fn hosts(names: &[&str]) -> Vec<HostPattern> {
    names.iter().map(|n| HostPattern::parse(n).expect("a host")).collect()
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    key: String,
}

fn ca(name: &str) -> Ca {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Test Authority");
    let pem = params.self_signed(&key).expect("signed").pem();
    Ca { pem, key: key.serialize_pem(), issuer: Issuer::new(params, key) }
}

/// A certificate for `names` that is good from so many days from now to so many; its PEM and its key's.
fn leaf(ca: &Ca, names: &[&str], days: (i64, i64)) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).expect("names");
    params.not_before = OffsetDateTime::now_utc() + Duration::days(days.0);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days.1);
    (params.signed_by(&key, &ca.issuer).expect("signed").pem(), key.serialize_pem())
}

#[test]
fn what_a_certificate_says_is_read() {
    let ca = ca("R1");
    let (pem, key) = leaf(&ca, &["Shop.example", "*.shop.example"], (-1, 90));
    let chain = pem + &ca.pem;
    let facts = check(&hosts(&["shop.example", "www.shop.example", "*.shop.example"]), &chain, &key, now()).expect("good");
    assert_eq!((facts.issuer.as_str(), facts.key_type.as_str()), ("Test Authority, R1", "ECDSA P-256"));
    assert_eq!(facts.names, ["shop.example", "*.shop.example"]);
    assert_eq!(facts.fingerprint.len(), 64);
    let days = (facts.not_after.0 - now().0) / 86_400_000;
    assert!((89..=90).contains(&days), "{days}");
}

#[test]
fn what_could_not_be_shown_is_refused_with_its_reason() {
    let (ca, other) = (ca("R1"), ca("R2"));
    let (pem, key) = leaf(&ca, &["shop.example"], (-1, 90));
    let (pem2, key2) = leaf(&ca, &["shop.example"], (-1, 90));
    let (ended, ended_key) = leaf(&ca, &["shop.example"], (-90, -1));
    let (early, early_key) = leaf(&ca, &["shop.example"], (1, 90));
    let shop = hosts(&["shop.example"]);
    let chain = pem.clone() + &ca.pem;
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cut = pem.replacen("MII", "MIJ", 1);
    let refused = |hosts: &[HostPattern], chain: &str, key: &str| check(hosts, chain, key, now()).expect_err("refused");
    assert_eq!(refused(&shop, "", &key), CertTrouble::NoCertificate);
    assert_eq!(refused(&shop, "hello", &key), CertTrouble::NoCertificate);
    assert_eq!(refused(&shop, &key, &pem), CertTrouble::Exchanged);
    assert_eq!(refused(&shop, &pem, ""), CertTrouble::NoKey);
    assert_eq!(refused(&shop, &pem, &pem), CertTrouble::NoKey);
    assert_eq!(refused(&shop, &pem, &(key.clone() + &key2)), CertTrouble::NoKey);
    assert_eq!(refused(&shop, &pem, &encrypted), CertTrouble::KeyEncrypted);
    assert_eq!(refused(&shop, &pem, &key2), CertTrouble::OtherKey);
    assert_eq!(refused(&shop, &(ca.pem.clone() + &pem), &key), CertTrouble::Order(2));
    assert_eq!(refused(&shop, &chain, &ca.key), CertTrouble::Order(2));
    assert_eq!(refused(&shop, &(pem.clone() + &pem2), &key), CertTrouble::Broken(1));
    assert_eq!(refused(&shop, &(pem.clone() + &other.pem), &key), CertTrouble::Broken(1));
    assert!(matches!(refused(&shop, &cut, &key), CertTrouble::Malformed(1) | CertTrouble::NoCertificate));
    assert!(matches!(refused(&shop, &ended, &ended_key), CertTrouble::Ended(_)));
    assert!(matches!(refused(&shop, &early, &early_key), CertTrouble::NotYet(_)));
    assert_eq!(refused(&shop, &"x".repeat(LARGEST + 1), &key), CertTrouble::TooLarge("chain"));
    for stranger in ["www.shop.example", "*.shop.example", "shop.example.com"] {
        let error = refused(&hosts(&["shop.example", stranger]), &chain, &key);
        assert!(error.to_string().contains(stranger) && error.to_string().ends_with("but for shop.example"), "{error}");
    }
    let ended = check(&shop, &chain, &key, UnixMillis(now().0 + 91 * 86_400_000)).expect_err("ended");
    assert!(ended.to_string().starts_with("the certificate ended at 20"), "{ended}");
}

#[test]
fn a_wildcard_speaks_for_one_label() {
    let ca = ca("R1");
    let (pem, key) = leaf(&ca, &["*.apps.example"], (-1, 90));
    for good in ["shop.apps.example", "*.apps.example"] {
        check(&hosts(&[good]), &pem, &key, now()).expect(good);
    }
    for bad in ["apps.example", "a.shop.apps.example", "*.shop.apps.example"] {
        assert!(matches!(check(&hosts(&[bad]), &pem, &key, now()), Err(CertTrouble::OtherNames { .. })), "{bad}");
    }
}

#[test]
fn what_was_kept_and_cannot_be_shown_any_more_is_set_apart() {
    let ca = ca("R1");
    let kept = |host: &str, change: fn(&mut Certificate)| {
        let (pem, key) = leaf(&ca, &[host], (-1, 90));
        let facts = check(&hosts(&[host]), &pem, &key, now()).expect("good");
        let mut made = Certificate { hosts: hosts(&[host]), facts, chain: pem, key: Secret::new(key), created_at: now() };
        change(&mut made);
        made
    };
    let ended = kept("ended.example", |c| c.facts.not_after = UnixMillis(0));
    let bad_chain = kept("chain.example", |c| c.chain = c.chain.replace("CERTIFICATE", "SOMETHING"));
    let bad_key = kept("key.example", |c| c.key = Secret::new("no key".to_owned()));
    let other_key = kept("other.example", |c| c.key = Secret::new(KeyPair::generate().expect("a key").serialize_pem()));
    let all = Certificates { good: vec![bad_chain, ended, bad_key, other_key], spoilt: Vec::new() };
    let sieve = sieve::Sieve::default();
    for _ in 0..2 {
        let sifted = sieve.sift(all.clone());
        assert_eq!(sifted.good, [all.good[1].clone()], "its end is told of elsewhere");
        let why: Vec<_> = sifted.spoilt.iter().map(|s| (s.shown_for(), s.why.clone())).collect();
        let says = |host: &str, why: CertTrouble| (format!("{host}.example"), why.to_string());
        let expected =
            [says("chain", CertTrouble::NoCertificate), says("key", CertTrouble::NoKey), says("other", CertTrouble::OtherKey)];
        assert_eq!(why, expected);
    }
}
