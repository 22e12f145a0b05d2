//! Running the `git` program: argv only, an environment of ours, a process group of its own, a deadline, bounded output.

use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::GitError;

/// Long enough for any question to a big repository on a busy disk; maintenance and archives have their own.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// Answers that we parse are short; a listing of a big tree has its own limit.
pub(super) const OUTPUT_LIMIT: usize = 1 << 20;
/// How long a git that is beyond its deadline may take to clean up; one whose disk hangs does not get to it, and is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How much of git's complaint goes into our error.
const STDERR_LIMIT: usize = 4 << 10;

/// What git said, when its exit code is for the caller to judge.
pub(super) struct Answer {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// One call of git in a repository.
pub(super) struct Git<'a> {
    repo: &'a Path,
    args: Vec<&'a str>,
    deadline: Duration,
    limit: usize,
}

/// A running git whose whole process group dies with this value.
pub(super) struct Running {
    pub child: Child,
    group: Option<Pid>,
}

impl<'a> Git<'a> {
    pub fn new(repo: &'a Path, args: &[&'a str]) -> Self {
        Self { repo, args: args.to_vec(), deadline: DEADLINE, limit: OUTPUT_LIMIT }
    }

    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub fn at_most(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Runs to the end; gives stdout, or the error that git's exit code means. Cancel-safe: dropping it kills git.
    pub async fn output(self) -> Result<Vec<u8>, GitError> {
        let act = self.act();
        let answer = self.answer().await?;
        if answer.code != 0 {
            return Err(GitError::Failed { act, code: answer.code, stderr: answer.stderr });
        }
        Ok(answer.stdout)
    }

    /// Runs to the end and leaves the exit code to the caller. Cancel-safe: dropping it kills git.
    pub async fn answer(self) -> Result<Answer, GitError> {
        let (act, deadline, limit) = (self.act(), self.deadline, self.limit);
        let mut running = self.spawn()?;
        let group = running.group;
        let stdout = running.child.stdout.take().expect("stdout is piped");
        let stderr = running.child.stderr.take().expect("stderr is piped");
        let mut whole = pin!(async {
            let (out, err) = tokio::join!(read_bounded(stdout, limit), read_bounded(stderr, STDERR_LIMIT));
            (out, err, running.end().await)
        });
        let Ok((out, err, status)) = tokio::time::timeout(deadline, whole.as_mut()).await else {
            // It takes its lock files along at a SIGTERM. At a SIGKILL they would stay, and no ref of that name would move until the next start.
            if let Some(group) = group {
                let _ = killpg(group, Signal::SIGTERM);
            }
            let _ = tokio::time::timeout(GRACE, whole).await;
            return Err(GitError::TimedOut { act, after: deadline });
        };
        let status = status.map_err(|source| GitError::Spawn { act: act.clone(), source })?;
        let (stdout, whole) = out.map_err(|source| GitError::Spawn { act: act.clone(), source })?;
        if !whole {
            return Err(GitError::TooMuch { act, limit });
        }
        let (stderr, _) = err.map_err(|source| GitError::Spawn { act, source })?;
        Ok(Answer { code: status.code().unwrap_or(-1), stdout, stderr: one_line(&stderr) })
    }

    /// Starts git with both outputs piped.
    pub fn spawn(&self) -> Result<Running, GitError> {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(self.repo).args(&self.args);
        command.env_clear().envs(environment(&[]));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|source| GitError::Spawn { act: self.act(), source })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Running { child, group })
    }

    /// The call as errors name it: without the repository and the settings, which say nothing to a reader.
    fn act(&self) -> String {
        let mut words = self.args.iter();
        let mut shown = Vec::new();
        while let Some(word) = words.next() {
            if *word == "-c" {
                words.next();
            } else {
                shown.push(*word);
            }
        }
        shown.join(" ")
    }
}

impl Running {
    /// Waits for the end of git itself. What it may have left in its group is killed when `self` is dropped.
    pub async fn end(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group id stays ours as long as one member lives; if none does the call fails, which is what we want.
        // A reused id is not possible before the leader is reaped, and a leader that was reaped took its group along
        // unless a member is left.
        if let (Some(group), true) = (self.group, self.child.id().is_some()) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Settings for every call of git. More of them go in front of a push, see `session`.
const SETTINGS: &[(&str, &str)] = &[
    // The repository belongs to the daemon's user; root and the login user work in it too.
    ("safe.directory", "*"),
    ("core.attributesFile", "/dev/null"),
    // What a session receives and what a ref says must survive a power cut.
    ("core.fsync", "committed,loose-object,reference"),
    ("core.fsyncMethod", "fsync"),
    // Collecting is the daemon's own work, at a time of its choice.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];

/// The whole environment that git gets from us, with `more` settings: no config but the repository's own, which only the daemon can write,
/// and these lines.
pub fn environment(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let fixed = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("HOME", "/nonexistent"),
        ("XDG_CONFIG_HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        // A path we give is a path, never a pattern.
        ("GIT_LITERAL_PATHSPECS", "1"),
        // A repository never fetches from anywhere by itself (submodules, promised objects).
        ("GIT_ALLOW_PROTOCOL", "none"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
    ];
    let mut all: Vec<(String, String)> = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.push(("GIT_CONFIG_COUNT".to_owned(), (SETTINGS.len() + more.len()).to_string()));
    for (n, (key, value)) in SETTINGS.iter().chain(more).enumerate() {
        all.push((format!("GIT_CONFIG_KEY_{n}"), (*key).to_owned()));
        all.push((format!("GIT_CONFIG_VALUE_{n}"), (*value).to_owned()));
    }
    all
}

/// Reads to the end, keeps at most `limit` bytes and says whether that was all. What is beyond is read and dropped, so git never blocks on us.
pub(super) async fn read_bounded(mut from: impl AsyncRead + Unpin, limit: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let limit_u64 = u64::try_from(limit).unwrap_or(u64::MAX);
    (&mut from).take(limit_u64).read_to_end(&mut kept).await?;
    let beyond = tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok((kept, beyond == 0))
}

/// git's complaint as one line without control characters.
pub(super) fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let parts: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    parts.join("; ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
