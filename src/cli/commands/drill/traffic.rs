//! Counted traffic: a bounded rate from a few clients, half on kept connections, half on fresh ones. Nothing is ever tried again, every
//! answer is read to its end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::faults::Hit;

const CLIENTS: u32 = 8;
/// Longer than the proxy holds a request: what takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(70);
/// An answer is not read further than this.
const LONGEST: u64 = 64 << 20;

/// Where the requests go.
#[derive(Debug, Clone)]
pub struct Aim {
    pub to: SocketAddr,
    pub host: String,
    pub path: String,
    /// Of a right answer.
    pub status: u16,
}

/// What was seen in the window of one fault.
#[derive(Debug, Default)]
pub struct Seen {
    pub served: u64,
    /// Dropped, and open when the fault was made.
    pub in_flight: u64,
    pub lost: u64,
    pub recovered: Option<Duration>,
    pub slowest: Duration,
    pub first_loss: Option<String>,
}

struct Asked {
    start: Instant,
    end: Instant,
    trouble: Option<String>,
}

pub struct Traffic {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    threads: Vec<JoinHandle<()>>,
}

/// One request on a connection of its own; the status of a whole answer.
pub fn ask_once(aim: &Aim) -> Result<u16, String> {
    let answer = Line::connect(aim).and_then(|mut line| line.ask(aim));
    answer.map(|(status, _)| status).map_err(|e| e.to_string())
}

impl Traffic {
    /// `rate` requests per second in all, at most.
    pub fn start(aim: &Aim, rate: u32) -> Traffic {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let clients = CLIENTS.min(rate.max(1));
        let pause = Duration::from_secs(1) * clients / rate.max(1);
        let threads = (0..clients)
            .map(|n| {
                let (aim, stop, asked) = (aim.clone(), Arc::clone(&stop), Arc::clone(&asked));
                std::thread::spawn(move || one_client(&aim, n % 2 == 0, pause, &stop, &asked))
            })
            .collect();
        Traffic { stop, asked, threads }
    }

    /// Lets what runs end, and judges it by the moment of the fault.
    pub fn stop(self, hit: &Hit) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            // A client that panicked has asked less; what it asked is in the list.
            let _ = thread.join();
        }
        let asked = std::mem::take(&mut *self.asked.lock().expect("no client panics with the lock"));
        judge(&asked, hit)
    }
}

fn judge(asked: &[Asked], hit: &Hit) -> Seen {
    let mut seen = Seen::default();
    for one in asked {
        seen.slowest = seen.slowest.max(one.end.duration_since(one.start));
        match &one.trouble {
            None => {
                seen.served += 1;
                if one.start >= hit.at {
                    let took = one.end.duration_since(hit.at);
                    seen.recovered = Some(seen.recovered.map_or(took, |least| least.min(took)));
                }
            }
            Some(_) if hit.until > hit.at && one.start <= hit.until && one.end >= hit.at => seen.in_flight += 1,
            Some(why) => {
                seen.lost += 1;
                seen.first_loss.get_or_insert_with(|| why.clone());
            }
        }
    }
    seen
}

fn one_client(aim: &Aim, keep: bool, pause: Duration, stop: &AtomicBool, asked: &Mutex<Vec<Asked>>) {
    let mut kept: Option<Line> = None;
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        // A kept connection that the proxy closed in the meantime, as it may between requests, is no request that was lost.
        kept = kept.filter(Line::is_quiet);
        let answer = kept.take().map_or_else(|| Line::connect(aim), Ok).and_then(|mut line| Ok((line.ask(aim)?, line)));
        let trouble = match answer {
            Ok(((status, open), line)) => {
                kept = (keep && open).then_some(line);
                (status != aim.status).then(|| format!("answered {status} instead of {}", aim.status))
            }
            Err(e) => Some(e.to_string()),
        };
        let end = Instant::now();
        asked.lock().expect("no client panics with the lock").push(Asked { start, end, trouble });
        std::thread::sleep(pause.saturating_sub(end.duration_since(start)));
    }
}

/// One connection to the proxy.
struct Line(BufReader<TcpStream>);

impl Line {
    fn connect(aim: &Aim) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&aim.to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Line(BufReader::new(stream)))
    }

    /// Open, and nothing came that nobody asked for.
    fn is_quiet(&self) -> bool {
        let stream = self.0.get_ref();
        let quiet = stream.set_nonblocking(true).is_ok()
            && matches!(stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        quiet && stream.set_nonblocking(false).is_ok()
    }

    /// The status of the whole answer, and whether the connection goes on.
    fn ask(&mut self, aim: &Aim) -> io::Result<(u16, bool)> {
        let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: paas-drill\r\n\r\n", aim.path, aim.host);
        self.0.get_mut().write_all(head.as_bytes())?;
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status: u16 = status.ok_or_else(|| io::Error::other(format!("no answer but {first:?}")))?;
        let (mut length, mut chunked, mut open) = (None, false, true);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                None => break,
                Some(("content-length", value)) => length = value.parse::<u64>().ok(),
                Some(("transfer-encoding", _)) => chunked = true,
                Some(("connection", "close")) => open = false,
                Some(_) => {}
            }
        }
        match (length, chunked) {
            (_, true) => self.chunks()?,
            (Some(length), false) => self.skip(length)?,
            (None, false) if matches!(status, 204 | 304) => {}
            (None, false) => {
                open = false;
                io::copy(&mut self.0.by_ref().take(LONGEST), &mut io::sink())?;
            }
        }
        Ok((status, open))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.by_ref().take(64 << 10).read_line(&mut line)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended without an answer")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        match io::copy(&mut self.0.by_ref().take(length), &mut io::sink())? {
            read if read == length => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off")),
        }
    }

    fn chunks(&mut self) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.skip(size)?;
            self.line()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_open_at_a_fault_that_ends_requests_is_excused() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let asked =
            |start, end, trouble: Option<&str>| Asked { start: at(start), end: at(end), trouble: trouble.map(str::to_owned) };
        let all = [asked(0, 5, None), asked(90, 110, Some("cut")), asked(120, 130, Some("502")), asked(150, 160, None)];
        let proxy = judge(&all, &Hit { at: at(100), until: at(101), back: None });
        assert_eq!((proxy.served, proxy.in_flight, proxy.lost), (2, 1, 1));
        assert_eq!((proxy.recovered, proxy.first_loss.as_deref()), (Some(Duration::from_millis(60)), Some("502")));
        // A daemon carries no request: none may end with it.
        let daemon = judge(&all, &Hit { at: at(100), until: at(100), back: None });
        assert_eq!((daemon.in_flight, daemon.lost), (0, 2));
    }
}
