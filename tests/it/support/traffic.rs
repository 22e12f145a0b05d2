//! Constant traffic that counts: half on kept connections, half on fresh ones; nothing is ever tried again, and every answer is checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http::Client;

#[derive(Debug, Default, Clone)]
pub struct Counted {
    pub answered: u64,
    /// The body told which version answered.
    pub by_version: BTreeMap<String, u64>,
    pub failed: Vec<String>,
    pub slowest: Duration,
}

/// Clients that run until [`Traffic::stop`].
pub struct Traffic {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Counted>>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// `clients` threads ask `GET /` of the test app `app` at `host`, each again as soon as it was answered (at most every 2 ms).
    pub fn start(to: SocketAddr, host: &str, app: &str, clients: usize) -> Traffic {
        Traffic::start_every(Duration::from_millis(2), to, host, app, clients)
    }

    /// The same with another pause: many apps at once must not take the cores from what is being tested.
    pub fn start_every(pause: Duration, to: SocketAddr, host: &str, app: &str, clients: usize) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Counted::default()));
        let threads = (0..clients)
            .map(|n| {
                let (stop, seen, host, app) = (stop.clone(), seen.clone(), host.to_owned(), app.to_owned());
                std::thread::spawn(move || one_client(to, &host, &app, n % 2 == 0, pause, &stop, &seen))
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

fn one_client(to: SocketAddr, host: &str, app: &str, keep: bool, pause: Duration, stop: &AtomicBool, seen: &Mutex<Counted>) {
    let mut kept: Option<Client> = None;
    while !stop.load(Ordering::SeqCst) {
        let started = Instant::now();
        let answer = kept.take().map_or_else(|| Client::connect(to, host), Ok).and_then(|mut client| {
            let reply = client.get("/")?;
            Ok((client, reply))
        });
        let took = started.elapsed();
        let mut seen = seen.lock().expect("no client panics with the lock");
        seen.slowest = seen.slowest.max(took);
        match answer {
            Ok((client, reply)) => {
                let text = reply.text();
                match text.trim_end().strip_prefix(app).map(str::trim) {
                    Some(version) if reply.status == 200 && !version.is_empty() => {
                        seen.answered += 1;
                        *seen.by_version.entry(version.to_owned()).or_default() += 1;
                    }
                    _ => seen.failed.push(format!("status {}: {text:?}", reply.status)),
                }
                kept = (keep && client.is_open()).then_some(client);
            }
            Err(e) => seen.failed.push(format!("{e} after {took:?} (kept connections: {keep})")),
        }
        drop(seen);
        std::thread::sleep(pause);
    }
}
