use std::path::Path;

use super::*;
use crate::base::secret::Secret;
use crate::config::LogsConfig;
use crate::logs::LogStore;
use crate::model::certificate::Certificate;
use crate::names::HostPattern;
use crate::routes::access_log::AccessLog;
use crate::store::Sealer;

const LOGS: LogsConfig = LogsConfig { max_bytes_per_app: 1 << 20, lines_per_second: 10, burst: 10 };

fn made(host: &str) -> Certificate {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let key = Secret::new(signing_key.serialize_pem());
    Certificate { chain: cert.pem(), key, ..Certificate::example(&[host], UnixMillis(i64::MAX)) }
}

/// A publisher on a store in this folder, whose secrets `key` seals.
async fn publisher(folder: &Path, key: u8) -> Arc<Publisher> {
    let store = Store::open(&folder.join("paas.db"), Sealer::new(&[key; 32])).await.expect("a store");
    let config = HostConfig { state_dir: folder.to_owned(), ..HostConfig::default_at(Path::new("paas.toml")) };
    let proxies = Proxies::new(AccessLog::new(LogStore::open(folder.join("logs"), &LOGS)));
    Publisher::new(store, Arc::new(config), proxies, None)
}

#[tokio::test]
async fn routes_are_published_without_a_certificate_that_cannot_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (before, now) = (publisher(folder.path(), 1).await, publisher(folder.path(), 2).await);
    before.store.certificate_put(&made("sealed.example"), "root").await.expect("put");
    now.store.certificate_put(&made("good.example"), "root").await.expect("put");
    let damaged = Certificate { chain: "no PEM".to_owned(), ..made("damaged.example") };
    now.store.certificate_put(&damaged, "root").await.expect("put");

    now.publish().await.expect("all else is published");

    let snapshot = now.proxies.current().expect("a snapshot");
    let shown: Vec<_> = snapshot.front.certs.iter().flat_map(|c| c.names.clone()).collect();
    assert_eq!(shown, ["good.example"]);
    let view = now.view().await.expect("a view").0;
    assert_eq!(view.certified, [HostPattern::parse("good.example").expect("a host")], "nobody is sent to https for the others");
    let told = now.known_certificates().await.expect("known");
    let spoilt: Vec<_> = told.spoilt.iter().map(|s| s.shown_for()).collect();
    assert_eq!(spoilt, ["sealed.example", "damaged.example"]);
}

#[tokio::test]
async fn who_looks_every_few_seconds_opens_no_key_until_a_certificate_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let publisher = publisher(folder.path(), 1).await;
    publisher.store.certificate_put(&made("a.example"), "root").await.expect("put");
    let first = publisher.known_certificates().await.expect("read at the first look");
    assert_eq!(first.good.len(), 1);
    assert!(Arc::ptr_eq(&first, &publisher.known_certificates().await.expect("known")), "not read again");
    publisher.store.certificate_put(&made("b.example"), "root").await.expect("put");
    publisher.publish().await.expect("each change is published");
    assert_eq!(publisher.known_certificates().await.expect("known").good.len(), 2);
}

#[test]
fn routes_are_made_anew_when_a_certificate_ends_and_when_a_clock_that_was_ahead_is_put_right() {
    let ends = |now| Ends::around(UnixMillis(now), [30, 10, 20].map(UnixMillis).into_iter());
    let others = |made, now| ends(made).are_others_at(UnixMillis(now));
    assert_eq!([10, 15, 19, 20, 21, 99].map(|now| others(15, now)), [false, false, false, true, true, true]);
    assert_eq!([9, 0].map(|now| others(15, now)), [true, true], "the one that ends at 10 has not ended any more");
    assert_eq!([0, 29, 30, 1000].map(|now| others(99, now)), [true, true, false, false]);
    assert!(!others(0, 9) && others(0, 10) && !Ends::default().are_others_at(UnixMillis(5)));
}

#[tokio::test]
async fn a_publish_that_is_dropped_on_its_way_is_made_up_for_and_one_that_was_made_up_for_is_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let publisher = publisher(folder.path(), 1).await;
    let (mut silent, theirs) = tokio::io::duplex(1 << 20);
    tokio::spawn(Arc::clone(&publisher.proxies).serve(theirs));
    let (generation, listening, listening_tls) = ("one".to_owned(), Vec::new(), Vec::new());
    let hello = wire::FromProxy::Hello { version: wire::VERSION, pid: 1, generation, active: None, listening, listening_tls };
    crate::wire::frame::write(&mut silent, &hello).await.expect("said");
    while publisher.proxies.connected() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!publisher.is_dirty());
    tokio::time::timeout(std::time::Duration::from_millis(200), publisher.publish()).await.expect_err("a proxy is waited for");
    assert!(publisher.is_dirty(), "the routes are not what the store says");

    drop(silent);
    while publisher.proxies.connected() > 0 {
        tokio::task::yield_now().await;
    }
    publisher.publish_if_dirty().await.expect("published");
    let published = publisher.proxies.current().expect("a snapshot").version;
    publisher.publish_if_dirty().await.expect("nothing to do");
    assert!(!publisher.is_dirty() && publisher.proxies.current().expect("a snapshot").version == published);
}
