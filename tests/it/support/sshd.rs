//! A real sshd of a world's own: own port, own host key, and the drop-in that an installation gets, with the world's paths.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::cli::run;
use super::net::free_port;
use super::wait::eventually;

pub struct Sshd {
    pub port: u16,
    folder: PathBuf,
    child: Child,
}

impl Sshd {
    /// Starts it for the keys that are exported into the folder `state`; logins are those of user `paas` only. Sessions get `env`.
    pub fn start(folder: &Path, state: &Path, env: &[(&str, &str)]) -> Sshd {
        let port = free_port();
        let host_key = folder.join("host_key");
        make_key(&host_key);
        std::fs::create_dir_all("/run/sshd").expect("sshd's own folder can be made");
        let config = folder.join("sshd_config");
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {key}\nPidFile none\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nStrictModes no\nMaxStartups 200:30:400\nMaxSessions 200\nPrintMotd no\nUseDNS no\n\
             AllowUsers paas\n{env}{drop_in}",
            key = host_key.display(),
            env = env.iter().map(|(name, value)| format!("SetEnv {name}={value}\n")).collect::<String>(),
            drop_in = drop_in(state),
        );
        std::fs::write(&config, text).expect("sshd's configuration can be written");
        let log = std::fs::File::create(folder.join("sshd.log")).expect("sshd's log can be made");
        // sshd insists on its full path: it starts itself anew for each connection.
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts: `tests/run` installs openssh-server");
        let sshd = Sshd { port, folder: folder.to_owned(), child };
        eventually("sshd listens", Duration::from_secs(10), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        sshd
    }

    /// What git and ssh are to use: this world's key and nothing of the machine's own ssh.
    pub fn command(&self, key: &Path) -> String {
        format!(
            "ssh -p {} -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new \
             -o UserKnownHostsFile={} -o LogLevel=ERROR",
            self.port,
            key.display(),
            self.folder.join("known_hosts").display()
        )
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("sshd.log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The drop-in of `systemd/sshd-paas.conf` with another state folder: one text for both.
fn drop_in(state: &Path) -> String {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/sshd-paas.conf");
    let text = std::fs::read_to_string(&template).unwrap_or_else(|e| panic!("reading {}: {e}", template.display()));
    text.replace("@LOGIN@", "paas").replace("@STATE_DIR@", &state.display().to_string())
}

/// Makes an Ed25519 key without a pass phrase at `path`, its public half beside it.
pub fn make_key(path: &Path) {
    run(
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path),
        b"",
        Duration::from_secs(20),
    )
    .ok();
}
