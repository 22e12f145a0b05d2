//! A machine with a kernel of its own, systemd as PID 1 and control groups version 2, on which install.sh ran: what no container can show.
//! `tests/vm/run` makes it and gives it to these tests, which run one after another and leave it serving.

mod clock;
mod doctor;
mod limits;
mod power;
mod roles;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Client, Done, Repo, Traffic, eventually, run, until};

/// Apps with a web process and a worker.
const APPS: &[&str] = &["ant", "bee"];
const APP: &str = "[processes.web]\n\n[processes.worker]\ncommand = [\"/testapp\", \"worker\"]\n";
const ROLES: &[&str] = &["paas-proxy", "paas-dialer", "paas-daemon"];
/// An emulated machine is some ten times slower than a real one.
const SLOW: Duration = Duration::from_secs(240);

struct Machine {
    /// Where `tests/vm/run` keeps the key and the monitor.
    folder: PathBuf,
    ssh_port: u16,
    web: SocketAddr,
}

enum State {
    None,
    Up(Machine),
    Failed,
}

struct Held(MutexGuard<'static, State>);

impl Deref for Held {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        match &*self.0 {
            State::Up(machine) => machine,
            _ => unreachable!("it is held only while it is up"),
        }
    }
}

/// The machine, for one test alone, with everything serving.
#[track_caller]
fn machine() -> Held {
    static MACHINE: Mutex<State> = Mutex::new(State::None);
    let mut state = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if matches!(*state, State::Failed) {
        panic!("the machine could not be set up: see the test that failed first");
    }
    if matches!(*state, State::None) {
        *state = State::Failed;
        *state = State::Up(Machine::set_up());
    }
    let held = Held(state);
    held.all_serve(SLOW);
    held
}

fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: tests/vm/run makes the machine of these tests"))
}

impl Machine {
    fn set_up() -> Machine {
        let port = |name: &str| given(name).parse().unwrap_or_else(|e| panic!("{name} is no port: {e}"));
        let web = (Ipv4Addr::LOCALHOST, port("PAAS_VM_WEB")).into();
        let machine = Machine { folder: given("PAAS_VM").into(), ssh_port: port("PAAS_VM_SSH"), web };
        let begun = Instant::now();
        machine.sh("/root/paas-source/install.sh").ok().says(&["paas is ready"]);
        tell(&format!("install.sh (packages were there): {:.0} s", begun.elapsed().as_secs_f64()));
        machine.sh("paas keys list --json | grep -q laptop || paas keys add laptop <.ssh/authorized_keys").ok();
        for app in APPS {
            let begun = Instant::now();
            machine.push(app, "1", APP, "").ok().says(&["Live: v"]);
            tell(&format!("first push of {app}: {:.1} s", begun.elapsed().as_secs_f64()));
        }
        machine
    }

    fn ssh_options(&self) -> Vec<String> {
        let (key, known) = (self.folder.join("key"), "/dev/null");
        let mut options = vec!["-F".to_owned(), "none".to_owned(), "-i".to_owned(), key.display().to_string()];
        for option in ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR", "ConnectTimeout=20"] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options.extend(["-o".to_owned(), format!("UserKnownHostsFile={known}")]);
        // A machine that was reset never answers again on a connection of before.
        options.extend([
            "-o".to_owned(),
            "ServerAliveInterval=5".to_owned(),
            "-o".to_owned(),
            "ServerAliveCountMax=6".to_owned(),
        ]);
        options
    }

    /// As root, by a shell of the machine.
    fn sh(&self, script: &str) -> Done {
        let mut command = Command::new("ssh");
        command.args(self.ssh_options()).args(["-p", &self.ssh_port.to_string()]);
        // A key exchange takes an emulated processor a second: one connection serves many calls.
        let shared = format!("ControlPath={}", self.folder.join("shared").display());
        command.args(["-o", &shared, "-o", "ControlMaster=auto", "-o", "ControlPersist=120"]);
        run(command.args(["root@127.0.0.1", script]), b"", SLOW)
    }

    /// The shared connection does not outlive its machine.
    fn forget_connection(&self) {
        let shared = format!("ControlPath={}", self.folder.join("shared").display());
        let mut command = Command::new("ssh");
        drop(run(command.args(["-F", "none", "-o", &shared, "-O", "exit", "root@127.0.0.1"]), b"", Duration::from_secs(10)));
    }

    /// From this laptop. `version` is what the app answers from then on, `mode` how it behaves.
    fn push(&self, app: &str, version: &str, manifest: &str, mode: &str) -> Done {
        let repo = Repo::testapp(version);
        repo.write("paas.toml", manifest).write("mode", mode).commit("a release");
        let ssh = format!("ssh {}", self.ssh_options().join(" "));
        let url = format!("ssh://paas@127.0.0.1:{}/{app}", self.ssh_port);
        repo.git_with(&["push", "-f", &url, "main"], &[("GIT_SSH_COMMAND", &ssh)], SLOW)
    }

    fn get(&self, app: &str, path: &str) -> Result<(u16, String), String> {
        let reply = Client::connect(self.web, &format!("{app}.localhost")).and_then(|mut client| client.get(path));
        reply.map(|reply| (reply.status, reply.text())).map_err(|e| e.to_string())
    }

    fn asks(&self, app: &str) -> Option<String> {
        let (status, text) = self.get(app, "/").ok()?;
        (status == 200).then_some(text)
    }

    /// How long after now each app answered for the first time.
    #[track_caller]
    fn all_serve(&self, limit: Duration) -> BTreeMap<&'static str, Duration> {
        let (started, mut times) = (Instant::now(), BTreeMap::new());
        let done = until(limit, || {
            for app in APPS {
                if !times.contains_key(app) && self.asks(app).is_some_and(|text| text.starts_with(app)) {
                    times.insert(*app, started.elapsed());
                }
            }
            (times.len() == APPS.len()).then_some(())
        });
        assert!(done.is_some(), "only {times:?} serve\n{}\n{}", self.sh("paas status; docker ps -a"), self.journal());
        times
    }

    fn traffic(&self) -> Traffic {
        let app = APPS[0];
        // More would take an emulated processor from what is being tested.
        Traffic::start_every(Duration::from_millis(100), self.web, &format!("{app}.localhost"), app, 4)
    }

    /// Does `act` under traffic from outside: at most `cut` requests may be lost. Gives what `act` gave.
    #[track_caller]
    fn under_traffic<T>(&self, what: &str, cut: usize, act: impl FnOnce() -> T) -> T {
        let traffic = self.traffic();
        traffic.wait_for(40);
        let gave = act();
        traffic.wait_for(40);
        let counted = traffic.stop();
        let (lost, slowest) = (counted.failed.len(), counted.slowest.as_millis());
        tell(&format!("{what}: {} answered, {lost} lost, slowest {slowest} ms", counted.answered));
        assert!(lost <= cut, "{what}: {lost} requests were lost: {:?}\n{}", counted.failed, self.journal());
        gave
    }

    fn show(&self, unit: &str, property: &str) -> String {
        self.sh(&format!("systemctl show -P {property} {unit}")).ok().out.trim().to_owned()
    }

    /// What the units of paas said since the machine booted.
    fn journal(&self) -> String {
        self.sh("journalctl -q -b --no-pager -o cat -u 'paas*' | tail -n 150").out
    }

    #[track_caller]
    fn why(&self, app: &str) -> Value {
        let done = self.sh(&format!("paas why -a {app} --json"));
        serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("`why` gave no JSON ({e}):\n{done}"))
    }

    /// Removes an app of one test.
    fn destroy(&self, app: &str) {
        self.sh(&format!("paas apps destroy {app} --confirm {app}")).ok();
    }

    /// What was told to the receiver of alerts so far, but for an emulated Docker that takes too long to answer.
    fn alerts(&self) -> Vec<String> {
        let text = self.sh("cat /var/lib/paas/alerts 2>/dev/null || true").ok().out;
        text.lines().filter(|line| !line.is_empty() && !line.contains("\"docker_down\"")).map(str::to_owned).collect()
    }

    /// A word to QEMU's monitor.
    fn monitor(&self, word: &str) {
        let mut stream = UnixStream::connect(self.folder.join("monitor")).expect("QEMU has a monitor");
        stream.write_all(format!("{word}\n").as_bytes()).expect("the monitor takes a line");
        // It reads what was sent before the end of the connection.
        std::thread::sleep(Duration::from_millis(300));
    }

    fn boot_id(&self) -> Option<String> {
        let done = self.sh("cat /proc/sys/kernel/random/boot_id");
        (done.code == 0).then(|| done.out.trim().to_owned())
    }

    /// Waits until another boot than `before` lets one in, and all of its units are up.
    #[track_caller]
    fn wait_for_boot(&self, before: &str) {
        self.forget_connection();
        eventually("another boot", SLOW, || self.boot_id().filter(|id| id != before));
        let state = self.sh("systemctl is-system-running --wait");
        assert_eq!(state.out.trim(), "running", "{}", self.sh("systemctl --failed --no-pager"));
    }
}

/// A line of the receipt that `tests/vm/run` shows.
fn tell(line: &str) {
    println!("vm: {line}");
}
