//! What Docker has of one installation, asked through Docker's own command line: an independent witness.

use std::process::Command;
use std::time::Duration;

use super::cli::{Done, run};

/// The engine that tests share.
pub const SHARED: &str = "unix:///var/run/docker.sock";

pub fn docker(args: &[&str]) -> Done {
    docker_at(SHARED, args)
}

/// Docker's command line against the engine at `host`.
pub fn docker_at(host: &str, args: &[&str]) -> Done {
    run(Command::new("docker").env("DOCKER_HOST", host).args(args), b"", Duration::from_secs(60))
}

/// The objects of the installation `install` on the engine at `host`, as lines `kind name`.
pub fn objects(host: &str, install: &str) -> Vec<String> {
    let docker = |args: &[&str]| docker_at(host, args);
    let label = format!("label=paas.install={install}");
    let mut all = Vec::new();
    for (kind, args) in [
        ("container", vec!["ps", "-a", "--format", "{{.Names}}", "--filter", &label]),
        ("network", vec!["network", "ls", "--format", "{{.Name}}", "--filter", &label]),
        ("image", vec!["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &label]),
        ("volume", vec!["volume", "ls", "--format", "{{.Name}}", "--filter", &label]),
    ] {
        all.extend(docker(&args).out.lines().map(|name| format!("{kind} {name}")));
    }
    // An image that lost its label is still named by the installation.
    let short = &install[..install.len().min(8)];
    let named = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", &format!("paas-{short}/*")]);
    all.extend(named.out.lines().map(|name| format!("image {name}")));
    all.sort();
    all.dedup();
    all
}

/// Takes away what a failed test left, so that the next one starts clean.
pub fn clear(host: &str, install: &str) {
    let docker = |args: &[&str]| docker_at(host, args);
    for object in objects(host, install) {
        let Some((kind, name)) = object.split_once(' ') else { continue };
        drop(match kind {
            "container" => docker(&["rm", "-f", name]),
            "network" => docker(&["network", "rm", name]),
            "volume" => docker(&["volume", "rm", name]),
            _ => docker(&["rmi", "-f", name]),
        });
    }
}
