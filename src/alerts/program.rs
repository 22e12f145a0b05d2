//! `exec`: a program of the administrator's, started without a shell; the message is its standard input.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A program that takes longer is ended, and counts as failed.
const LIMIT: Duration = Duration::from_secs(30);
/// What it may find by name.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of its complaint is kept, in bytes.
const COMPLAINT: u64 = 400;

/// Runs `argv` with `body` and a line end on stdin. An exit code of 0 is a delivery. Cancel-safe: the program is killed when this is dropped.
pub async fn run(argv: &[String], body: &str) -> Result<(), String> {
    let Some((program, args)) = argv.split_first() else { return Err("no program is named".to_owned()) };
    let mut command = Command::new(program);
    // Nothing of the daemon's own surroundings, such as its sockets, is the program's business.
    command.args(args).env_clear().env("PATH", PATH).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| format!("starting `{program}`: {e}"))?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let talking = async {
        if let Some(mut stdin) = stdin {
            // One that does not read its input may still have done its work: its exit code says so.
            let _ = stdin.write_all(format!("{body}\n").as_bytes()).await;
        }
        let mut complaint = Vec::new();
        if let Some(stderr) = stderr {
            let mut stderr = stderr;
            let _ = (&mut stderr).take(COMPLAINT).read_to_end(&mut complaint).await;
            // The rest is read too: a full pipe would stop it.
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        (child.wait().await, complaint)
    };
    let (ended, complaint) =
        tokio::time::timeout(LIMIT, talking).await.map_err(|_| format!("`{program}` took longer than {} s", LIMIT.as_secs()))?;
    let ended = ended.map_err(|e| format!("waiting for `{program}`: {e}"))?;
    if ended.success() {
        return Ok(());
    }
    let last = String::from_utf8_lossy(&complaint);
    Err(format!("`{program}` ended with {ended}: {}", last.lines().next_back().unwrap_or("it said nothing").escape_debug()))
}
