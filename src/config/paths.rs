//! Every path on the host, in one place.

use std::path::{Path, PathBuf};

use super::HostConfig;
use crate::names::{AppName, InstanceId};

impl HostConfig {
    /// The SQLite database.
    pub fn db(&self) -> PathBuf {
        self.state_dir.join("paas.db")
    }

    /// The key that seals secrets in the database (mode 0600), where no credential store gives one.
    pub fn secret_key(&self) -> PathBuf {
        self.state_dir.join("secret.key")
    }

    /// What TLS clients see where no certificate fits, with its key (mode 0600).
    pub fn self_signed(&self) -> PathBuf {
        self.state_dir.join("self-signed.pem")
    }

    /// Locked by the one daemon that may work on this state.
    pub fn lock_file(&self) -> PathBuf {
        self.state_dir.join("lock")
    }

    pub fn apps_dir(&self) -> PathBuf {
        self.state_dir.join("apps")
    }

    pub fn app_dir(&self, app: &AppName) -> PathBuf {
        self.apps_dir().join(app.as_str())
    }

    /// The app's bare git repository.
    pub fn repo(&self, app: &AppName) -> PathBuf {
        self.app_dir(app).join("repo.git")
    }

    /// What the daemon may not remove of the repositories of apps that are gone. No app has such a name.
    pub fn removed_repos_dir(&self) -> PathBuf {
        self.apps_dir().join(".removed")
    }

    pub fn logs_dir(&self) -> PathBuf {
        self.state_dir.join("logs")
    }

    pub fn instances_dir(&self) -> PathBuf {
        self.state_dir.join("instances")
    }

    /// Mounted read-only into the instance at `/.paas/i/`.
    pub fn instance_dir(&self, instance: InstanceId) -> PathBuf {
        self.instances_dir().join(instance.to_string())
    }

    /// Crash files of the app, each under its id.
    pub fn crashes_dir(&self, app: &AppName) -> PathBuf {
        self.state_dir.join("crashes").join(app.as_str())
    }

    /// One folder per version of the binary, named by its SHA-256, mounted at `/.paas/bin/`.
    pub fn bin_dir(&self) -> PathBuf {
        self.state_dir.join("bin")
    }

    /// Source trees and scratch space of builds.
    pub fn builds_dir(&self) -> PathBuf {
        self.state_dir.join("builds")
    }

    /// What sshd reads by `AuthorizedKeysCommand /bin/cat`.
    pub fn authorized_keys(&self) -> PathBuf {
        self.state_dir.join("authorized_keys")
    }

    /// The git hooks that every repository uses.
    pub fn hooks_dir(&self) -> PathBuf {
        self.state_dir.join("hooks")
    }

    pub fn api_socket(&self) -> PathBuf {
        self.run_dir.join("api.sock")
    }

    pub fn proxy_socket(&self) -> PathBuf {
        self.run_dir.join("proxy.sock")
    }

    /// Where the engine keeps the network namespaces of its containers. It names its default folder in two ways.
    pub fn sandbox_key_dirs(&self) -> Vec<PathBuf> {
        const SAME: [&str; 2] = ["/run/docker", "/var/run/docker"];
        let root = &self.docker.exec_root;
        let is_default = SAME.iter().any(|same| root == Path::new(same));
        let roots = if is_default { SAME.map(PathBuf::from).to_vec() } else { vec![root.clone()] };
        roots.into_iter().map(|root| root.join("netns")).collect()
    }

    pub fn dialer_socket(&self) -> PathBuf {
        self.run_dir.join("dialer.sock")
    }
}
