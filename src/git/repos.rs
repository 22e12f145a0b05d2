//! One bare repository per app: made, owned and removed.
//!
//! Who may write where is the point of this file. The folder and `refs/` belong to the daemon's user and to its own group; `objects/` has the
//! login user's group and the setgid bit, so a push can add objects and the daemon can collect them. With `core.sharedRepository = 0664` git
//! keeps new folders writable for their group, whoever makes them and whatever the umask says.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Gid, Uid, chown, geteuid};

use super::GitError;
use super::run::Git;
use crate::base::accounts::{self, Account};
use crate::base::atomic_file;
use crate::base::clock::UnixMillis;
use crate::config::HostConfig;
use crate::names::AppName;

/// The repositories of this installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repos {
    pub(super) config: Arc<HostConfig>,
}

/// The whole config of a repository. It is written again by every [`Repos::ensure`], so nothing else can settle in it.
const CONFIG: &str = "\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tsharedRepository = 0664
\tlogAllRefUpdates = false
\tcompression = 1
";

/// Attributes that outrank those of a commit: what is built is the commit, nothing left out and nothing filled in.
const ATTRIBUTES: &str = "* -export-ignore -export-subst\n";

/// The branch that HEAD names, for people who clone. Deploys never read it.
const HEAD: &str = "ref: refs/heads/main\n";

impl Repos {
    pub fn new(config: Arc<HostConfig>) -> Self {
        Self { config }
    }

    /// Where the app's repository is. It need not exist.
    pub fn path(&self, app: &AppName) -> PathBuf {
        self.config.repo(app)
    }

    pub fn exists(&self, app: &AppName) -> bool {
        self.path(app).join("HEAD").is_file()
    }

    /// Makes the app's repository, or puts the modes, config and attributes of an existing one right. Objects and refs are kept.
    /// May run as root (it then gives everything to the daemon's user) or as the daemon's user. Cancel-safe: yes, call it again.
    pub async fn ensure(&self, app: &AppName) -> Result<(), GitError> {
        let owners = Owners::look_up(&self.config)?;
        let repo = self.path(app);
        let app_dir = self.config.app_dir(app);
        make_dir(&app_dir)?;
        make_dir(&repo)?;
        if !repo.join("HEAD").is_file() {
            // An empty template: no sample hooks, no files that we did not write.
            Git::new(&repo, &["init", "--quiet", "--bare", "--template="]).output().await?;
        }
        for folder in ["objects", "objects/pack", "objects/info", "refs", "refs/heads", "refs/tags", "info"] {
            make_dir(&repo.join(folder))?;
        }
        for (name, text) in [("config", CONFIG), ("HEAD", HEAD), ("info/attributes", ATTRIBUTES)] {
            put(&repo.join(name), text)?;
        }
        // Readable for the login user through its group, for other users not at all: it is somebody's source code.
        owners.give(&app_dir, owners.login_group, 0o750)?;
        owners.give(&repo, owners.login_group, 0o750)?;
        for name in ["config", "HEAD", "info/attributes"] {
            owners.give(&repo.join(name), owners.daemon_group, 0o644)?;
        }
        for name in ["info", "refs", "refs/heads", "refs/tags"] {
            owners.give(&repo.join(name), owners.daemon_group, 0o755)?;
        }
        for name in ["objects", "objects/pack", "objects/info"] {
            owners.give(&repo.join(name), owners.login_group, 0o2775)?;
        }
        Ok(())
    }

    /// Removes the app's repository; one that is not there is fine. What a killed push left in it belongs to the login user: then the rest is put
    /// aside, where [`super::incoming`] removes that and [`Repos::remove_leftovers`] the rest. Cancel-safe: yes, call it again.
    pub async fn remove(&self, app: &AppName) -> Result<(), GitError> {
        let (repos, repo, folder) = (self.clone(), self.path(app), self.config.app_dir(app));
        // Renamed first: a push that is still under way fails at once, and a half-removed repository is never served.
        let aside = repo.with_extension("git.removed");
        let place = self.config.removed_repos_dir().join(format!("{app}-{}", UnixMillis::now().0));
        let removed = tokio::task::spawn_blocking(move || {
            repos.remove_leftovers();
            match fs::rename(&repo, &aside) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(removing(repo, source)),
                _ => {}
            }
            match fs::remove_dir_all(&aside) {
                Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                    repos.make_removed_dir()?;
                    remove_ours(&aside);
                    fs::rename(&aside, &place).map_err(|source| removing(aside, source))?;
                }
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(removing(aside, source)),
                _ => {}
            }
            match fs::remove_dir(&folder) {
                // What somebody else put there is theirs.
                Err(source) if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                    Err(removing(folder, source))
                }
                _ => Ok(()),
            }
        });
        removed.await.expect("removing a folder does not panic")
    }

    /// Removes what is left of repositories that [`Repos::remove`] had to put aside, as far as it is the daemon's.
    pub fn remove_leftovers(&self) {
        for removed in fs::read_dir(self.config.removed_repos_dir()).into_iter().flatten().flatten() {
            remove_ours(&removed.path());
            if let Err(e) = fs::remove_dir_all(removed.path()) {
                tracing::debug!("the rest of `{}` is the login user's to remove: {e}", removed.path().display());
            }
        }
    }

    /// The login user's sessions look for what is theirs in it.
    fn make_removed_dir(&self) -> Result<(), GitError> {
        let dir = self.config.removed_repos_dir();
        make_dir(&dir)?;
        let owners = Owners::look_up(&self.config)?;
        owners.give(&dir, owners.login_group, 0o750)
    }
}

/// Removes all of a repository that can be removed: what can't lies in `objects`. No deeper, as the login user can put links there.
fn remove_ours(repo: &Path) {
    for folder in [repo.to_owned(), repo.join("objects")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Neither follows a link; what neither removes stays.
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

fn removing(path: PathBuf, source: io::Error) -> GitError {
    GitError::Folder { act: "removing", path, source }
}

/// Who owns what in a repository.
struct Owners {
    daemon: Uid,
    daemon_group: Gid,
    login_group: Gid,
    root: bool,
}

impl Owners {
    fn look_up(config: &HostConfig) -> Result<Self, GitError> {
        let root = geteuid().is_root();
        let (daemon_name, login_name) = (&config.users.daemon, &config.users.login);
        let daemon = user(daemon_name)?;
        let login = user(login_name)?;
        if daemon.gid == login.gid {
            return Err(GitError::GroupShared { daemon: daemon_name.clone(), login: login_name.clone() });
        }
        let login_group = accounts::group(login_name).ok().flatten().unwrap_or(login.gid);
        Ok(Self {
            daemon: Uid::from_raw(daemon.uid),
            daemon_group: Gid::from_raw(daemon.gid),
            login_group: Gid::from_raw(login_group),
            root,
        })
    }

    /// Sets owner, group and mode where they differ. Not being root, the daemon can only give what is its own.
    fn give(&self, path: &Path, group: Gid, mode: u32) -> Result<(), GitError> {
        let problem = |source| GitError::Folder { act: "setting owner and mode of", path: path.to_owned(), source };
        let now = fs::symlink_metadata(path).map_err(problem)?;
        let owner = self.root.then_some(self.daemon).filter(|owner| owner.as_raw() != now.uid());
        let group = Some(group).filter(|group| group.as_raw() != now.gid());
        if owner.is_some() || group.is_some() {
            chown(path, owner, group).map_err(|errno| problem(errno.into()))?;
        }
        // After chown, which may clear the setgid bit.
        if now.mode() & 0o7777 != mode || owner.is_some() || group.is_some() {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(problem)?;
        }
        Ok(())
    }
}

fn user(name: &str) -> Result<Account, GitError> {
    accounts::user(name).ok().flatten().ok_or_else(|| GitError::NoUser { name: name.to_owned() })
}

fn make_dir(path: &Path) -> Result<(), GitError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|source| GitError::Folder { act: "making", path: path.to_owned(), source })
}

/// Writes a small file unless it already says this.
fn put(path: &Path, text: &str) -> Result<(), GitError> {
    atomic_file::write_if_other(path, text.as_bytes(), 0o644).map_err(|source| GitError::Folder {
        act: "writing",
        path: path.to_owned(),
        source,
    })
}
