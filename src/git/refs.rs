//! Refs: the pins that keep the commits of deploys, and the branches that only the daemon moves.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::policy::{Kept, Move};
use super::run::Git;
use super::{GitError, Repos};
use crate::names::{AppName, BranchName, CommitSha, DeployId};

/// A repository of gigabytes on a slow disk.
const MAINTENANCE_DEADLINE: Duration = Duration::from_secs(30 * 60);

impl Repos {
    /// Keeps `commit` for as long as the deploy is known, and makes it and what it is made of durable. Call it as soon as the deploy has its id.
    /// Pinning twice is fine. Errors: not a commit.
    pub async fn pin(&self, app: &AppName, commit: &CommitSha, deploy: DeployId) -> Result<(), GitError> {
        self.require_commit(app, commit).await?;
        self.sync_objects(app).await?;
        let repo = self.path(app);
        Git::new(&repo, &["update-ref", &pin_name(deploy), commit.as_str()]).output().await?;
        self.sync_refs(app, "paas/deploys").await
    }

    /// Lets the commit of a deploy go. A pin that is not there is fine.
    pub async fn unpin(&self, app: &AppName, deploy: DeployId) -> Result<(), GitError> {
        let repo = self.path(app);
        Git::new(&repo, &["update-ref", "-d", &pin_name(deploy)]).output().await.map(drop)
    }

    /// Moves a branch from `old` (None: it must not exist) to `new`, or changes nothing and says [`GitError::Moved`]. Durable when it returns.
    /// A branch that is at `new` already is fine, so that a step can be done again after a crash.
    pub async fn move_branch(
        &self,
        app: &AppName,
        branch: &BranchName,
        old: Option<&CommitSha>,
        new: &CommitSha,
    ) -> Result<(), GitError> {
        let by = Move { old: old.cloned(), new: Some(new.clone()) };
        self.move_ref(app, &branch_ref(branch), &by).await
    }

    /// Removes the locks that a git of ours left when it was killed in the middle of moving a ref: else no ref of that name moves ever again. To be
    /// called before this process starts any git; nobody else moves refs. A git that an earlier process left running then fails, and is done again.
    pub fn drop_stale_locks(&self, app: &AppName) -> Result<(), GitError> {
        let repo = self.path(app);
        let mut folders = vec![repo.join("refs")];
        let mut files: Vec<PathBuf> = ["HEAD.lock", "packed-refs.lock"].iter().map(|name| repo.join(name)).collect();
        while let Some(folder) = folders.pop() {
            // A repository whose making was cut short has no refs yet.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "lock") {
                    files.push(path);
                }
            }
        }
        for file in files {
            match fs::remove_file(&file) {
                Ok(()) => tracing::warn!(%app, "removed the lock `{}`, which a killed git left", file.display()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(GitError::Folder { act: "removing the lock", path: file, source }),
            }
        }
        Ok(())
    }

    /// Moves what is not deployed, or changes nothing and says [`GitError::Moved`]: what somebody else pushed meanwhile stays. Durable when it
    /// returns, and fine when it is done again. Errors: a branch at what is no commit.
    pub async fn keep(&self, app: &AppName, what: &Kept, by: &Move) -> Result<(), GitError> {
        if let Some(new) = &by.new {
            if let Kept::Branch(_) = what {
                self.require_commit(app, new).await?;
            }
            self.sync_objects(app).await?;
        }
        self.move_ref(app, &what.reference(), by).await
    }

    /// Says [`GitError::Moved`] if [`Repos::keep`] would. Cancel-safe: yes, reads only.
    pub async fn can_keep(&self, app: &AppName, what: &Kept, by: &Move) -> Result<(), GitError> {
        let found = self.at(app, &what.reference()).await?;
        if by.fits(&found) { Ok(()) } else { Err(elsewhere(app, &what.reference(), by, found)) }
    }

    /// Where a branch is; None if there is none. Cancel-safe: yes, reads only.
    pub async fn branch(&self, app: &AppName, branch: &BranchName) -> Result<Option<CommitSha>, GitError> {
        self.at(app, &branch_ref(branch)).await
    }

    pub(super) async fn at(&self, app: &AppName, reference: &str) -> Result<Option<CommitSha>, GitError> {
        let repo = self.path(app);
        let answer = Git::new(&repo, &["rev-parse", "--verify", "--quiet", "--end-of-options", reference]).answer().await?;
        if answer.code != 0 {
            return Ok(None);
        }
        parse_sha("rev-parse", &answer.stdout).map(Some)
    }

    /// Whether `new` contains `old`, so that a move from `old` to `new` loses nothing. Cancel-safe: yes, reads only.
    pub async fn is_ancestor(&self, app: &AppName, old: &CommitSha, new: &CommitSha) -> Result<bool, GitError> {
        let repo = self.path(app);
        let answer = Git::new(&repo, &["merge-base", "--is-ancestor", old.as_str(), new.as_str()]).answer().await?;
        match answer.code {
            0 => Ok(true),
            1 => Ok(false),
            code => Err(GitError::Failed { act: "merge-base --is-ancestor".to_owned(), code, stderr: answer.stderr }),
        }
    }

    /// Packs what many pushes left and drops objects that no ref, pin or push of the last day needs. Safe beside pushes and deploys: an object
    /// that just arrived and is not pinned yet is young, and young ones are kept. Cancel-safe: yes, git is killed and can begin again.
    pub async fn maintain(&self, app: &AppName) -> Result<(), GitError> {
        let repo = self.path(app);
        let gc = ["-c", "pack.threads=1", "-c", "pack.windowMemory=128m", "gc", "--quiet", "--prune=24.hours.ago"];
        Git::new(&repo, &gc).within(MAINTENANCE_DEADLINE).output().await.map(drop)
    }

    /// How many packs the repository has: each push brings one.
    pub fn packs(&self, app: &AppName) -> usize {
        self.pack_files(app).count()
    }

    /// Bytes of all packs: what [`Repos::maintain`] may need beside them for a while.
    pub fn pack_bytes(&self, app: &AppName) -> u64 {
        self.pack_files(app).filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }

    fn pack_files(&self, app: &AppName) -> impl Iterator<Item = fs::DirEntry> {
        let entries = fs::read_dir(self.path(app).join("objects/pack")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"))
    }

    /// Says whether an id names a commit that is whole here; a tag, a tree or a missing object is [`GitError::NotACommit`].
    pub async fn require_commit(&self, app: &AppName, commit: &CommitSha) -> Result<(), GitError> {
        let repo = self.path(app);
        let answer = Git::new(&repo, &["cat-file", "-t", commit.as_str()]).answer().await?;
        if answer.code == 0 && answer.stdout.trim_ascii_end() == b"commit" {
            return Ok(());
        }
        Err(GitError::NotACommit { app: app.clone(), commit: commit.clone() })
    }

    /// One that is at `new` already is fine, so that a step can be done again after a crash.
    async fn move_ref(&self, app: &AppName, reference: &str, by: &Move) -> Result<(), GitError> {
        let (repo, Move { old, new }) = (self.path(app), by);
        let zero = "0".repeat(old.as_ref().or(new.as_ref()).map_or(0, |commit| commit.as_str().len()));
        let expected = old.as_ref().map_or(zero.as_str(), CommitSha::as_str);
        let moved = match new {
            Some(new) => Git::new(&repo, &["update-ref", reference, new.as_str(), expected]).output().await,
            None => Git::new(&repo, &["update-ref", "-d", reference, expected]).output().await,
        };
        if let Err(error) = moved {
            let found = self.at(app, reference).await?;
            if found != *new {
                return Err(if found == *old { error } else { elsewhere(app, reference, by, found) });
            }
        }
        self.sync_refs(app, if reference.starts_with("refs/tags/") { "tags" } else { "heads" }).await
    }

    /// git syncs the packs it receives, not the folders that name them; without this a power cut can forget a whole push.
    async fn sync_objects(&self, app: &AppName) -> Result<(), GitError> {
        let objects = self.path(app).join("objects");
        sync_dirs(vec![objects.join("pack"), objects]).await
    }

    async fn sync_refs(&self, app: &AppName, under: &str) -> Result<(), GitError> {
        let refs = self.path(app).join("refs");
        let mut folders = vec![refs.join(under)];
        if let Some(parent) = Path::new(under).parent().filter(|parent| !parent.as_os_str().is_empty()) {
            folders.push(refs.join(parent));
        }
        folders.push(refs);
        sync_dirs(folders).await
    }
}

fn elsewhere(app: &AppName, reference: &str, by: &Move, found: Option<CommitSha>) -> GitError {
    GitError::Moved { app: app.clone(), reference: reference.to_owned(), expected: by.old.clone(), found }
}

fn pin_name(deploy: DeployId) -> String {
    format!("refs/paas/deploys/{deploy}")
}

fn branch_ref(branch: &BranchName) -> String {
    format!("refs/heads/{branch}")
}

pub(super) fn parse_sha(act: &'static str, stdout: &[u8]) -> Result<CommitSha, GitError> {
    let text = String::from_utf8_lossy(stdout.trim_ascii_end());
    CommitSha::parse(&text).map_err(|_| GitError::Odd { act, found: text.chars().take(80).collect() })
}

/// fsync of folders, the deepest given first. One that is gone (git removes empty ones) has nothing to say.
async fn sync_dirs(folders: Vec<std::path::PathBuf>) -> Result<(), GitError> {
    let synced = tokio::task::spawn_blocking(move || {
        for path in folders {
            sync_tree(&path).map_err(|source| GitError::Folder { act: "syncing", path, source })?;
        }
        Ok(())
    });
    synced.await.expect("syncing a folder does not panic")
}

/// A branch name may hold `/`, so `heads` has folders below it. Object folders of two digits are left out: pushes arrive as packs.
fn sync_tree(path: &Path) -> io::Result<()> {
    let listed = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    if !path.ends_with("objects") && !path.ends_with("refs") {
        for entry in listed {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                sync_tree(&entry.path())?;
            }
        }
    }
    File::open(path)?.sync_all()
}
