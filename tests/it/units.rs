//! The units of systemd are sound, and each process has the exposure that docs/security.md promises.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::run;

/// The highest exposure that `systemd-analyze security` may give, and why it is not lower, stands in docs/security.md.
const EXPOSURE: &[(&str, &str)] =
    &[("paas-proxy.service", "2.0"), ("paas-daemon.service", "2.5"), ("paas-dialer.service", "3.0")];

/// The units with a binary that exists on every machine: systemd-analyze looks whether it is there.
fn units() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let mut copied = Vec::new();
    for path in std::fs::read_dir(&source).expect("systemd/ can be read").flatten().map(|e| e.path()) {
        if path.extension().is_some_and(|e| e == "service" || e == "socket" || e == "target") {
            let text = std::fs::read_to_string(&path).expect("a unit can be read").replace("/usr/local/bin/paas", "/bin/true");
            let to = folder.path().join(path.file_name().expect("a file has a name"));
            std::fs::write(&to, text).expect("a unit can be written");
            copied.push(to);
        }
    }
    assert!(copied.len() >= 8, "units are missing: {copied:?}");
    (folder, copied)
}

fn analyze(folder: &Path, args: &[&str]) -> crate::support::Done {
    let path = format!("{}:", folder.display());
    run(Command::new("systemd-analyze").args(args).env("SYSTEMD_UNIT_PATH", path), b"", Duration::from_secs(60))
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    let (folder, units) = units();
    let names: Vec<&str> = units.iter().filter_map(|u| u.to_str()).collect();

    let done = analyze(folder.path(), &[&["verify"], names.as_slice()].concat()).ok();

    assert_eq!(done.text().trim(), "", "{done}");
}

#[test]
fn no_process_is_more_exposed_than_promised() {
    let (folder, _) = units();
    for (unit, limit) in EXPOSURE {
        let file = folder.path().join(unit);
        let tenths = format!("{}", (limit.parse::<f64>().expect("a number") * 10.0) as u32);
        let threshold = format!("--threshold={tenths}");
        analyze(folder.path(), &["security", "--offline=true", &threshold, file.to_str().expect("a path of letters")]).ok();
    }
}
