//! The app that the tests deploy: one static file with the standard library only, so that an image of it needs no base and builds in a moment.
//!
//! What it does is told by a file `mode` beside it (lines `key=value`) and by `TESTAPP_<KEY>` in the environment, which wins; what it says of
//! itself by a file `version`. So a commit, a tarball or `paas config set` can each change its behaviour.
//! First argument: nothing (a web server), `worker` (a line every 200 ms), `release` (a release command), `idle`.
//!
//! Modes: exit=CODE (exit at once) · boot_ms=N (listen after N ms) · never=1 (never listen) · port=N (another port than PORT) ·
//! Paths that misbehave stand in `testapp/trouble.rs`.
//! bind=ADDRESS · health=STATUS · warm_ms=N (503 to everything in the first N ms) · release_exit=CODE · release_ms=N · lines=N (log lines at start).
//! It catches no signal: SIGTERM ends it at once, in the middle of whatever it does, as many real apps do.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[path = "testapp/trouble.rs"]
mod trouble;
#[path = "testapp/websocket.rs"]
mod websocket;

fn main() {
    let mode = Mode::load();
    match std::env::args().nth(1).as_deref() {
        Some("worker") => worker(&mode),
        Some("release") => release(&mode),
        // A step of a build that writes so many MiB.
        Some("fill") => trouble::fill_or_exit(std::env::args().nth(2).and_then(|mib| mib.parse().ok()).unwrap_or(0)),
        Some("idle") => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        _ => serve(mode),
    }
}

struct Mode {
    file: HashMap<String, String>,
    version: String,
    began: Instant,
}

impl Mode {
    fn load() -> Mode {
        let exe = std::env::current_exe().unwrap_or_else(|_| "/testapp".into());
        let beside = |name: &str| {
            let at = exe.parent().map(|folder| folder.join(name)).unwrap_or_default();
            std::fs::read_to_string(at).or_else(|_| std::fs::read_to_string(name)).unwrap_or_default()
        };
        let file = beside("mode")
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.trim().into(), v.trim().into()))
            .collect();
        Mode { file, version: beside("version").trim().to_owned(), began: Instant::now() }
    }

    fn text(&self, key: &str) -> Option<String> {
        std::env::var(format!("TESTAPP_{}", key.to_uppercase())).ok().or_else(|| self.file.get(key).cloned())
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn worker(mode: &Mode) {
    for tick in 0u64.. {
        println!("worker {} release={} instance={} tick={tick}", mode.version, env("PAAS_RELEASE"), env("PAAS_INSTANCE"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn release(mode: &Mode) {
    println!("release command of {} begins", mode.version);
    std::thread::sleep(Duration::from_millis(mode.number("release_ms").unwrap_or(0)));
    let code = mode.number("release_exit").unwrap_or(0);
    println!("release command of {} ends with {code}", mode.version);
    std::process::exit(code as i32);
}

fn serve(mode: Mode) {
    println!("starting {} on port {}", mode.version, env("PORT"));
    for n in 0..mode.number("lines").unwrap_or(0) {
        println!("line {n}");
    }
    if let Some(code) = mode.number("exit") {
        eprintln!("fatal: told to exit with {code}");
        std::process::exit(code as i32);
    }
    std::thread::sleep(Duration::from_millis(mode.number("boot_ms").unwrap_or(0)));
    if mode.number("never").is_some() {
        println!("will never listen");
        std::thread::sleep(Duration::from_secs(86_400));
    }
    let port = mode.number("port").map(|p| p as u16).or_else(|| env("PORT").parse().ok()).unwrap_or(8080);
    let bind = mode.text("bind").unwrap_or_else(|| "0.0.0.0".into());
    let listener = TcpListener::bind((bind.as_str(), port)).unwrap_or_else(|e| panic!("listening on {bind} port {port}: {e}"));
    println!("listening on {bind} port {port}");
    let mode: &'static Mode = Box::leak(Box::new(mode));
    for connection in listener.incoming().flatten() {
        // Where no thread can be had the connection is lost, not the app.
        let _ = std::thread::Builder::new().spawn(move || {
            let _ = connection.set_nodelay(true);
            while let Ok(true) = one_request(&connection, mode) {}
        });
    }
}

pub struct Request {
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    fn query(&self, key: &str, default: u64) -> u64 {
        let query = self.target.split_once('?').map_or("", |(_, q)| q);
        query
            .split('&')
            .filter_map(|p| p.split_once('='))
            .find(|(k, _)| *k == key)
            .and_then(|(_, v)| v.parse().ok())
            .unwrap_or(default)
    }
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(Request { target, headers }));
        }
        if let Some((k, v)) = line.split_once(':') {
            headers.push((k.to_owned(), v.trim().to_owned()));
        }
    }
}

/// Answers one request; gives whether the connection may be used again.
fn one_request(connection: &TcpStream, mode: &Mode) -> std::io::Result<bool> {
    // The peer sends the next request only after our answer, so nothing is lost with the reader's buffer.
    let mut reader = BufReader::new(connection);
    let Some(request) = read_head(&mut reader)? else { return Ok(false) };
    let mut out = connection;
    let body = read_body(&mut reader, &request)?;
    trouble::hang_if_told();
    if mode.began.elapsed() < Duration::from_millis(mode.number("warm_ms").unwrap_or(0)) {
        answer(&mut out, mode, 503, "not yet\n")?;
        return Ok(true);
    }
    match request.target.split('?').next().unwrap_or("/") {
        "/health" => {
            let status = mode.number("health").unwrap_or(200) as u16;
            answer(&mut out, mode, status, if status == 200 { "healthy\n" } else { "the database is not there\n" })?;
        }
        "/slow" => {
            std::thread::sleep(Duration::from_millis(request.query("ms", 1000)));
            answer(&mut out, mode, 200, "slow done\n")?;
        }
        "/upload" => answer(&mut out, mode, 200, &format!("{} {}\n", body.0, body.1))?,
        "/stream" => stream(&mut out, mode, &request, "text/plain", |n| format!("chunk {n}\n"))?,
        "/events" => stream(&mut out, mode, &request, "text/event-stream", |n| format!("data: {n}\n\n"))?,
        "/bytes" => bytes(&mut out, mode, request.query("n", 1000))?,
        "/env" => {
            let mut all: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}\n")).collect();
            all.sort();
            answer(&mut out, mode, 200, &all.concat())?;
        }
        "/headers" => {
            let all: String = request.headers.iter().map(|(k, v)| format!("{}: {v}\n", k.to_lowercase())).collect();
            answer(&mut out, mode, 200, &all)?;
        }
        "/log" => {
            let line = "x".repeat(request.query("bytes", 20) as usize);
            (0..request.query("n", 1)).for_each(|n| println!("logged {n} {line}"));
            answer(&mut out, mode, 200, "logged\n")?;
        }
        "/write" => {
            let done = std::fs::write("/written", "x").map_or_else(|e| e.to_string(), |()| "written".into());
            answer(&mut out, mode, 200, &format!("{done}\n"))?;
        }
        "/eat" | "/hang" | "/dump" | "/fork" | "/fill" | "/flood" => answer(&mut out, mode, 200, &trouble::make(&request))?,
        "/crash" if request.query("ms", 0) > 0 => {
            answer(&mut out, mode, 200, "will crash\n")?;
            std::thread::sleep(Duration::from_millis(request.query("ms", 0)));
            std::process::exit(request.query("code", 70) as i32);
        }
        "/abort" => std::process::abort(),
        "/crash" => std::process::exit(request.query("code", 70) as i32),
        "/ws" => {
            websocket::echo(&mut reader, &mut out, &request, &mode.version)?;
            return Ok(false);
        }
        "/" => answer(&mut out, mode, 200, &format!("{} {}\n", env("PAAS_APP"), mode.version))?,
        _ => answer(&mut out, mode, 404, "not here\n")?,
    }
    Ok(true)
}

/// Reads the whole body; gives its length and the sum of its bytes.
fn read_body(reader: &mut impl BufRead, request: &Request) -> std::io::Result<(u64, u64)> {
    let (mut length, mut sum) = (0u64, 0u64);
    let mut count = |bytes: &[u8]| {
        length += bytes.len() as u64;
        sum += bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
    };
    let mut take = |reader: &mut dyn Read, mut left: u64| -> std::io::Result<()> {
        let mut buffer = [0u8; 16 * 1024];
        while left > 0 {
            let want = buffer.len().min(left as usize);
            let n = reader.read(&mut buffer[..want])?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            count(&buffer[..n]);
            left -= n as u64;
        }
        Ok(())
    };
    if let Some(n) = request.header("content-length").and_then(|v| v.parse().ok()) {
        take(reader, n)?;
    } else if request.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            take(reader, size)?;
            reader.read_line(&mut line)?;
            if size == 0 {
                break;
            }
        }
    }
    Ok((length, sum))
}

fn head(mode: &Mode, status: u16, framing: &str) -> String {
    format!(
        "HTTP/1.1 {status} Test\r\ncontent-type: text/plain\r\nx-version: {}\r\nx-release: {}\r\nx-instance: {}\r\n{framing}\r\n\r\n",
        mode.version,
        env("PAAS_RELEASE"),
        env("PAAS_INSTANCE"),
    )
}

fn answer(out: &mut impl Write, mode: &Mode, status: u16, body: &str) -> std::io::Result<()> {
    let head = head(mode, status, &format!("content-length: {}", body.len()));
    out.write_all(format!("{head}{body}").as_bytes())
}

/// `n` bytes, as fast as they are taken.
fn bytes(out: &mut impl Write, mode: &Mode, n: u64) -> std::io::Result<()> {
    out.write_all(head(mode, 200, &format!("content-length: {n}")).as_bytes())?;
    std::io::copy(&mut std::io::repeat(b'x').take(n), out).map(drop)
}

/// `n` chunks, one every `ms` milliseconds, each with its number, so that a reader can tell a cut from an end.
fn stream(
    out: &mut impl Write,
    mode: &Mode,
    request: &Request,
    kind: &str,
    piece: impl Fn(u64) -> String,
) -> std::io::Result<()> {
    let head = head(mode, 200, "transfer-encoding: chunked").replace("text/plain", kind);
    out.write_all(head.as_bytes())?;
    for n in 0..request.query("n", 10) {
        // Not after the last one: who has all of them has the end with it, and nobody can end what is whole.
        if n > 0 {
            std::thread::sleep(Duration::from_millis(request.query("ms", 100)));
        }
        let line = piece(n);
        out.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
    }
    out.write_all(b"0\r\n\r\n")
}
