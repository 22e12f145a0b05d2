//! Tells the code which commit it was built from: `PAAS_COMMIT` of the environment, else git's HEAD, else `unknown`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=PAAS_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("PAAS_COMMIT").ok().filter(|c| !c.trim().is_empty());
    let commit = given.or_else(|| git(&["rev-parse", "HEAD"])).unwrap_or_else(|| "unknown".to_owned());
    // The reflog of HEAD changes with every commit and checkout, in a worktree too.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|path| std::path::Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    println!("cargo:rustc-env=PAAS_COMMIT={}", commit.trim());
}

/// What git prints on one line; none without git, outside a repository, or in a repository that isn't this package's own.
fn git(arguments: &[&str]) -> Option<String> {
    let run = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let top = run(&["rev-parse", "--show-toplevel"])?;
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    if std::fs::canonicalize(top).ok()? != std::fs::canonicalize(here).ok()? {
        return None;
    }
    run(arguments)
}
