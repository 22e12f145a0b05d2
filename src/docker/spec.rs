//! What a container of ours looks like: the caller's wishes, and the restrictions that nobody can wish away.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::models as m;

/// A folder or file of the host inside a container. Made by the Mounts API, which refuses a missing source (`-v` would make a folder).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    /// Absolute path inside the container.
    pub target: String,
    pub read_only: bool,
}

/// One container. What is not here is fixed: see [`ContainerSpec`]'s conversion.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Deterministic: creating twice gives the same container.
    pub name: String,
    /// An image id (`sha256:…`) or reference.
    pub image: String,
    /// Empty: the image's own entrypoint.
    pub entrypoint: Vec<String>,
    /// Empty: the image's own command (unless `entrypoint` is given: then none).
    pub cmd: Vec<String>,
    pub env: Vec<(String, String)>,
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    /// A network's name. None: no network but loopback.
    pub network: Option<String>,
    /// Bytes, swap not added. 0: no limit.
    pub memory: u64,
    /// 0: no limit.
    pub cpus: f64,
    /// 0: no limit.
    pub pids: u32,
    pub read_only_root: bool,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub tty: bool,
    pub open_stdin: bool,
    pub stop_signal: Option<String>,
    /// 500 for apps: they go before the host's own processes. (Raising works everywhere, lowering needs a capability.)
    pub oom_score_adj: i64,
    pub hostname: Option<String>,
}

/// Docker's default list without what a web app has no use for: raw sockets (ARP games on the app's network), device nodes, audit.
const CAPABILITIES: &[&str] =
    &["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETUID", "SYS_CHROOT"];

/// An app that answers readers which take nothing fills the kernel's memory for TCP, which is one for the whole host: without a bound its
/// sockets take megabytes each, whatever the proxy lets in. What is on its way does not count, so this slows nobody.
const UNSENT_BYTES: u32 = 128 * 1024;

impl ContainerSpec {
    /// The engine's form. Always: all capabilities but ours dropped, no-new-privileges, the engine's default seccomp profile (by not naming
    /// one), restart policy `no` (paas alone restarts), log driver `none` (output goes through init; a blocked log driver freezes apps),
    /// no healthcheck of the image's, no published port, no init of Docker's, and a bound on what its sockets queue unsent.
    pub(super) fn into_body(self, install: &str) -> m::ContainerCreateBody {
        let host = self.host_config();
        let mut labels: HashMap<String, String> = self.labels.into_iter().collect();
        labels.insert(super::labels::INSTALL.to_owned(), install.to_owned());
        m::ContainerCreateBody {
            hostname: self.hostname,
            user: self.user,
            attach_stdin: Some(self.open_stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(self.tty),
            open_stdin: Some(self.open_stdin),
            stdin_once: Some(self.open_stdin),
            env: Some(self.env.into_iter().map(|(key, value)| format!("{key}={value}")).collect()),
            entrypoint: (!self.entrypoint.is_empty()).then_some(self.entrypoint),
            cmd: (!self.cmd.is_empty()).then_some(self.cmd),
            healthcheck: Some(m::HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
            image: Some(self.image),
            working_dir: self.workdir,
            labels: Some(labels),
            stop_signal: self.stop_signal,
            host_config: Some(host),
            ..Default::default()
        }
    }

    fn host_config(&self) -> m::HostConfig {
        let memory = i64::try_from(self.memory).unwrap_or(i64::MAX);
        let tmpfs = self.read_only_root.then(|| HashMap::from([("/tmp".to_owned(), "rw,nosuid,nodev,mode=1777".to_owned())]));
        m::HostConfig {
            memory: (memory > 0).then_some(memory),
            // Equal to `memory`: no swap on top, so a limit means what it says.
            memory_swap: (memory > 0).then_some(memory),
            nano_cpus: (self.cpus > 0.0).then_some((self.cpus * 1e9) as i64),
            pids_limit: (self.pids > 0).then_some(i64::from(self.pids)),
            oom_score_adj: Some(self.oom_score_adj),
            network_mode: Some(self.network.clone().unwrap_or_else(|| "none".to_owned())),
            restart_policy: Some(m::RestartPolicy { name: Some(m::RestartPolicyNameEnum::NO), maximum_retry_count: None }),
            log_config: Some(m::HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            mounts: Some(self.mounts.iter().map(Mount::to_engine).collect()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.iter().map(|c| (*c).to_owned()).collect()),
            security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
            readonly_rootfs: Some(self.read_only_root),
            sysctls: Some(HashMap::from([("net.ipv4.tcp_notsent_lowat".to_owned(), UNSENT_BYTES.to_string())])),
            tmpfs,
            init: Some(false),
            privileged: Some(false),
            auto_remove: Some(false),
            ..Default::default()
        }
    }
}

impl Mount {
    fn to_engine(&self) -> m::Mount {
        m::Mount {
            target: Some(self.target.clone()),
            source: Some(self.source.to_string_lossy().into_owned()),
            typ: Some(m::MountType::BIND),
            read_only: Some(self.read_only),
            ..Default::default()
        }
    }
}
