//! Starting git for a push or a fetch, inside limits.

use std::io::IsTerminal;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::{REFUSED, UNREACHABLE, door, pump, say};
use crate::api::client::ClientError;
use crate::api::types::git::{GitService, Session, SessionRequest};
use crate::base::clock::UnixMillis;
use crate::base::crash;
use crate::config::HostConfig;
use crate::git;
use crate::names::{AppName, KeyId};

/// The names of what the hook needs to know, see `proc_receive`.
pub(super) const ENV_CONFIG: &str = "PAAS_CONFIG";
pub(super) const ENV_KEY: &str = "PAAS_KEY";
pub(super) const ENV_APP: &str = "PAAS_APP";
/// When the session began, in milliseconds since 1970: the hook tells the pusher how long the receiving took.
pub(super) const ENV_BEGAN: &str = "PAAS_SESSION_BEGAN";

/// The daemon answers from memory and its store; it may have to make a repository.
const ASK_DEADLINE: Duration = Duration::from_secs(15);
/// Before a daemon whose connection broke is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Address space of each git process. A pack is mapped in windows and a large blob is streamed; only a delta bomb needs more.
const MEMORY: u64 = 4 << 30;
/// Seconds of CPU of each git process: a gigabyte of deltas takes a few minutes.
const CPU_SECONDS: u64 = 30 * 60;

/// Old commits of real projects have these flaws, and they harm nobody. Everything else that fsck finds refuses the push: names such as `..`
/// and `.git` in trees, hostile `.gitmodules`, damaged objects.
const HARMLESS: &[&str] = &[
    "zeroPaddedFilemode",
    "zeroPaddedDate",
    "badTimezone",
    "badDateOverflow",
    "badEmail",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeEmail",
    "missingSpaceBeforeDate",
    "badName",
    "missingTaggerEntry",
    "badTagName",
];

/// Asks the daemon whether the key may, and runs git with this process's stdin and stdout. Gives git's exit code.
pub(super) fn run(config: &HostConfig, key: KeyId, service: GitService, app: &AppName) -> ExitCode {
    if std::io::stdin().is_terminal() || std::io::stdout().is_terminal() {
        return say::refuse(
            REFUSED,
            "git can't talk over a terminal",
            Some("leave out `-t`: git push does the right thing by itself"),
        );
    }
    crash::point(crash::Point::SessionStarted);
    let session = match ask(config, key, service, app) {
        Ok(session) => session,
        Err(error) => {
            let code = if matches!(error, ClientError::Refused(_)) { REFUSED } else { UNREACHABLE };
            return say::refuse(code, &error.to_string(), error.hint());
        }
    };
    crash::point(crash::Point::SessionAuthorised);
    if session.created {
        say::line(&format!("-----> App {app} is created"));
    }
    if let Err(errno) = limit(session.push_bytes) {
        return say::refuse(REFUSED, &format!("setting the limits of git: {errno}"), None);
    }
    let receiving = (service == GitService::ReceivePack).then(|| git::incoming::receive(config, &session.repo));
    let code = pump::run(command(config, key, service, app, &session));
    drop(receiving);
    code
}

fn ask(config: &HostConfig, key: KeyId, service: GitService, app: &AppName) -> Result<Session, ClientError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread can be made");
    let request = SessionRequest { app: app.clone(), service };
    let mut last = ClientError::Broken { act: "asking for a session".to_owned(), why: "no answer in time".to_owned() };
    // Asking twice is asking once: a daemon that was restarted in the middle is asked again. One that is not there is told at once.
    let asking = async {
        loop {
            match door(config, key).git_session(&request).await {
                Err(error @ ClientError::Broken { .. }) => last = error,
                answer => return answer,
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    let answer = runtime.block_on(async { tokio::time::timeout(ASK_DEADLINE, asking).await });
    answer.unwrap_or(Err(last))
}

/// Limits for this process and what it starts.
fn limit(push_bytes: u64) -> nix::Result<()> {
    // A thin pack grows when its bases are added; the real limit is receive.maxInputSize, which has a clear message.
    let file = push_bytes.saturating_mul(2).saturating_add(64 << 20);
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, file),
        (Resource::RLIMIT_AS, MEMORY),
        (Resource::RLIMIT_CPU, CPU_SECONDS),
    ] {
        setrlimit(resource, most, most)?;
    }
    // git widens what it must share; see git/repos.rs.
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

fn command(config: &HostConfig, key: KeyId, service: GitService, app: &AppName, session: &Session) -> Command {
    let hooks = session.hooks.to_string_lossy();
    let most = session.push_bytes.to_string();
    let mut settings = vec![
        ("core.hooksPath", hooks.as_ref()),
        // Pins are nobody's business, and nobody's to push to.
        ("transfer.hideRefs", "refs/paas"),
        ("core.bigFileThreshold", "32m"),
        ("core.packedGitWindowSize", "64m"),
        ("core.packedGitLimit", "1g"),
        ("pack.windowMemory", "128m"),
        ("pack.threads", "2"),
    ];
    let fsck: Vec<String> = HARMLESS.iter().map(|flaw| format!("receive.fsck.{flaw}")).collect();
    let verb = match service {
        GitService::UploadPack => "upload-pack",
        GitService::ReceivePack => {
            settings.extend([
                // Every ref goes to our hook; without the hook nothing moves.
                ("receive.procReceiveRefs", "refs"),
                ("receive.maxInputSize", most.as_str()),
                ("receive.advertisePushOptions", "true"),
                ("receive.autogc", "false"),
                // A push stays one pack: one file to sync, and no flood of small files.
                ("receive.unpackLimit", "1"),
                ("transfer.fsckObjects", "true"),
            ]);
            settings.extend(fsck.iter().map(|key| (key.as_str(), "ignore")));
            "receive-pack"
        }
    };
    let mut command = Command::new("git");
    command.arg(verb).arg(&session.repo).current_dir("/").env_clear().envs(git::environment(&settings));
    command.env(ENV_CONFIG, &config.file).env(ENV_KEY, key.to_string()).env(ENV_APP, app.as_str());
    command.env(ENV_BEGAN, UnixMillis::now().0.to_string());
    if let Some(folder) = std::env::var_os("PAAS_CRASH_DIR") {
        command.env("PAAS_CRASH_DIR", folder);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}
