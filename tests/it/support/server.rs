//! A Debian machine of a test's own, in a container of the engine, bare or booted with systemd: what install.sh is given on a real server.
//!
//! It starts from the base image of the product and has nothing that a Debian without any task has not. Docker inside keeps its images on a
//! volume, as an overlay can't lie on an overlay. It needs nearly all capabilities: it is a machine, not a guest to be kept out.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::cli::{Done, run};
use super::engine::docker;
use super::wait::eventually;

/// Packages are fetched and a base image is made inside.
const LIMIT: Duration = Duration::from_secs(400);

/// What systemd, Docker and the dialer do with a machine.
const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_TTY_CONFIG",
];

/// What every machine begins with: it lives for minutes, so its packages need not survive a loss of power.
const BEGIN: &str = "echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/short-life; ";
/// The first process where nothing manages the machine.
const BARE: &str = "exec sleep infinity";
/// Mounts reach other namespaces on any machine that systemd booted; in a container it leaves that to whoever made it. From version 256 on it
/// wants to be told that the old control groups are meant.
const BOOT: &str = "mount --make-rshared /; \
    [ -x /sbin/init ] || { apt-get update -q && apt-get install -qy --no-install-recommends systemd systemd-sysv dbus || exit 1; }; \
    exec /sbin/init SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1";

pub struct Server {
    name: String,
    /// Takes the machine away when this process ends, in whatever way.
    warden: Child,
}

impl Server {
    /// Without an init system.
    pub fn bare() -> Server {
        Server::start(BARE)
    }

    /// systemd is PID 1 and says that it runs.
    pub fn booted() -> Server {
        let server = Server::start(BOOT);
        server.wait_for_boot(Duration::from_secs(120));
        server
    }

    fn start(first: &str) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pt-{}-server{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let server = Server { warden: warden(&name), name };
        let mut args: Vec<String> = ["run", "-d", "--hostname", "server", "--cap-drop", "ALL"].map(str::to_owned).into();
        args.extend(CAPABILITIES.iter().map(|c| format!("--cap-add={c}")));
        args.extend(["seccomp", "apparmor", "systempaths"].map(|what| format!("--security-opt={what}=unconfined")));
        args.push("--device-cgroup-rule=a *:* rwm".to_owned());
        args.extend(["/run", "/run/lock", "/tmp:exec,mode=1777"].map(|at| format!("--tmpfs={at}")));
        args.extend(["--env=container=docker", "--stop-signal=SIGRTMIN+3"].map(str::to_owned));
        args.push(format!("--name={}", server.name));
        let source = env!("CARGO_MANIFEST_DIR");
        for mount in [
            "/sys/fs/cgroup:/sys/fs/cgroup:rw".to_owned(),
            format!("{}:/var/lib/docker", server.name),
            format!("{source}:/src:ro"),
            format!("{}:/root/paas-built:ro", env!("CARGO_BIN_EXE_paas")),
        ] {
            args.push(format!("--volume={mount}"));
        }
        args.extend([base_image(), "sh".to_owned(), "-c".to_owned(), format!("{BEGIN}{first}")]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        docker(&args).ok();
        server
    }

    /// Until every unit that boots has booted; fails if one did not.
    #[track_caller]
    pub fn wait_for_boot(&self, limit: Duration) {
        let up = super::wait::until(limit, || {
            let state = self.sh("systemctl is-system-running");
            ["running", "degraded"].contains(&state.out.trim()).then(|| state.out.trim().to_owned())
        });
        let what = || {
            format!(
                "{}\n{}",
                self.sh("systemctl --failed --no-pager; systemctl list-jobs --no-pager"),
                docker(&["logs", "--tail", "40", &self.name])
            )
        };
        match up.as_deref() {
            Some("running") => {}
            Some(other) => panic!("the machine is {other}\n{}", what()),
            None => panic!(
                "systemd did not boot in a container within {limit:?}: does the engine give all of {CAPABILITIES:?}?\n{}",
                what()
            ),
        }
    }

    /// As root, by a shell of the machine.
    pub fn sh(&self, script: &str) -> Done {
        self.sh_with(script, b"")
    }

    pub fn sh_with(&self, script: &str, input: &[u8]) -> Done {
        let mut command = Command::new("docker");
        command.args(["exec", "-i", "-w", "/root", "-e", "HOME=/root", &self.name, "bash", "-c", script]);
        run(&mut command, input, LIMIT)
    }

    /// `install.sh` with the binary of these tests.
    pub fn install(&self, options: &str) -> Done {
        self.sh(&format!("PAAS_BINARY=/root/paas-built /src/install.sh {options}"))
    }

    /// The machine's address as its neighbours see it. A reboot may change it.
    #[track_caller]
    pub fn address(&self, port: u16) -> SocketAddr {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let done = docker(&["inspect", "--format", format, &self.name]).ok();
        let address: Ipv4Addr = done.out.trim().parse().unwrap_or_else(|e| panic!("the machine has no address ({e}):\n{done}"));
        (address, port).into()
    }

    /// Gives images of this engine to the machine's own, where they are here.
    #[track_caller]
    pub fn load_images(&self, names: &str) -> Vec<String> {
        let found = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", names]).ok();
        let images: Vec<String> = found.out.lines().map(str::to_owned).collect();
        if images.is_empty() {
            return images;
        }
        let load = "curl -sS --fail-with-body -X POST -H 'Content-Type: application/x-tar' -T - --unix-socket /run/docker.sock http://docker/images/load";
        let script = format!("docker save {} | docker exec -i {} {load}", images.join(" "), self.name);
        run(Command::new("sh").args(["-c", &script]), b"", LIMIT).ok();
        images
    }

    /// What Docker inside has, by its own API: the client is a package that need not be there.
    #[track_caller]
    pub fn engine(&self, path: &str) -> serde_json::Value {
        self.sh(&format!("curl -sS --max-time 20 --unix-socket /run/docker.sock 'http://docker/{path}'")).ok().json()
    }

    /// From the inside, as an administrator would. Ends as soon as the new systemd answers: nothing else need be up.
    #[track_caller]
    pub fn reboot(&self) {
        drop(self.sh("systemctl reboot"));
        eventually("the machine goes down", Duration::from_secs(60), || {
            let state = docker(&["inspect", "--format", "{{.State.Running}}", &self.name]).ok();
            (state.out.trim() == "false").then_some(())
        });
        docker(&["start", &self.name]).ok();
        eventually("systemd answers", Duration::from_secs(60), || (self.sh("systemctl show -P Version").code == 0).then_some(()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input is its sign.
        drop(self.warden.stdin.take());
        drop(self.warden.wait());
    }
}

/// A shell that waits for the end of its input, which comes when this process drops it or ends in any other way.
fn warden(name: &str) -> Child {
    let script = "cat >/dev/null; docker rm -f -v \"$0\"; docker volume rm -f \"$0\"";
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", script, name]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a shell can be started")
}

/// The product's own base image, as `tests/run` makes it.
#[track_caller]
fn base_image() -> String {
    let found = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "paas-stack/debian"]).ok();
    let thirteen = found.out.lines().find(|image| image.contains(":13-")).map(str::to_owned);
    assert!(Path::new(env!("CARGO_BIN_EXE_paas")).exists(), "the binary is built with the tests");
    thirteen.unwrap_or_else(|| panic!("the base image is not on this engine: tests/run makes it\n{found}"))
}
