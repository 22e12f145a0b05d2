//! The app's two pipes into log records, and its last lines.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::app::Pipes;
use super::lines::Lines;
use super::rate::Rate;
use super::segment::{Appender, now_micros};
use crate::wire::init::record::{CONTINUED, EVENT, Stream};
use crate::wire::init::{LAST_LINE_BYTES, LAST_LINES};

/// How much is read and written at once.
const CHUNK: usize = 32 * 1024;

/// Asked of the kernel for each pipe, so that a pause of ours (a slow disk) does not stop the app at once. Not a must.
const PIPE_BYTES: i32 = 256 * 1024;
/// A full pipe and as much again, in chunks: a read may give less than a chunk.
const MOST_LEFT_CHUNKS: usize = 2 * PIPE_BYTES as usize / CHUNK;

/// How long lost lines may go unsaid when nothing else is logged.
const MARK_AFTER: Duration = Duration::from_secs(1);

/// While an app logs beyond its rate, so many chunks are read at a time, and then nothing for a moment: what is dropped anyway is not worth
/// a core that its neighbours need. An app that writes more than that (about 25 MB/s) waits for some milliseconds at a time.
const FLOOD_CHUNKS: usize = 8;
const FLOOD_REST: Duration = Duration::from_millis(10);

/// Until the daemon tells the limits.
const FIRST_LIMITS: (u32, u32) = (1000, 10_000);

pub struct Output {
    stdout: Source,
    stderr: Source,
    sink: Sink,
    chunk: Vec<u8>,
    /// The pipes are left alone until then.
    rest_until: Option<Instant>,
}

/// One pipe. Without a descriptor it has ended, or the app was not started.
struct Source {
    stream: Stream,
    pipe: Option<OwnedFd>,
    lines: Lines,
    /// The rest of the current line is dropped, as its beginning was.
    dropping: bool,
}

struct Sink {
    appender: Appender,
    rate: Rate,
    last: VecDeque<Vec<u8>>,
    mark_at: Option<Instant>,
}

impl Output {
    pub fn new() -> Self {
        let rate = Rate::new(FIRST_LIMITS.0, FIRST_LIMITS.1, Instant::now());
        let sink = Sink { appender: Appender::new(1), rate, last: VecDeque::new(), mark_at: None };
        Self {
            stdout: Source::new(Stream::Stdout),
            stderr: Source::new(Stream::Stderr),
            sink,
            chunk: vec![0; CHUNK],
            rest_until: None,
        }
    }

    /// Reads from these pipes from now on.
    pub fn attach(&mut self, pipes: Pipes) {
        self.sink.last.clear();
        for (source, pipe) in [(&mut self.stdout, pipes.stdout), (&mut self.stderr, pipes.stderr)] {
            // Our end of a fresh pipe: it can be made non-blocking, and nothing is lost where it can't be made larger.
            let _ = fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
            *source = Source { pipe: Some(pipe), ..Source::new(source.stream) };
        }
    }

    /// The pipes to poll: stdout, stderr.
    pub fn pipes(&self) -> [Option<BorrowedFd<'_>>; 2] {
        if self.rest_until.is_some() {
            return [None, None];
        }
        [&self.stdout, &self.stderr].map(|s| s.pipe.as_ref().map(AsFd::as_fd))
    }

    /// Reads from each pipe that was reported ready, and writes what came: one chunk, or some of what is dropped.
    pub fn read(&mut self, ready: [bool; 2]) {
        let now = Instant::now();
        for (source, ready) in [&mut self.stdout, &mut self.stderr].into_iter().zip(ready) {
            if !ready {
                continue;
            }
            let mut chunks = 1;
            while source.read_once(&mut self.chunk, now, &mut self.sink) && source.dropping && chunks < FLOOD_CHUNKS {
                chunks += 1;
            }
            if source.dropping {
                self.rest_until = Some(now + FLOOD_REST);
            }
        }
    }

    /// Reads what the pipes still hold, and lets them go. No more than they can have held: somebody may go on writing, and would keep us here.
    pub fn drain(&mut self) {
        let now = Instant::now();
        for source in [&mut self.stdout, &mut self.stderr] {
            let mut chunks = 0;
            while chunks < MOST_LEFT_CHUNKS && source.read_once(&mut self.chunk, now, &mut self.sink) {
                chunks += 1;
            }
            source.end(now, &mut self.sink);
        }
        self.sink.appender.mark(now_micros());
        self.sink.flush(now);
    }

    /// Does what is due: beginnings of lines that waited, losses that were not said.
    pub fn tick(&mut self, now: Instant) {
        self.rest_until = self.rest_until.filter(|until| now < *until);
        for source in [&mut self.stdout, &mut self.stderr] {
            let (stream, dropping, sink) = (source.stream, &mut source.dropping, &mut self.sink);
            let at = now_micros();
            source.lines.tick(now, &mut |text, flags| sink.line(at, now, stream, text, flags, dropping));
        }
        self.sink.tick(now);
    }

    pub fn deadline(&self) -> Option<Instant> {
        [self.stdout.lines.deadline(), self.stderr.lines.deadline(), self.sink.mark_at, self.rest_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Logs something that happened to the app.
    pub fn event(&mut self, text: &str) {
        self.sink.appender.push(now_micros(), Stream::Platform, EVENT, text.as_bytes());
        self.sink.appender.flush();
    }

    pub fn set_limits(&mut self, lines_per_second: u32, burst: u32) {
        self.sink.rate.set(lines_per_second, burst);
    }

    pub fn appender(&mut self) -> &mut Appender {
        &mut self.sink.appender
    }

    /// The last lines of the app, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.sink.last.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

impl Source {
    fn new(stream: Stream) -> Self {
        Self { stream, pipe: None, lines: Lines::default(), dropping: false }
    }

    /// Gives whether there may be more.
    fn read_once(&mut self, chunk: &mut [u8], now: Instant, sink: &mut Sink) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let n = match nix::unistd::read(pipe, chunk) {
            Ok(0) => {
                self.end(now, sink);
                return false;
            }
            Ok(n) => n,
            Err(Errno::EINTR) => return true,
            Err(_) => return false,
        };
        let (at, stream, dropping) = (now_micros(), self.stream, &mut self.dropping);
        self.lines.feed(&chunk[..n], now, &mut |text, flags| sink.line(at, now, stream, text, flags, dropping));
        sink.flush(now);
        true
    }

    fn end(&mut self, now: Instant, sink: &mut Sink) {
        self.pipe = None;
        let (at, stream, dropping) = (now_micros(), self.stream, &mut self.dropping);
        self.lines.finish(&mut |text, flags| sink.line(at, now, stream, text, flags, dropping));
        sink.flush(now);
    }
}

impl Sink {
    fn line(&mut self, at: i64, now: Instant, stream: Stream, text: &[u8], flags: u8, dropping: &mut bool) {
        self.remember(text);
        let goes_on = flags & CONTINUED != 0;
        if goes_on && *dropping {
            return;
        }
        *dropping = !self.rate.take(text.len(), now);
        if *dropping {
            self.appender.over_rate(self.rate.per_second());
        } else {
            self.appender.push(at, stream, flags, text);
        }
    }

    fn flush(&mut self, now: Instant) {
        self.appender.flush();
        self.mark_at = match (self.appender.owes_marker(), self.mark_at) {
            (true, None) => Some(now + MARK_AFTER),
            (true, Some(at)) => Some(at),
            (false, _) => None,
        };
    }

    fn tick(&mut self, now: Instant) {
        if self.mark_at.is_some_and(|at| now >= at) {
            self.mark_at = None;
            self.appender.mark(now_micros());
        }
        self.flush(now);
    }

    fn remember(&mut self, text: &[u8]) {
        let mut kept = if self.last.len() < LAST_LINES { Vec::new() } else { self.last.pop_front().unwrap_or_default() };
        kept.clear();
        kept.extend_from_slice(&text[..text.len().min(LAST_LINE_BYTES)]);
        self.last.push_back(kept);
    }
}

#[cfg(test)]
mod tests;
