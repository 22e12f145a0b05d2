use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::*;
use crate::handover::fds::recv_with_fds;
use crate::logs::{Kind, Query, Stream};
use crate::names::AppName;
use crate::wire::frame;
use crate::wire::init::record::{self, Record};
use crate::wire::init::{FRAME_LIMIT, FromInit, VERSION};

const ONE: InstanceId = InstanceId(1);
const LIMIT: Duration = Duration::from_secs(5);

fn config() -> LogsConfig {
    LogsConfig { max_bytes_per_app: 1 << 20, lines_per_second: 7, burst: 70 }
}

fn world(dir: &Path, is_init: fn(i32) -> bool) -> Arc<Links> {
    let logs = LogStore::open(dir.join("logs"), &config());
    Arc::new(Links::with_check(dir.join("instances"), logs, &config(), is_init))
}

fn source() -> Source {
    Source::of_kind(AppName::parse("shop").expect("name"), Kind::App)
}

fn hello(segment: Option<u64>) -> FromInit {
    let phase = Phase::Gated;
    let (next_record, segment_bytes) = (1, 0);
    FromInit::Hello(Hello {
        version: VERSION,
        instance: ONE,
        phase,
        restarts: 0,
        next_record,
        segment,
        segment_bytes,
        last_end: None,
    })
}

/// Plays an init: blocking, so to be used inside `spawn_blocking`.
struct Init(UnixStream);

impl Init {
    fn connect(dir: &Path) -> Self {
        let stream = UnixStream::connect(dir.join("instances/i1/init.sock")).expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        Self(stream)
    }

    /// Connects anew and hears the limits.
    fn greet(dir: &Path, segment: Option<u64>) -> Self {
        let mut init = Self::connect(dir);
        init.say(&hello(segment));
        assert!(matches!(init.hear().0, ToInit::Limits { .. }));
        init
    }

    fn next_segment(&mut self, wanted: u64) -> std::fs::File {
        let (message, descriptor) = self.hear();
        assert!(matches!(message, ToInit::Segment { segment, .. } if segment == wanted), "{message:?}");
        descriptor.expect("descriptor").into()
    }

    fn say(&mut self, message: &FromInit) {
        frame::write_blocking(&mut self.0, message).expect("send");
    }

    fn hear(&mut self) -> (ToInit, Option<std::os::fd::OwnedFd>) {
        let mut head = [0; 4];
        let (n, fds) = recv_with_fds(&self.0, &mut head, 2).expect("receive");
        assert_eq!(n, 4, "closed");
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.0.read_exact(&mut body).expect("body");
        (serde_json::from_slice(&body).expect("message"), fds.into_iter().next())
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_gets_its_segment_and_every_wish_also_one_from_before_it_came() {
    let dir = tempfile::tempdir().expect("temp dir");
    let links = world(dir.path(), |_| true);
    links.listen(ONE, source()).expect("listen");
    links.listen(ONE, source()).expect("listening twice is fine");
    links.open(ONE).expect("open");
    let mut changes = links.subscribe();
    let path = dir.path().to_owned();
    let mut init = blocking(move || {
        let mut init = Init::connect(&path);
        init.say(&hello(None));
        assert_eq!(init.hear().0, ToInit::Limits { lines_per_second: 7, burst: 70 });
        let (message, descriptor) = init.hear();
        assert!(matches!(message, ToInit::Segment { segment: 1, .. }), "{message:?}");
        let mut bytes = Vec::new();
        record::encode(&mut bytes, &Record { number: 1, at_micros: 5, stream: Stream::Stdout, flags: 0, text: b"hello" });
        std::fs::File::from(descriptor.expect("descriptor")).write_all(&bytes).expect("append");
        assert_eq!(init.hear().0, ToInit::Open);
        init.say(&FromInit::Started { pid: 7, restarts: 2 });
        init
    })
    .await;
    let state = links.wait(ONE, |s| s.phase == Phase::Running { pid: 7 }, LIMIT).await.expect("running");
    assert_eq!((state.connected, state.restarts), (true, 2));
    assert_eq!(changes.recv().await.expect("change"), (ONE, Change::Connected));
    assert_eq!(changes.recv().await.expect("change"), (ONE, Change::Started { pid: 7, restarts: 2 }));
    assert!(links.stop(ONE, 15, LIMIT).expect("stop"));
    blocking(move || {
        assert_eq!(init.hear().0, ToInit::Stop { signal: 15, timeout_ms: 5000 });
        init.say(&FromInit::Ended(EndReport { code: Some(3), last_lines: vec!["x".to_owned(); 100], ..EndReport::default() }));
    })
    .await;
    let state = links.wait(ONE, |s| !s.connected, LIMIT).await.expect("gone");
    assert_eq!(state.phase, Phase::Ended);
    assert_eq!(state.last_end.expect("report").last_lines.len(), 20);
    let query = Query::of(source().app);
    let lines = links.logs.query(&query, None).expect("query").lines;
    assert_eq!((lines.len(), lines[0].text.as_str(), lines[0].instance), (1, "hello", Some(ONE)));
    links.forget(ONE);
    assert!(links.state(ONE).is_none() && !dir.path().join("instances/i1/init.sock").exists());
    assert!(!links.logs.is_active(&Source { instance: Some(ONE), ..source() }, 1));
}

impl Links {
    /// For tests of who wishes.
    pub(crate) fn wished(&self, instance: InstanceId) -> String {
        format!("{:?}", self.entry(instance).expect("it is listened for").inner().wish)
    }
}

/// To many programs a second signal means that they must leave their work and go.
#[tokio::test(flavor = "multi_thread")]
async fn an_init_is_told_once_to_stop_however_often_that_is_asked_for_and_by_how_many_daemons() {
    let running = Phase::Running { pid: 7 };
    for (phase, is_asked_before) in [(running, false), (running, true), (Phase::Stopping, false), (Phase::Stopping, true)] {
        let dir = tempfile::tempdir().expect("temp dir");
        let links = world(dir.path(), |_| true);
        links.listen(ONE, source()).expect("listen");
        if is_asked_before {
            links.stop(ONE, 15, LIMIT).expect("stop");
        }
        let path = dir.path().to_owned();
        let mut init = blocking(move || {
            let mut init = Init::connect(&path);
            let FromInit::Hello(greeting) = hello(None) else { unreachable!() };
            init.say(&FromInit::Hello(Hello { phase, ..greeting }));
            init.hear();
            init.hear();
            init
        })
        .await;
        for _ in 0..3 {
            assert!(links.stop(ONE, 15, LIMIT).expect("stop"));
        }
        assert!(links.restart(ONE, 1, LIMIT, "the last word").expect("told"));
        let heard = blocking(move || {
            let mut heard = Vec::new();
            while !matches!(heard.last(), Some(ToInit::Restart { .. })) {
                heard.push(init.hear().0);
            }
            heard
        })
        .await;
        let stops = heard.iter().filter(|m| matches!(m, ToInit::Stop { .. })).count();
        assert_eq!(stops, usize::from(phase != Phase::Stopping), "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_and_other_processes_are_not_listened_to_and_the_newest_init_wins() {
    let dir = tempfile::tempdir().expect("temp dir");
    let links = world(dir.path(), |_| true);
    links.listen(ONE, source()).expect("listen");
    let path = dir.path().to_owned();
    let first = blocking(move || {
        let mut first = Init::connect(&path);
        first.say(&hello(None));
        first.hear();
        let too_long = (FRAME_LIMIT as u32 + 1).to_be_bytes();
        for rubbish in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), too_long.to_vec(), b"\0\0\0\x02{}".to_vec()] {
            let mut other = Init::connect(&path);
            other.0.write_all(&rubbish).expect("write");
            assert!(other.is_closed());
        }
        let mut stranger = Init::connect(&path);
        stranger.say(&FromInit::Started { pid: 1, restarts: 0 });
        assert!(stranger.is_closed(), "no greeting, no talk");
        let mut second = Init::connect(&path);
        second.say(&hello(None));
        second.hear();
        (first, second)
    })
    .await;
    let (mut first, mut second) = first;
    let second = blocking(move || {
        while first.0.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
        second.say(&FromInit::Started { pid: 2, restarts: 0 });
        second
    })
    .await;
    links.wait(ONE, |s| s.connected && s.phase == Phase::Running { pid: 2 }, LIMIT).await.expect("the second counts");
    drop(second);

    let strict = world(dir.path(), listener::is_init);
    strict.listen(ONE, source()).expect("replaces the socket");
    let path = dir.path().to_owned();
    blocking(move || {
        let mut other = Init::connect(&path);
        let _ = frame::write_blocking(&mut other.0, &hello(None));
        assert!(other.is_closed(), "a process that is no PID 1 gets no descriptor");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_replaced_only_when_it_is_really_full_and_an_old_one_goes_on_under_a_new_daemon() {
    let dir = tempfile::tempdir().expect("temp dir");
    let links = world(dir.path(), |_| true);
    links.listen(ONE, source()).expect("listen");
    let path = dir.path().to_owned();
    let _init = blocking(move || {
        let mut init = Init::connect(&path);
        init.say(&hello(None));
        init.hear();
        let (_, descriptor) = init.hear();
        for _ in 0..100 {
            init.say(&FromInit::SegmentFull { segment: Some(1), bytes: u64::MAX });
        }
        std::fs::File::from(descriptor.expect("descriptor")).write_all(&[0; 70_000]).expect("fill");
        init.say(&FromInit::SegmentFull { segment: Some(1), bytes: 0 });
        let (message, _) = init.hear();
        assert!(matches!(message, ToInit::Segment { segment: 2, .. }), "{message:?}");
        init.say(&FromInit::SegmentTaken { segment: 2 });
        init.say(&FromInit::Started { pid: 1, restarts: 0 });
        init
    })
    .await;
    links.wait(ONE, |s| s.phase == Phase::Running { pid: 1 }, LIMIT).await.expect("all was read");
    let mine = Source { instance: Some(ONE), ..source() };
    assert!(links.logs.is_active(&mine, 2) && !links.logs.is_active(&mine, 1));

    let links = world(dir.path(), |_| true);
    links.listen(ONE, source()).expect("listen");
    links.open(ONE).expect("open");
    let path = dir.path().to_owned();
    blocking(move || {
        let mut init = Init::connect(&path);
        init.say(&hello(Some(2)));
        assert!(matches!(init.hear().0, ToInit::Limits { .. }));
        assert_eq!(init.hear().0, ToInit::Open, "no new segment");
    })
    .await;
    assert!(matches!(links.wait(ONE, |_| false, Duration::from_millis(10)).await, Err(LinkError::TimedOut { .. })));
    assert!(matches!(links.open(InstanceId(2)), Err(LinkError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_on_its_way_is_neither_given_twice_nor_finished_by_the_one_before_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let links = world(dir.path(), |_| true);
    links.listen(ONE, source()).expect("listen");
    let path = dir.path().to_owned();
    blocking(move || {
        let mut init = Init::greet(&path, None);
        let mut taken = 0;
        // Gives which segments are active once the daemon has read all.
        let mut active = |init: &mut Init| {
            taken += 1;
            init.say(&FromInit::Started { pid: 1, restarts: taken });
            let read = links.wait(ONE, |s| s.restarts == taken, LIMIT);
            tokio::runtime::Handle::current().block_on(read).expect("all was read");
            let mine = Source { instance: Some(ONE), ..source() };
            (1..9).filter(|n| links.logs.is_active(&mine, *n)).collect::<Vec<_>>()
        };
        let full = |segment| FromInit::SegmentFull { segment: Some(segment), bytes: 0 };
        init.next_segment(1).write_all(&[0; 70_000]).expect("fill");
        init.say(&full(1));
        let mut second = init.next_segment(2);
        init.say(&full(1));
        assert_eq!(active(&mut init), [1, 2], "asked again before it was taken, the init gets no other");

        // Taken and filled at once, while the daemon still reads an old question.
        second.write_all(&[0; 70_000]).expect("fill");
        init.say(&full(1));
        init.next_segment(3);
        init.say(&FromInit::SegmentTaken { segment: 2 });
        assert_eq!(active(&mut init), [2, 3], "the third will be written to");
        init.say(&FromInit::SegmentTaken { segment: 3 });
        assert_eq!(active(&mut init), [3]);

        // A connection that is lost with the descriptor on it: the next one brings another, and one only.
        let mut init = Init::greet(&path, None);
        init.next_segment(4).write_all(&[0; 70_000]).expect("fill");
        init.say(&full(4));
        init.next_segment(5);
        let mut init = Init::greet(&path, Some(4));
        init.next_segment(6);
        init.say(&full(4));
        assert_eq!(active(&mut init), [4, 6]);
    })
    .await;
}
