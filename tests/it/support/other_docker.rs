//! A dockerd of another version: that of the other Debian release, unpacked and not installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cli::run;

/// The machine's dockerd and one of another version.
pub struct Dockerds {
    pub older: PathBuf,
    pub newer: PathBuf,
    _folder: tempfile::TempDir,
}

/// Fetches the package `docker.io` of the Debian release (12 or 13) that this machine is not.
pub fn two_dockerds() -> Dockerds {
    let folder = tempfile::Builder::new().prefix("pt-dockerd-").tempdir_in("/tmp").expect("/tmp can be written");
    let at = folder.path();
    let here = std::fs::read_to_string("/etc/os-release").expect("Debian says which release it is");
    let other = if here.contains("VERSION_ID=\"12\"") { "trixie" } else { "bookworm" };
    for part in ["lists/partial", "cache/archives/partial", "root"] {
        std::fs::create_dir_all(at.join(part)).expect("a folder can be made");
    }
    let source = format!("deb {} {other} main\n", mirror());
    std::fs::write(at.join("sources.list"), source).expect("a file can be written");
    // The machine's own lists and settings stay as they are.
    let settings = format!(
        "Dir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"-\";\nDir::State::lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}/cache\";\nAPT::Sandbox::User \"root\";\n",
        dir = at.display(),
    );
    std::fs::write(at.join("apt.conf"), settings).expect("a file can be written");
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("APT_CONFIG", at.join("apt.conf")).current_dir(at);
        run(&mut command, b"", Duration::from_secs(180)).ok();
    };
    apt(&["update", "-q"]);
    apt(&["download", "docker.io"]);
    let package = std::fs::read_dir(at).expect("the folder is there").flatten().map(|e| e.path());
    let package = package.filter(|p| p.extension().is_some_and(|e| e == "deb")).last().expect("a package was fetched");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(at.join("root")), b"", Duration::from_secs(60)).ok();
    let (own, fetched) = (PathBuf::from("dockerd"), at.join("root/usr/sbin/dockerd"));
    let (older, newer) = if major(&own) < major(&fetched) { (own, fetched) } else { (fetched, own) };
    assert!(major(&older) < major(&newer), "both releases have the same dockerd");
    Dockerds { older, newer, _folder: folder }
}

/// The mirror that this machine installs from.
fn mirror() -> String {
    let files = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let text: String = files.iter().filter_map(|f| std::fs::read_to_string(f).ok()).collect();
    let mut words = text.split_whitespace();
    let found = words.find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"));
    found.expect("the machine's apt sources name a Debian mirror").to_owned()
}

fn major(program: &Path) -> u32 {
    let said = run(Command::new(program).arg("--version"), b"", Duration::from_secs(20)).ok().out;
    let number = said.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no version in {said:?}"))
}
