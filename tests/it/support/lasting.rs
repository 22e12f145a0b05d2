//! Requests that last: uploads, streamed answers and WebSockets, one after the other until they are stopped; none is ever tried again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::door::Door;
use super::http::Client;
use super::traffic::release_of;
use super::websocket::{Message, Socket};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Upload,
    Stream,
    /// Server-sent events, which the proxy may end properly.
    Events,
    Socket,
}

/// One that ended as it should.
#[derive(Debug, Clone)]
pub struct Ended {
    pub kind: Kind,
    /// `v3`, or for a WebSocket the version that greeted.
    pub by: String,
    pub ended: Instant,
    /// For a WebSocket: closed by the other side with 1001, not by us. For events: ended before the last one.
    pub closed: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub ended: Vec<Ended>,
    pub failed: Vec<String>,
    /// Echoes with the right number.
    pub echoes: u64,
}

impl Outcome {
    pub fn add(&mut self, more: Outcome) {
        self.ended.extend(more.ended);
        self.failed.extend(more.failed);
        self.echoes += more.echoes;
    }
}

pub struct Lasting {
    stop: Arc<AtomicBool>,
    outcome: Arc<Mutex<Outcome>>,
    threads: Vec<JoinHandle<()>>,
}

const TICK: Duration = Duration::from_millis(100);

impl Lasting {
    /// Of each kind one client after another, by its door; all but WebSockets take `length`.
    pub fn start(all: &[(Door, Kind)], host: &str, length: Duration) -> Lasting {
        let lasting = Lasting { stop: Arc::default(), outcome: Arc::default(), threads: Vec::new() };
        let run = |to: Door, kind: Kind| {
            let (stop, outcome, host) = (lasting.stop.clone(), lasting.outcome.clone(), host.to_owned());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let started = Instant::now();
                    let done = match kind {
                        Kind::Upload => upload(to, &host, length).map(|by| (by, false)),
                        Kind::Stream => stream(to, &host, length).map(|by| (by, false)),
                        Kind::Events => events(to, &host, length),
                        Kind::Socket => socket(to, &host, &stop, &outcome),
                    };
                    let mut outcome = outcome.lock().expect("no client panics with the lock");
                    match done {
                        Ok((by, closed)) => outcome.ended.push(Ended { kind, by, ended: Instant::now(), closed }),
                        Err(why) => outcome.failed.push(format!("{kind:?} by {to:?} after {:?}: {why}", started.elapsed())),
                    }
                }
            })
        };
        let threads = all.iter().map(|(door, kind)| run(*door, *kind)).collect();
        Lasting { threads, ..lasting }
    }

    /// Lets uploads and streams come to their end; WebSockets are closed.
    pub fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
        self.outcome.lock().expect("no client panics with the lock").clone()
    }
}

fn upload(to: Door, host: &str, length: Duration) -> Result<String, String> {
    let count = ticks(length);
    let parts: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; 10_000]).collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let sum: u64 = parts.iter().flatten().map(|b| u64::from(*b)).sum();
    let mut client = Client::connect(to, host).map_err(|e| e.to_string())?;
    let reply = client.upload("/upload", &slices, TICK).map_err(|e| e.to_string())?;
    let wanted = format!("{} {sum}\n", 10_000 * count);
    if (reply.status, reply.text()) != (200, wanted) {
        return Err(format!("the upload arrived as {reply:?}"));
    }
    release_of(&reply)
}

fn stream(to: Door, host: &str, length: Duration) -> Result<String, String> {
    let count = ticks(length);
    let mut client = Client::connect(to, host).map_err(|e| e.to_string())?;
    let path = format!("/stream?n={count}&ms={}", TICK.as_millis());
    let reply = client.get(&path).map_err(|e| format!("the stream broke off: {e}"))?;
    let wanted: String = (0..count).map(|n| format!("chunk {n}\n")).collect();
    if (reply.status, reply.text()) != (200, wanted) {
        return Err(format!("the stream came as {reply:?}"));
    }
    release_of(&reply)
}

/// All of them, or the first ones and a proper end.
fn events(to: Door, host: &str, length: Duration) -> Result<(String, bool), String> {
    let count = ticks(length);
    let mut client = Client::connect(to, host).map_err(|e| e.to_string())?;
    let path = format!("/events?n={count}&ms={}", TICK.as_millis());
    let reply = client.get(&path).map_err(|e| format!("the events broke off: {e}"))?;
    let all: String = (0..count).map(|n| format!("data: {n}\n\n")).collect();
    let text = reply.text();
    if reply.status != 200 || !all.starts_with(&text) || !text.ends_with("\n\n") {
        return Err(format!("the events came as {reply:?}"));
    }
    Ok((release_of(&reply)?, text != all))
}

/// Numbered echoes until the other side closes with 1001, or until we are told to stop.
fn socket(to: Door, host: &str, stop: &AtomicBool, outcome: &Mutex<Outcome>) -> Result<(String, bool), String> {
    let mut socket = Socket::connect(to, host, "/ws").map_err(|e| e.to_string())?;
    let by = match socket.receive().map_err(|e| e.to_string())? {
        Message::Text(text) => text.trim_start_matches("version ").to_owned(),
        closed => return Err(format!("greeted with {closed:?}")),
    };
    for n in 0u64.. {
        let text = format!("n {n}");
        // A send that fails leaves the close frame to be read: then it was a proper close.
        let sent = socket.send(&text);
        match socket.receive() {
            Ok(Message::Text(answer)) if answer == text => outcome.lock().expect("no panic").echoes += 1,
            Ok(Message::Closed(1001)) => return Ok((by, true)),
            other => return Err(format!("echo {n} (sent: {sent:?}) came as {other:?}")),
        }
        // Right after an echo: a close frame that came in the pause has been read.
        if stop.load(Ordering::SeqCst) {
            return Ok((by, false));
        }
        std::thread::sleep(TICK / 2);
    }
    unreachable!("the numbers do not end")
}

fn ticks(length: Duration) -> usize {
    usize::try_from(length.as_millis() / TICK.as_millis()).unwrap_or(1)
}
