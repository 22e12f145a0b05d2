//! A server that systemd booted, on which install.sh ran as a user would run it: what holds there through restarts, kills, reboots and a
//! Docker that does not come. One machine serves all of these tests, one after another: `tests/run --host` runs them.

mod docker;
mod drill;
mod exposure;
mod install;
mod reboot;
mod restart;
mod upgrade;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::support::{Client, Done, Repo, Server, Traffic, eventually, make_key, until};

/// Apps that a laptop pushed: each with a web process and a worker, in an image without any base.
const APPS: &[&str] = &["ant", "bee", "cat", "dog", "elk"];
/// One of them with a web process and a worker.
const APP: &str = "[processes.web]\n\n[processes.worker]\ncommand = [\"/testapp\", \"worker\"]\n";
const ROLES: &[&str] = &["paas-proxy", "paas-dialer", "paas-daemon"];

struct Host {
    server: Server,
    /// What `install.sh --demo` said on the fresh machine.
    demo: Done,
    keys: tempfile::TempDir,
}

enum State {
    None,
    Up(Box<Host>),
    Failed,
}

struct Held(MutexGuard<'static, State>);

impl Deref for Held {
    type Target = Host;
    fn deref(&self) -> &Host {
        match &*self.0 {
            State::Up(host) => host,
            _ => unreachable!("it is held only while it is up"),
        }
    }
}

/// The machine, for one test alone, with everything serving. It is made by the first test and goes with this process.
#[track_caller]
fn host() -> Held {
    static HOST: Mutex<State> = Mutex::new(State::None);
    let mut state = HOST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if matches!(*state, State::Failed) {
        panic!("the machine could not be set up: see the test that failed first");
    }
    if matches!(*state, State::None) {
        *state = State::Failed;
        *state = State::Up(Box::new(Host::set_up()));
    }
    let held = Held(state);
    held.heal();
    held
}

impl Host {
    fn set_up() -> Host {
        let server = Server::booted();
        let demo = server.install("--demo").ok();
        // Clients check which release the proxy says that it asked.
        server.sh("sed -i 's/^\\[proxy\\]/&\\ncommit_header = true/' /etc/paas/paas.toml && systemctl restart paas").ok();
        let keys = tempfile::tempdir().expect("a temporary folder can be made");
        let host = Host { server, demo, keys };
        make_key(&host.key());
        let public = std::fs::read(host.key().with_extension("pub")).expect("a key has a public half");
        host.server.sh_with("paas keys add laptop", &public).ok();
        for app in APPS {
            host.push(app, "1").ok().says(&["Live: v1"]);
        }
        host
    }

    /// Takes back what a test that failed may have left.
    fn heal(&self) {
        let done = self.sh(
            "rm -f /etc/systemd/system/docker.service.d/late.conf; systemctl unmask -q docker.service docker.socket; systemctl daemon-reload; \
             printf '{ \"live-restore\": true }' >/etc/docker/daemon.json; systemctl reset-failed; systemctl enable -q docker; \
             systemctl start docker.socket docker paas",
        );
        done.ok();
        self.all_serve(Duration::from_secs(60));
    }

    fn key(&self) -> std::path::PathBuf {
        self.keys.path().join("laptop")
    }

    fn sh(&self, script: &str) -> Done {
        self.server.sh(script)
    }

    fn web(&self) -> SocketAddr {
        self.server.address(80)
    }

    /// From this laptop, over ssh. `version` is what the app answers from then on.
    fn push(&self, app: &str, version: &str) -> Done {
        let repo = Repo::testapp(version);
        repo.write("paas.toml", APP).commit("with a worker");
        let ssh = format!(
            "ssh -i {} -F none -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.key().display()
        );
        let url = format!("paas@{}:{app}", self.server.address(22).ip());
        repo.git_with(&["push", "-f", &url, "main"], &[("GIT_SSH_COMMAND", &ssh)], Duration::from_secs(120))
    }

    fn asks(&self, app: &str) -> Result<String, String> {
        let reply = Client::connect(self.web(), &format!("{app}.localhost")).and_then(|mut client| client.get("/"));
        match reply {
            Ok(reply) if reply.status == 200 => Ok(reply.text()),
            Ok(reply) => Err(format!("status {}: {}", reply.status, reply.text())),
            Err(e) => Err(e.to_string()),
        }
    }

    /// How long after now each app answered for the first time, in the order of [`APPS`].
    #[track_caller]
    fn all_serve(&self, limit: Duration) -> Vec<Duration> {
        let started = Instant::now();
        let mut times = vec![None; APPS.len()];
        let done = until(limit, || {
            for (time, app) in times.iter_mut().zip(APPS) {
                if time.is_none() && self.asks(app).is_ok_and(|text| text.starts_with(app)) {
                    *time = Some(started.elapsed());
                }
            }
            times.iter().copied().collect::<Option<Vec<_>>>()
        });
        done.unwrap_or_else(|| {
            panic!(
                "not all of {APPS:?} serve within {limit:?}: {times:?}\n{}\n{}",
                self.sh("paas status; docker ps -a"),
                self.journal()
            )
        })
    }

    fn traffic(&self) -> Traffic {
        Traffic::start(self.web(), &format!("{}.localhost", APPS[0]), APPS[0], 8)
    }

    /// A property of a unit.
    #[track_caller]
    fn show(&self, unit: &str, property: &str) -> String {
        self.sh(&format!("systemctl show -P {property} {unit}")).ok().out.trim().to_owned()
    }

    #[track_caller]
    fn number(&self, unit: &str, property: &str) -> u64 {
        let text = self.show(unit, property);
        text.parse().unwrap_or_else(|e| panic!("{property} of {unit} is {text:?}: {e}"))
    }

    /// What the units of paas said since the machine booted.
    fn journal(&self) -> String {
        // The kernel, and with it the name of the boot, is another machine's: the time at which systemd started tells boots apart.
        let since = "$(systemctl show --timestamp=unix -P UserspaceTimestamp)";
        self.sh(&format!("journalctl --no-pager -q --since \"{since}\" -o cat -u 'paas*' | tail -n 200")).out
    }

    /// The whole of `paas status --json`; None while the daemon does not answer.
    fn status(&self) -> Option<serde_json::Value> {
        let done = self.sh("timeout 30 paas status --json");
        (done.code == 0).then(|| done.json())
    }

    /// Kills the process of a unit as nothing can prevent, and gives how long it took until another said that it is ready.
    #[track_caller]
    fn kill(&self, role: &str) -> Duration {
        let old = self.show(role, "MainPID");
        let started = Instant::now();
        self.sh(&format!("kill -KILL {old}")).ok();
        eventually(&format!("another {role}"), Duration::from_secs(15), || {
            let (pid, state) = (self.show(role, "MainPID"), self.show(role, "ActiveState"));
            (pid != old && pid != "0" && state == "active").then_some(())
        });
        started.elapsed()
    }

    /// What may not differ before and after something that is no deploy: every release, deploy and image.
    #[track_caller]
    fn made(&self) -> String {
        let apps = APPS.join(" ");
        let script = format!("for a in {apps}; do paas releases -a $a --json; paas deploys list -a $a --json; done");
        let images = self.server.engine("images/json");
        let mut ids: Vec<&str> = images.as_array().into_iter().flatten().filter_map(|i| i["Id"].as_str()).collect();
        ids.sort_unstable();
        format!("{}\n{}", self.sh(&script).ok().out, ids.join("\n"))
    }
}

/// A line of the receipt that `tests/run --host` shows.
fn tell(line: &str) {
    println!("host: {line}");
}
