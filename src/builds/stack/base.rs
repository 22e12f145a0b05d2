//! The Debian base image: made by debootstrap as root, from packages alone.

use std::path::Path;
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::builds::error::BuildError;
use crate::builds::lines::{BuildLine, Lines, say};
use crate::config::DebianRelease;
use crate::docker::{Docker, labels};

/// Changes when what `make_base` does to the tree changes.
const RECIPE: &str = "1 minbase ca-certificates user-1000 no-recommends";

/// `paas-stack/debian:13-<hash of the recipe>`. Shared by all installations on an engine.
pub fn base_tag(release: DebianRelease, mirror: &str) -> String {
    let recipe = format!("{RECIPE}\n{}\n{mirror}\n{}", release.codename(), sources(release, mirror));
    format!("paas-stack/debian:{}-{}", release.number(), short_hash(&recipe))
}

/// The first 10 hex digits: enough to tell recipes apart, short enough to read.
pub fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the base image if it is not there (or `anew`), and gives its tag. Needs root, `debootstrap` and `tar`; takes about half a minute.
/// Re-runnable: works in a fresh folder under `scratch`, which it removes.
pub async fn make_base(
    docker: &Docker,
    release: DebianRelease,
    mirror: &str,
    scratch: &Path,
    anew: bool,
    lines: &Lines,
) -> Result<String, BuildError> {
    let tag = base_tag(release, mirror);
    if !anew && docker.image(&tag).await?.is_some() {
        say(lines, BuildLine::step(format!("The base image {tag} is there"))).await;
        return Ok(tag);
    }
    say(lines, BuildLine::step(format!("Making the base image {tag} from Debian packages"))).await;
    let root = scratch.join(format!("debootstrap-{}-{}", release.codename(), std::process::id()));
    let made = make_in(docker, release, mirror, &root, &tag, lines).await;
    // Best effort: a folder that stays is named after us and made anew next time.
    let _ = tokio::fs::remove_dir_all(&root).await;
    made.map(|()| tag)
}

async fn make_in(
    docker: &Docker,
    release: DebianRelease,
    mirror: &str,
    root: &Path,
    tag: &str,
    lines: &Lines,
) -> Result<(), BuildError> {
    let _ = tokio::fs::remove_dir_all(root).await;
    tokio::fs::create_dir_all(root).await.map_err(BuildError::io("making", root))?;
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "--include=ca-certificates", release.codename()]).arg(root).arg(mirror);
    run(command, "debootstrap", lines).await?;
    finish(release, mirror, root).await?;
    say(lines, BuildLine::step("Importing it into the engine")).await;
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--one-file-system", "-c", "."]).current_dir(root);
    let mut child =
        tar.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().map_err(|e| not_started("tar", e))?;
    let out = child.stdout.take().expect("stdout is piped");
    let stream = futures_util::stream::try_unfold(out, |mut out| async move {
        let mut chunk = bytes::BytesMut::with_capacity(256 * 1024);
        let read = out.read_buf(&mut chunk).await?;
        Ok::<_, std::io::Error>((read > 0).then(|| (chunk.freeze(), out)))
    });
    let (repository, version) = tag.split_once(':').expect("a stack tag has a version");
    let changes = vec![
        format!("LABEL {}=debian", labels::STACK),
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive"
            .to_owned(),
        "CMD [\"/bin/sh\"]".to_owned(),
    ];
    docker.import(stream, repository, version, changes).await?;
    let ended = child.wait().await.map_err(|e| not_started("tar", e))?;
    if !ended.success() {
        docker.remove_image(tag).await?;
        return Err(failed("tar", &ended.to_string(), Vec::new()));
    }
    Ok(())
}

/// What makes a tree of packages a base for apps: sources with updates, the user 1000, no package cache.
async fn finish(release: DebianRelease, mirror: &str, root: &Path) -> Result<(), BuildError> {
    let files = [
        ("etc/apt/sources.list", sources(release, mirror)),
        (
            "etc/apt/apt.conf.d/90paas",
            "APT::Install-Recommends \"false\";\nAcquire::Retries \"3\";\nAPT::Sandbox::User \"root\";\n".to_owned(),
        ),
        ("etc/resolv.conf", String::new()),
        ("etc/hostname", "localhost\n".to_owned()),
    ];
    for (name, text) in files {
        let path = root.join(name);
        tokio::fs::write(&path, text).await.map_err(BuildError::io("writing", &path))?;
    }
    for (name, line) in
        [("etc/passwd", "app:x:1000:1000::/app:/bin/sh\n"), ("etc/group", "app:x:1000:\n"), ("etc/shadow", "app:!:19000::::::\n")]
    {
        let path = root.join(name);
        let mut text = tokio::fs::read_to_string(&path).await.map_err(BuildError::io("reading", &path))?;
        text.push_str(line);
        tokio::fs::write(&path, text).await.map_err(BuildError::io("writing", &path))?;
    }
    let app = root.join("app");
    tokio::fs::create_dir_all(&app).await.map_err(BuildError::io("making", &app))?;
    std::os::unix::fs::chown(&app, Some(1000), Some(1000)).map_err(BuildError::io("giving to the app's user", &app))?;
    for folder in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        let path = root.join(folder);
        let _ = tokio::fs::remove_dir_all(&path).await;
        tokio::fs::create_dir_all(path.join("partial")).await.map_err(BuildError::io("making", &path))?;
    }
    Ok(())
}

fn sources(release: DebianRelease, mirror: &str) -> String {
    let (name, mirror) = (release.codename(), mirror.trim_end_matches('/'));
    let mut text = format!("deb {mirror} {name} main\ndeb {mirror} {name}-updates main\n");
    // Debian's own mirrors keep security updates beside the archive; of another mirror nothing is known.
    if let Some(host) = mirror.strip_suffix("/debian") {
        text.push_str(&format!("deb {host}/debian-security {name}-security main\n"));
    }
    text
}

async fn run(mut command: Command, name: &str, lines: &Lines) -> Result<(), BuildError> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let mut child = spawned.map_err(|e| not_started(name, e))?;
    let mut output = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let mut last = std::collections::VecDeque::new();
    while let Ok(Some(line)) = output.next_line().await {
        last.push_back(line.clone());
        if last.len() > 20 {
            last.pop_front();
        }
        say(lines, BuildLine::output(line)).await;
    }
    let ended = child.wait().await.map_err(|e| not_started(name, e))?;
    if ended.success() { Ok(()) } else { Err(failed(name, &ended.to_string(), last.into())) }
}

fn not_started(name: &str, error: std::io::Error) -> BuildError {
    BuildError::Failed {
        message: format!("`{name}` can't be run: {error}"),
        hint: Some(format!("install it: apt-get install {name}")),
        last_lines: Vec::new(),
    }
}

fn failed(name: &str, how: &str, last_lines: Vec<String>) -> BuildError {
    let hint = Some("it needs root, and the Debian mirror of `[stack] mirror` must answer".to_owned());
    BuildError::Failed { message: format!("`{name}` did not work ({how})"), hint, last_lines }
}
