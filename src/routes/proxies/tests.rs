//! Two proxies at once, as during an upgrade.

use tokio::io::DuplexStream;

use super::*;
use crate::config::LogsConfig;
use crate::logs::LogStore;
use crate::names::{AppName, ProcessName, ReleaseNumber};
use crate::wire::proxy::{DrainBudget, Front, Target};

const PATIENCE: Duration = Duration::from_secs(10);
const LOGS: LogsConfig = LogsConfig { max_bytes_per_app: 1 << 20, lines_per_second: 10, burst: 10 };
const TARGET: InstanceId = InstanceId(7);

/// A proxy's end of the connection.
struct Proxy(DuplexStream);

impl Proxy {
    async fn connect(proxies: &Arc<Proxies>, generation: &str) -> Proxy {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(Arc::clone(proxies).serve(theirs));
        let mut proxy = Proxy(ours);
        let hello = FromProxy::Hello {
            version: VERSION,
            pid: 1,
            generation: generation.to_owned(),
            active: None,
            listening: Vec::new(),
            listening_tls: Vec::new(),
        };
        proxy.say(hello).await;
        proxy
    }

    async fn say(&mut self, message: FromProxy) {
        frame::write(&mut self.0, &message).await.expect("the daemon reads");
    }

    /// Obeys until the snapshot is active.
    async fn follow(&mut self, version: u64) {
        loop {
            match frame::read::<ToProxy>(&mut self.0, MESSAGE_LIMIT).await.expect("a message").expect("not the end") {
                ToProxy::Prepare(snapshot) => self.say(FromProxy::Prepared { version: snapshot.version }).await,
                ToProxy::Activate { version: active } => {
                    self.say(FromProxy::Activated { version: active }).await;
                    if active == version {
                        return;
                    }
                }
            }
        }
    }

    async fn count(&mut self, served: u64, in_flight: u64) {
        self.say(FromProxy::Counts(vec![TargetCounts { served, in_flight, ..TargetCounts::zero(TARGET) }])).await;
    }
}

fn draining(version: u64) -> Arc<Snapshot> {
    let target = Target {
        id: TARGET,
        app: AppName::parse("shop").expect("an app"),
        process: ProcessName::parse("web").expect("a process"),
        release: ReleaseNumber(1),
        commit: None,
        drain: Some(DrainBudget { requests_ms: 1000, streams_ms: 1000 }),
    };
    Arc::new(Snapshot { version, routes: Vec::new(), targets: vec![target], commit_header: false, front: Front::default() })
}

#[tokio::test]
async fn both_get_the_routes_a_drain_waits_for_both_and_their_counts_are_added() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = Proxies::new(AccessLog::new(LogStore::open(folder.path().to_owned(), &LOGS)));
    let mut old = Proxy::connect(&proxies, "old").await;
    let mut new = Proxy::connect(&proxies, "new").await;
    proxies.wait(PATIENCE, |inner| (inner.connected.len() == 2).then_some(())).await.expect("both are connected");

    let snapshot = draining(3);
    let publish = async {
        proxies.prepare(&snapshot, true).await.expect("prepared");
        proxies.activate(Arc::clone(&snapshot)).await.expect("activated");
    };
    tokio::join!(publish, old.follow(3), new.follow(3));

    old.count(5, 1).await;
    new.count(2, 0).await;
    new.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    assert!(!proxies.drained(TARGET, Duration::from_millis(300)).await, "the old one still has a request");
    assert_eq!((proxies.counts(TARGET).served, proxies.counts(TARGET).in_flight), (7, 1));

    old.count(6, 0).await;
    old.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    assert!(proxies.drained(TARGET, PATIENCE).await);
    drop(old);
    proxies.wait(PATIENCE, |inner| (inner.connected.len() == 1).then_some(())).await.expect("the old one is gone");
    assert_eq!(proxies.counts(TARGET).served, 8, "what a process counted stays when it is gone");
}

#[tokio::test]
async fn a_daemon_that_has_just_begun_waits_for_the_second_proxy() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = Proxies::new(AccessLog::new(LogStore::open(folder.path().to_owned(), &LOGS)));
    let mut new = Proxy::connect(&proxies, "new").await;
    new.say(FromProxy::DrainEnded { target: TARGET, forced: 0 }).await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        Proxy::connect(&proxies, "old").await
    };
    let (drained, _old) = tokio::join!(proxies.drained(TARGET, Duration::from_millis(500)), late);
    assert!(!drained, "the one that came later may have something in flight");
}

#[tokio::test]
async fn what_a_newer_proxy_tells_is_passed_over_and_it_stays_connected() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let proxies = Proxies::new(AccessLog::new(LogStore::open(folder.path().to_owned(), &LOGS)));
    let mut proxy = Proxy::connect(&proxies, "newer").await;
    let counts = serde_json::to_value(TargetCounts { served: 3, ..TargetCounts::zero(TARGET) }).expect("encode");
    let mut newer = counts.clone();
    newer["quality"] = serde_json::json!([1, 2]);
    for message in [
        serde_json::json!({ "Weather": { "rain": true } }),
        serde_json::json!({ "Counts": [newer] }),
        serde_json::json!({ "Counts": "in another shape" }),
    ] {
        frame::write(&mut proxy.0, &message).await.expect("the daemon reads");
    }
    let snapshot = draining(4);
    let activated = tokio::join!(proxies.activate(Arc::clone(&snapshot)), proxy.follow(4)).0;
    activated.expect("it is still there and obeys");
    assert_eq!((proxies.counts(TARGET).served, proxies.connected()), (3, 1));
}
