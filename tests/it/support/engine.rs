//! What Docker has of one installation, asked through Docker's own command line: an independent witness.

use std::process::Command;
use std::time::Duration;

use super::cli::{Done, run};

pub fn docker(args: &[&str]) -> Done {
    run(Command::new("docker").args(args), b"", Duration::from_secs(60))
}

/// The objects of the installation `install`, as lines `kind name`.
pub fn objects(install: &str) -> Vec<String> {
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
pub fn clear(install: &str) {
    for object in objects(install) {
        let Some((kind, name)) = object.split_once(' ') else { continue };
        drop(match kind {
            "container" => docker(&["rm", "-f", name]),
            "network" => docker(&["network", "rm", name]),
            "volume" => docker(&["volume", "rm", name]),
            _ => docker(&["rmi", "-f", name]),
        });
    }
}
