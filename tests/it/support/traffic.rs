//! Constant traffic that counts: half on kept connections, half on fresh ones; nothing is ever tried again, and every answer is checked:
//! its status, its length, its body, and that proxy and app name the same release.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::door::{Door, Way};
use super::http::{Client, Reply};

#[derive(Debug, Default, Clone)]
pub struct Counted {
    pub answered: u64,
    /// The body told which version answered.
    pub by_version: BTreeMap<String, u64>,
    /// The proxy and the instance told which release answered.
    pub by_release: BTreeMap<String, OfRelease>,
    pub failed: Vec<String>,
    pub slowest: Duration,
    /// How often clients of HTTP/2 were told to come back on another connection.
    pub told_to_go: u64,
}

/// What one release answered.
#[derive(Debug, Clone)]
pub struct OfRelease {
    pub answered: u64,
    pub version: String,
    /// When the first answer of it had come, and when the last request that it answered was begun.
    pub first_end: Instant,
    pub last_start: Instant,
}

/// Clients that run until [`Traffic::stop`].
pub struct Traffic {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Counted>>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// `clients` threads ask `GET /` of the test app `app` at `host`, each again as soon as it was answered (at most every 2 ms).
    pub fn start(to: impl Into<Door>, host: &str, app: &str, clients: usize) -> Traffic {
        Traffic::start_every(Duration::from_millis(2), to, host, app, clients)
    }

    /// The same with another pause: many apps at once must not take the cores from what is being tested.
    pub fn start_every(pause: Duration, to: impl Into<Door>, host: &str, app: &str, clients: usize) -> Traffic {
        let door = to.into();
        let ways: Vec<Way> = (0..clients).map(|n| Way { door, keep: n % 2 == 0 }).collect();
        Traffic::by(&ways, pause, host, app)
    }

    /// One client for each way.
    pub fn by(ways: &[Way], pause: Duration, host: &str, app: &str) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Counted::default()));
        let threads = ways
            .iter()
            .copied()
            .map(|way| {
                let (stop, seen, host, app) = (stop.clone(), seen.clone(), host.to_owned(), app.to_owned());
                std::thread::spawn(move || one_client(way, &host, &app, pause, &stop, &seen))
            })
            .collect();
        Traffic { stop, seen, threads }
    }

    pub fn so_far(&self) -> Counted {
        self.seen.lock().expect("no client panics with the lock").clone()
    }

    /// Waits until at least `more` further requests were answered, so that an observation covers real traffic.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let goal = self.so_far().answered + more;
        super::eventually("traffic goes on", Duration::from_secs(60), || (self.so_far().answered >= goal).then_some(()));
    }

    pub fn stop(mut self) -> Counted {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client does not panic");
        }
        self.so_far()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Counted {
    #[track_caller]
    pub fn nothing_failed(&self) {
        let first = &self.failed[..self.failed.len().min(10)];
        assert!(self.failed.is_empty(), "{} of {} failed: {first:?}", self.failed.len(), self.answered);
    }

    fn answer(&mut self, (version, release): (String, String), started: Instant) {
        let now = Instant::now();
        self.answered += 1;
        *self.by_version.entry(version.clone()).or_default() += 1;
        let new = || OfRelease { answered: 0, version: version.clone(), first_end: now, last_start: started };
        let of = self.by_release.entry(release.clone()).or_insert_with(new);
        of.answered += 1;
        of.last_start = of.last_start.max(started);
        if of.version != version {
            self.failed.push(format!("{release} answered as {version} and as {}", of.version));
        }
    }
}

fn one_client(Way { door, keep }: Way, host: &str, app: &str, pause: Duration, stop: &AtomicBool, seen: &Mutex<Counted>) {
    let mut kept: Option<Client> = None;
    while !stop.load(Ordering::SeqCst) {
        let started = Instant::now();
        let answer = kept.take().map_or_else(|| Client::connect(door, host), Ok).and_then(|mut client| {
            let before = client.told_to_go();
            let reply = client.get("/")?;
            Ok((client.told_to_go() - before, client, reply))
        });
        let took = started.elapsed();
        let mut seen = seen.lock().expect("no client panics with the lock");
        seen.slowest = seen.slowest.max(took);
        match answer {
            Ok((told_to_go, client, reply)) => {
                seen.told_to_go += told_to_go;
                match judge(app, &reply) {
                    Ok(from) => seen.answer(from, started),
                    Err(why) => seen.failed.push(why),
                }
                kept = (keep && client.is_open()).then_some(client);
            }
            Err(e) => seen.failed.push(format!("{e} after {took:?} ({door:?}, kept connections: {keep})")),
        }
        drop(seen);
        std::thread::sleep(pause);
    }
}

/// Version and release of a right answer to `GET /`.
fn judge(app: &str, reply: &Reply) -> Result<(String, String), String> {
    let (text, release) = (reply.text(), release_of(reply)?);
    let whole = reply.header("content-length").is_some_and(|n| n == reply.body.len().to_string());
    match text.strip_prefix(app).and_then(|rest| rest.strip_prefix(' ')).and_then(|rest| rest.strip_suffix('\n')) {
        Some(version) if reply.status == 200 && whole && !version.is_empty() => Ok((version.to_owned(), release)),
        _ => Err(format!("status {}: {text:?}", reply.status)),
    }
}

/// The release that answered: the proxy's word and the instance's own must be the same.
pub fn release_of(reply: &Reply) -> Result<String, String> {
    match (reply.header("x-paas-release"), reply.header("x-release")) {
        (Some(proxy), Some(app)) if proxy == app => Ok(app.to_owned()),
        // The test app by itself, with no proxy before it.
        (None, Some("")) => Ok(String::new()),
        other => Err(format!("status {}: the releases do not agree: {other:?} in {reply:?}", reply.status)),
    }
}
