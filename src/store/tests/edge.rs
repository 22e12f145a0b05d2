//! Maintenance and certificates.

use super::*;
use crate::base::clock::UnixMillis;
use crate::model::certificate::{Certificate, Facts};
use crate::names::HostPattern;

#[tokio::test]
async fn maintenance_is_kept_until_it_is_over_or_the_app_is_gone() {
    use crate::model::maintenance::Maintenance;
    let f = fixture().await;
    let app = f.store.app_create(&name("shop"), "root", 16).await.expect("app");
    assert_eq!(f.store.maintenance(app.id).await.expect("none"), None);
    let hold = std::time::Duration::from_millis(1500);
    let begun = Maintenance { message: Some("back soon".to_owned()), hold, since: UnixMillis(5), by: "root".to_owned() };
    f.store.maintenance_set(&app, &begun).await.expect("on");
    f.store.maintenance_set(&app, &Maintenance { message: None, since: UnixMillis(9), ..begun.clone() }).await.expect("changed");
    let kept = f.store.maintenance(app.id).await.expect("read");
    assert_eq!(kept, Some(Maintenance { message: None, ..begun.clone() }), "since its beginning");
    assert!(f.store.maintenance_clear(&app, "root").await.expect("off"));
    assert!(!f.store.maintenance_clear(&app, "root").await.expect("off again"));
    f.store.maintenance_set(&app, &begun).await.expect("on");
    f.store.app_mark_destroying(&app.name, "root").await.expect("going");
    assert!(f.store.maintenance_set(&app, &begun).await.is_err());
    f.store.app_delete(&app.name, "root").await.expect("gone");
    assert!(f.store.maintenances().await.expect("none").is_empty());
}

fn hosts(names: &[&str]) -> Vec<HostPattern> {
    names.iter().map(|n| HostPattern::parse(n).expect("host")).collect()
}

fn made(fingerprint: &str, names: &[&str]) -> Certificate {
    let example = Certificate::example(names, UnixMillis(2));
    let facts = Facts { fingerprint: fingerprint.to_owned(), names: vec!["shop.example".to_owned()], ..example.facts };
    Certificate { facts, key: Secret::new("hidden-key-text".to_owned()), ..example }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_spoils_no_other_and_another_takes_its_place() {
    let f = fixture().await;
    let names = [["key.example"], ["names.example"], ["good.example"]];
    for (n, names) in names.iter().enumerate() {
        f.store.certificate_put(&made(&n.to_string(), names), "root").await.expect("put");
    }
    // Sealed by another key, and a column that is damaged.
    for damage in [
        "update certificates set sealed = zeroblob(60) where fingerprint = '0'",
        "update certificates set names = '[' where fingerprint = '1'",
    ] {
        sqlx::query(damage).execute(&f.store.writer).await.expect("damaged");
    }

    let all = f.store.certificates().await.expect("the others are read");

    assert_eq!(all.good.iter().map(Certificate::shown_for).collect::<Vec<_>>(), ["good.example"]);
    let spoilt: Vec<_> = all.spoilt.iter().map(|s| (s.shown_for(), s.facts.is_some())).collect();
    assert_eq!(spoilt, [("key.example".to_owned(), true), ("names.example".to_owned(), false)]);
    assert!(all.spoilt[0].why.contains("secret key") && all.spoilt[1].why.contains("names"), "{:?}", all.spoilt);
    // The same ones once more, and a removal, which needs no key.
    f.store.certificate_put(&made("1", &["names.example"]), "root").await.expect("put again");
    f.store.certificate_remove(&hosts(&["key.example"])[0], "root").await.expect("removed");
    let mended = f.store.certificates().await.expect("read");
    assert_eq!((mended.good.len(), mended.spoilt), (2, Vec::new()));
}

#[tokio::test]
async fn a_certificates_key_is_sealed_and_goes_with_its_last_host() {
    let f = fixture().await;
    f.store.certificate_put(&made("a", &["shop.example", "*.shop.example"]), "root").await.expect("put");
    let kept = f.store.certificates().await.expect("read").good;
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].hosts.clone(), kept[0].key.reveal().as_str()),
        (hosts(&["*.shop.example", "shop.example"]), "hidden-key-text")
    );
    assert_eq!(kept[0].facts, made("a", &[]).facts);
    let sealed: Vec<u8> = sqlx::query_scalar("select sealed from certificates").fetch_one(&f.store.readers).await.expect("row");
    assert!(!sealed.windows(6).any(|w| w == b"hidden"), "the key is not in the file");

    f.store.certificate_put(&made("b", &["shop.example"]), "root").await.expect("a newer one");
    assert_eq!(f.store.certificates().await.expect("read").good.len(), 2, "the old one still has the other host");
    f.store.certificate_remove(&hosts(&["*.shop.example"])[0], "root").await.expect("removed");
    let left = f.store.certificates().await.expect("read").good;
    assert_eq!((left.len(), left[0].facts.fingerprint.as_str()), (1, "b"), "a key that nothing needs is not kept");
    assert!(matches!(f.store.certificate_remove(&hosts(&["*.shop.example"])[0], "root").await, Err(StoreError::NotFound(_))));
}
