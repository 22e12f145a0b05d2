//! Asks at a fixed rate and tells how long the answers took, for `tests/bench/proxy/run`: wrk asks as fast as it gets answers, and h2load asks in
//! bursts. A request that no connection is free for waits, and its time counts from when it was due.
//!
//!     fixedrate ADDRESS HOST PATH RATE SECONDS      prints: requests, seconds, median and 99th percentile in microseconds, errors

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

type Failed = Box<dyn std::error::Error>;

const CONNECTIONS: usize = 32;

/// A connection that is kept, and what it waits for.
struct Line {
    stream: TcpStream,
    due: Option<Instant>,
    got: Vec<u8>,
}

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, host, path, rate, seconds] = words.as_slice() else {
        return Err("see the head of examples/fixedrate.rs".into());
    };
    // Waits end when they should, not up to 50 us later.
    rustix::thread::set_current_timer_slack(std::num::NonZero::new(1))?;
    let question = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut lines = (0..CONNECTIONS).map(|_| connect(address)).collect::<Result<Vec<_>, _>>()?;
    let (gap, whole) = (Duration::from_secs_f64(1.0 / rate.parse::<f64>()?), Duration::from_secs_f64(seconds.parse()?));
    let mut free: VecDeque<usize> = (0..lines.len()).collect();
    let (begun, mut times, mut errors) = (Instant::now(), Vec::new(), 0);
    let mut next = begun;
    while begun.elapsed() < whole {
        while next <= Instant::now() {
            let Some(at) = free.pop_front() else { break };
            lines[at].stream.write_all(question.as_bytes())?;
            lines[at].due = Some(next);
            next += gap;
        }
        for at in readable(&lines, next.saturating_duration_since(Instant::now()))? {
            match lines[at].answered() {
                Ok(None) => continue,
                Ok(Some(took)) => times.push(took),
                Err(_) => {
                    errors += 1;
                    lines[at] = connect(address)?;
                }
            }
            free.push_back(at);
        }
    }
    times.sort();
    let percentile = |p: usize| times.get(times.len() * p / 100).map_or(0, Duration::as_micros);
    println!("{} {seconds} {} {} {errors}", times.len(), percentile(50), percentile(99));
    Ok(())
}

fn connect(address: &str) -> Result<Line, Failed> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(Line { stream, due: None, got: Vec::new() })
}

/// Those that have something to read, or none when the time is up.
fn readable(lines: &[Line], within: Duration) -> Result<Vec<usize>, Failed> {
    let mut asked: Vec<PollFd<'_>> = lines.iter().map(|line| PollFd::new(&line.stream, PollFlags::IN)).collect();
    poll(&mut asked, Some(&Timespec::try_from(within)?))?;
    Ok((0..lines.len()).filter(|at| !asked[*at].revents().is_empty()).collect())
}

impl Line {
    /// How long the answer took, if it is whole; anything but 200 is an error.
    fn answered(&mut self) -> Result<Option<Duration>, Failed> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => return Err("closed".into()),
            Ok(n) => self.got.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Some(head) = self.got.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&self.got[..head])?.to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).ok_or("no length")?;
        if !text.starts_with("http/1.1 200") {
            return Err("not 200".into());
        }
        if self.got.len() < head + 4 + length.trim().parse::<usize>()? {
            return Ok(None);
        }
        self.got.clear();
        Ok(Some(self.due.take().ok_or("an answer to nothing")?.elapsed()))
    }
}
