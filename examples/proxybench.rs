//! The proxy alone, as `tests/bench/proxy/run` measures it: the very code of `paas proxy`, with one app whose instance is an address, and with
//! a process beside it that takes in what the daemon would (access lines, counts), so that telling them costs what it costs.
//!
//!     proxybench serve HTTP HTTPS BACKEND CHAIN.pem KEY.pem SOCKET      addresses, two files, where the daemon's socket is
//!     proxybench daemon SOCKET

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use paas::base::secret::Secret;
use paas::names::{AppName, Hostname, InstanceId, ProcessName, ReleaseNumber};
use paas::proxy::{Dial, DialFailed, DialKind, ProxyRun, Stop, run};
use paas::wire::proxy::{Action, Certificate, Front, Route, Rules, Snapshot, Target};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["daemon", socket] => daemon(Path::new(socket)),
        ["serve", http, https, backend, chain, key, socket] => {
            let certificate = Certificate {
                names: vec!["bench.test".to_owned()],
                chain: std::fs::read_to_string(chain)?,
                key: Secret::new(std::fs::read_to_string(key)?),
            };
            serve(http.parse()?, https.parse()?, backend.parse()?, certificate, Path::new(socket))
        }
        _ => Err("see the head of examples/proxybench.rs".into()),
    }
}

fn serve(
    http: SocketAddr,
    https: SocketAddr,
    backend: SocketAddr,
    certificate: Certificate,
    socket: &Path,
) -> Result<(), Failed> {
    // As `paas proxy` has one: where there is none, the spans of the h2 crate are put together for the `log` crate.
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).init();
    let (host, app, instance) = (Hostname::parse("bench.test")?, AppName::parse("bench")?, InstanceId(1));
    let snapshot = Snapshot {
        version: 1,
        routes: vec![Route {
            host,
            app: app.clone(),
            action: Action::Forward { targets: vec![instance] },
            rules: Rules::default(),
        }],
        targets: vec![Target {
            id: instance,
            app,
            process: ProcessName::parse("web")?,
            release: ReleaseNumber(1),
            commit: None,
            drain: None,
        }],
        commit_header: false,
        // The second for clients that send no name.
        front: Front { certs: vec![certificate.clone()], fallback: Some(certificate), ..Front::default() },
    };
    // Never sent: it serves until it is killed.
    let (_stop, stopped) = tokio::sync::watch::channel(Stop::Serve);
    run(ProxyRun {
        listeners: vec![TcpListener::bind(http)?],
        tls_listeners: vec![TcpListener::bind(https)?],
        control_socket: socket.to_owned(),
        dial: Arc::new(move || dial(backend)),
        restored: Some(serde_json::to_vec(&snapshot)?),
        keep: Box::new(|_| {}),
        ready: Box::new(|| Ok(())),
        in_step: false,
        stop: stopped,
        workers: 1,
    })?;
    Ok(())
}

fn dial(backend: SocketAddr) -> Dial {
    Rc::new(move |_| {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(backend).await.and_then(tokio::net::TcpStream::into_std);
            stream.map_err(|e| DialFailed { kind: DialKind::Other, why: e.to_string() })
        })
    })
}

/// Takes in all that a proxy tells and says nothing.
fn daemon(socket: &Path) -> Result<(), Failed> {
    let listener = UnixListener::bind(socket)?;
    let mut piece = vec![0; 1 << 16];
    loop {
        let (mut proxy, _) = listener.accept()?;
        while matches!(proxy.read(&mut piece), Ok(n) if n > 0) {}
    }
}
