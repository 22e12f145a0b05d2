//! Is the instance ready? Through the dialer, as a request would come; never by the container's address.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use crate::docker::{DockerError, ExecControl, ExecOptions};
use crate::instances::lifecycle::Instances;
use crate::manifest::{CommandLine, HealthCheck, HealthSpec};
use crate::model::instance::Instance;
use crate::names::{Hostname, InstanceId};
use crate::wire::dialer::DialError;

/// What one look has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Healthy,
    /// May still come; `why` is what a person is told if it never does.
    NotYet {
        why: String,
    },
    /// The app has ended.
    Ended {
        why: String,
        last_lines: Vec<String>,
    },
}

impl Instances {
    /// Looks once. `host` is the name under which the app is asked. Cancel-safe: yes, nothing is changed.
    pub async fn probe(&self, row: &Instance, health: &HealthSpec, host: &Hostname) -> Verdict {
        if let Some(end) = self.links.state(row.id).and_then(|s| s.last_end) {
            return Verdict::Ended { why: end.summary(), last_lines: end.last_lines };
        }
        self.ask(row, &health.check, health.timeout, host).await
    }

    /// Looks once, however it ended before. Cancel-safe: yes, nothing is changed.
    pub async fn ask(&self, row: &Instance, check: &HealthCheck, limit: Duration, host: &Hostname) -> Verdict {
        match check {
            HealthCheck::Command(command) => self.probe_command(row, command, limit).await,
            HealthCheck::Port => self.probe_port(row).await,
            HealthCheck::Http { path } => match self.probe_port(row).await {
                Verdict::Healthy => self.probe_http(row, path, host, limit).await,
                not_yet => not_yet,
            },
        }
    }

    async fn probe_port(&self, row: &Instance) -> Verdict {
        let listening = match self.dial.listening(row.id).await {
            Ok(listening) => listening,
            Err(e) => return Verdict::NotYet { why: format!("its listening ports cannot be read: {e}") },
        };
        if listening.iter().any(|l| l.port == row.port) {
            return Verdict::Healthy;
        }
        let mut ports: Vec<u16> = listening.iter().map(|l| l.port).collect();
        ports.sort_unstable();
        ports.dedup();
        let wanted = row.port;
        let why = if ports.is_empty() {
            format!("it listens on no port; it is told to listen on {wanted} by PORT")
        } else {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let ports = ports.join(", ");
            format!(
                "it listens on {ports}, but not on {wanted} (PORT); listen on $PORT, or set `port = {ports}` under [processes.web]"
            )
        };
        Verdict::NotYet { why }
    }

    async fn probe_http(&self, row: &Instance, path: &str, host: &Hostname, limit: Duration) -> Verdict {
        match tokio::time::timeout(limit, self.get(row, path, host)).await {
            Err(_) => Verdict::NotYet { why: format!("GET {path} was not answered within {} s", limit.as_secs_f32()) },
            Ok(Err(why)) => Verdict::NotYet { why: format!("GET {path}: {why}") },
            Ok(Ok((status, _))) if (200..400).contains(&status) => Verdict::Healthy,
            Ok(Ok((status, body))) => {
                let body = if body.is_empty() { String::new() } else { format!(": {body}") };
                Verdict::NotYet { why: format!("GET {path} was answered with {status}{body}") }
            }
        }
    }

    async fn get(&self, row: &Instance, path: &str, host: &Hostname) -> Result<(u16, String), String> {
        let stream = match self.dial.dial(row.id).await {
            Ok(stream) => stream,
            Err(e) if e.kind == DialError::Refused => return Err("the connection was refused".to_owned()),
            Err(e) => return Err(e.to_string()),
        };
        let stream = tokio::net::TcpStream::from_std(stream).map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let request = hyper::Request::get(path)
            .header("host", host.as_str())
            .header("user-agent", "paas-health")
            .header("x-forwarded-proto", "https")
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let ask = async {
            let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = answer.status().as_u16();
            // Only the start is shown to people; the rest is not read.
            let mut body = answer.into_body();
            let first = body.frame().await.and_then(Result::ok).and_then(|f| f.into_data().ok()).unwrap_or_default();
            let text: String = String::from_utf8_lossy(&first).chars().take(200).filter(|c| !c.is_control()).collect();
            Ok((status, text))
        };
        let mut ask = std::pin::pin!(ask);
        tokio::select! {
            answer = &mut ask => answer,
            // The answer may be whole although its connection has ended; without one this is the error that `ask` gives.
            _ = connection => ask.await,
        }
    }

    async fn probe_command(&self, row: &Instance, command: &CommandLine, limit: Duration) -> Verdict {
        let argv = match command {
            CommandLine::Argv(argv) => argv.clone(),
            CommandLine::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        };
        match tokio::time::timeout(limit, self.run_in(row, &argv)).await {
            Err(_) => Verdict::NotYet { why: format!("the health command did not end within {} s", limit.as_secs_f32()) },
            Ok(Err(e)) => Verdict::NotYet { why: format!("the health command: {e}") },
            Ok(Ok((0, _))) => Verdict::Healthy,
            Ok(Ok((code, output))) => {
                let last = output.lines().last().unwrap_or_default().to_owned();
                Verdict::NotYet { why: format!("the health command ended with exit code {code}: {last}") }
            }
        }
    }
}

/// The last check of each instance that is a command, until it has ended. A check that is given up goes on as a process in the instance, and
/// neither its init nor a restart in place ends it: without this, one that hangs would leave another at every look.
#[derive(Default)]
pub struct Checks(Mutex<BTreeMap<InstanceId, ExecControl>>);

impl Checks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, ExecControl>> {
        self.0.lock().expect("no code panics while it holds the checks")
    }

    pub fn forget(&self, instance: InstanceId) {
        self.lock().remove(&instance);
    }

    /// An engine that does not know it any more has ended it.
    async fn still_runs(&self, instance: InstanceId) -> Result<bool, DockerError> {
        let Some(before) = self.lock().get(&instance).cloned() else { return Ok(false) };
        match before.exit_code().await {
            Ok(code) => Ok(code.is_none()),
            Err(DockerError::NotFound(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl Instances {
    /// Runs a command in the instance to its end: exit code and the start of its output. Conflict: the one before still runs.
    async fn run_in(&self, row: &Instance, argv: &[String]) -> Result<(i64, String), DockerError> {
        const KEPT: usize = 8 << 10;
        if self.checks.still_runs(row.id).await? {
            return Err(DockerError::Conflict("the one before has not ended yet".to_owned()));
        }
        let session = self.docker.exec(&self.container_name(row), argv, ExecOptions::default()).await?;
        let control = session.control();
        self.checks.lock().insert(row.id, control.clone());
        let mut output = session.output;
        let mut kept = Vec::new();
        while let Some(part) = output.next().await {
            let (_, bytes) = part?;
            kept.extend_from_slice(&bytes[..bytes.len().min(KEPT - kept.len().min(KEPT))]);
        }
        let code = control.exit_code().await?.unwrap_or(-1);
        self.checks.forget(row.id);
        Ok((code, String::from_utf8_lossy(&kept).into_owned()))
    }
}
