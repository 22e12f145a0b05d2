//! A proxy on real sockets, with a daemon's end of the control connection and instances that tests script.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::names::{AppName, CommitSha, Hostname, InstanceId, ProcessName, ReleaseNumber};
use crate::proxy::dial::{Dial, DialFailed, DialKind, DialMaker};
use crate::proxy::{ProxyRun, Stop, run};
use crate::wire::proxy::{Action, DrainBudget, FromProxy, Front, Route, Rules, Snapshot, Target, ToProxy};

mod daemon;
pub mod frames;
mod h2;
mod instance;
mod secure;

pub use self::h2::*;
pub use daemon::Daemon;
pub use secure::*;

pub use instance::{Got, Instance, head_value, read_body, read_head, read_request};

/// Long enough for a loaded machine; nothing waits this long unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The names of a table's rows, each of which must be another.
pub fn each_once<'n>(names: impl Iterator<Item = &'n str>) {
    let mut seen = std::collections::BTreeSet::new();
    names.for_each(|name| assert!(seen.insert(name), "the name `{name}` stands twice"));
}

type Addresses = Arc<Mutex<HashMap<InstanceId, SocketAddr>>>;

/// What the workers dialed.
#[derive(Default)]
pub struct Dials {
    pub begun: Mutex<Vec<(InstanceId, Instant)>>,
    /// Copies of the connections, from the moment when a test puts a list here. They keep a connection open.
    pub copies: Mutex<Option<Vec<TcpStream>>>,
}

pub struct World {
    pub address: SocketAddr,
    pub tls_address: SocketAddr,
    pub daemon: Daemon,
    pub kept: Arc<Mutex<Vec<Vec<u8>>>>,
    pub dials: Arc<Dials>,
    addresses: Addresses,
    stop: watch::Sender<Stop>,
    proxy: Option<JoinHandle<std::io::Result<()>>>,
    _dir: tempfile::TempDir,
}

impl World {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    pub fn start_with(restored: Option<Vec<u8>>) -> Self {
        let (world, ready) = Self::begin(restored, false);
        ready.recv_timeout(PATIENCE).expect("the proxy is ready");
        world
    }

    /// `in_step`: as one that takes the place of another. Gives what is told when the proxy is ready.
    pub fn begin(restored: Option<Vec<u8>>, in_step: bool) -> (Self, Receiver<()>) {
        let dir = tempfile::tempdir().expect("temp dir");
        let control_socket = dir.path().join("proxy.sock");
        let daemon = Daemon::listen(UnixListener::bind(&control_socket).expect("bind control"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let tls_listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let tls_address = tls_listener.local_addr().expect("address");
        let (stop, told) = watch::channel(Stop::Serve);
        let (kept, addresses) = (Arc::new(Mutex::new(Vec::new())), Addresses::default());
        let dials: Arc<Dials> = Arc::default();
        let (ready_tx, ready) = std::sync::mpsc::channel();
        let keep_in = Arc::clone(&kept);
        let proxy = ProxyRun {
            listeners: vec![listener],
            tls_listeners: vec![tls_listener],
            control_socket,
            dial: dialer(&addresses, &dials),
            restored,
            keep: Box::new(move |bytes| keep_in.lock().expect("kept").push(bytes.to_vec())),
            ready: Box::new(move || ready_tx.send(()).map_err(std::io::Error::other)),
            in_step,
            stop: told,
            workers: 2,
        };
        let proxy = std::thread::spawn(move || run(proxy));
        (Self { address, tls_address, daemon, kept, dials, addresses, stop, proxy: Some(proxy), _dir: dir }, ready)
    }

    /// A world in which `shop.test` goes to the given instances, as targets i1, i2, …
    pub fn with(instances: &[&Instance]) -> Self {
        let world = Self::start();
        let ids: Vec<i64> = (1..).take(instances.len()).collect();
        for (id, instance) in ids.iter().zip(instances) {
            world.place(*id, instance.address);
        }
        world.activate(&snapshot(1, &ids, &[]));
        world
    }

    pub fn place(&self, id: i64, address: SocketAddr) {
        self.addresses.lock().expect("addresses").insert(InstanceId(id), address);
    }

    #[track_caller]
    pub fn activate(&self, snapshot: &Snapshot) {
        let version = snapshot.version;
        self.daemon.send(&ToProxy::Prepare(snapshot.clone()));
        self.daemon.send(&ToProxy::Activate { version });
        self.daemon.wait("activated", |m| matches!(m, FromProxy::Activated { version: v } if *v == version));
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn ask(&self, request: &str) -> Answer {
        let mut client = self.client();
        client.send(request);
        client.answer_to(request.starts_with("HEAD"))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
    }

    pub fn shut_down(&self) {
        self.stop.send(Stop::Now).expect("proxy listens for it");
    }

    /// As when another process has taken over.
    pub fn leave(&self, grace: Duration) {
        self.stop.send(Stop::Leave { grace }).expect("proxy listens for it");
    }

    #[track_caller]
    pub fn join(&mut self) {
        self.proxy.take().expect("once").join().expect("no panic").expect("no error");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.stop.send(Stop::Now);
        if let Some(proxy) = self.proxy.take()
            && !std::thread::panicking()
        {
            proxy.join().expect("the proxy does not panic").expect("the proxy ends well");
        }
    }
}

fn dialer(addresses: &Addresses, dials: &Arc<Dials>) -> DialMaker {
    let (addresses, dials) = (Arc::clone(addresses), Arc::clone(dials));
    Arc::new(move || -> Dial {
        let (addresses, dials) = (Arc::clone(&addresses), Arc::clone(&dials));
        Rc::new(move |id| {
            let dials = Arc::clone(&dials);
            dials.begun.lock().expect("begun").push((id, Instant::now()));
            let address = addresses.lock().expect("addresses").get(&id).copied();
            Box::pin(async move {
                let failed = |kind, why: &str| DialFailed { kind, why: why.to_owned() };
                let address = address.ok_or_else(|| failed(DialKind::Gone, "unknown target"))?;
                let dialed = tokio::net::TcpStream::connect(address).await;
                let stream = dialed.and_then(|s| s.into_std()).map_err(|e| failed(DialKind::Refused, &e.to_string()))?;
                if let Some(copies) = &mut *dials.copies.lock().expect("copies") {
                    copies.push(stream.try_clone().expect("clone"));
                }
                Ok(stream)
            })
        })
    })
}

pub fn host(name: &str) -> Hostname {
    Hostname::parse(name).expect("host")
}

pub fn app() -> AppName {
    AppName::parse("shop").expect("app")
}

pub fn target(id: i64, drain: Option<DrainBudget>) -> Target {
    Target {
        id: InstanceId(id),
        app: app(),
        process: ProcessName::parse("web").expect("process"),
        release: ReleaseNumber(id),
        commit: Some(CommitSha::parse(&format!("{id:040x}")).expect("commit")),
        drain,
    }
}

/// `shop.test` to `live`; `draining` with their budgets.
pub fn snapshot(version: u64, live: &[i64], draining: &[(i64, DrainBudget)]) -> Snapshot {
    let forward = Action::Forward { targets: live.iter().map(|id| InstanceId(*id)).collect() };
    let mut all: BTreeMap<i64, Target> = live.iter().map(|id| (*id, target(*id, None))).collect();
    all.extend(draining.iter().map(|(id, budget)| (*id, target(*id, Some(*budget)))));
    routed(version, forward, all.into_values().collect())
}

pub fn routed(version: u64, action: Action, targets: Vec<Target>) -> Snapshot {
    let routes = vec![Route { host: host("shop.test"), app: app(), action, rules: Rules::default() }];
    Snapshot { version, routes, targets, commit_header: false, front: Front::default() }
}

pub fn budget(requests_ms: u64, streams_ms: u64) -> DrainBudget {
    DrainBudget { requests_ms, streams_ms }
}

/// A client that writes bytes and reads answers.
pub struct Client {
    pub stream: TcpStream,
    pub read: BufReader<TcpStream>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// Trailers stand in brackets at its end.
    pub body: String,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        head_value(&self.head, name)
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        let read = BufReader::new(stream.try_clone().expect("clone"));
        Self { stream, read }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The proxy may have answered and closed before all was sent; the answer is what counts.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_to(false)
    }

    #[track_caller]
    pub fn answer_to(&mut self, head_request: bool) -> Answer {
        self.try_answer(head_request).expect("a whole answer")
    }

    /// None: the connection ended before the answer was whole.
    pub fn try_answer(&mut self, head_request: bool) -> Option<Answer> {
        answer_from(&mut self.read, head_request)
    }

    /// Reads until the proxy closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.read.read_to_end(&mut rest);
        rest
    }

    #[track_caller]
    pub fn expect_bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.read.read_exact(&mut bytes).expect("that many bytes");
        bytes
    }
}

/// None: the connection ended before the answer was whole.
pub fn answer_from(read: &mut impl BufRead, head_request: bool) -> Option<Answer> {
    let head = read_head(read)?;
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    let empty = head_request || matches!(status, 100..=199 | 204 | 304);
    let body = if empty { Vec::new() } else { read_body(read, &head, true)? };
    Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
