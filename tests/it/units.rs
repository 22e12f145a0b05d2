//! The units of systemd are sound, and each process has the exposure that docs/security.md promises.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::run;

/// The highest exposure that `systemd-analyze security` may give, and why it is not lower, stands in docs/security.md.
pub const EXPOSURE: &[(&str, &str)] =
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

#[test]
fn every_exposure_has_its_reason_in_the_docs() {
    let (folder, _) = units();
    for (unit, _) in EXPOSURE {
        let file = folder.path().join(unit);
        let done =
            analyze(folder.path(), &["security", "--offline=true", "--json=short", file.to_str().expect("a path of letters")]);
        assert_eq!(
            unexplained(unit, &done.ok().json()),
            Vec::<String>::new(),
            "docs/security.md gives no reason for these of {unit}"
        );
    }
}

/// The findings of `systemd-analyze security --json` that make `unit` more exposed, and that docs/security.md does not explain: in the list
/// of all units, or in that of this one.
pub fn unexplained(unit: &str, findings: &serde_json::Value) -> Vec<String> {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md"))
        .expect("docs/security.md can be read");
    let section = |name: &str| {
        let after = docs.split_once(&format!("### {name}\n")).map(|(_, after)| after).unwrap_or_default();
        after.split("\n#").next().unwrap_or_default().to_owned()
    };
    let explained = section("All units") + &section(unit.trim_end_matches(".service"));
    let exposes =
        |finding: &&serde_json::Value| finding["exposure"].as_str().is_some_and(|e| e.parse::<f64>().is_ok_and(|e| e > 0.0));
    let findings = findings.as_array().expect("a list of findings");
    assert!(findings.len() > 50, "systemd-analyze judges many settings: {findings:?}");
    let names = findings.iter().filter(exposes).map(|f| f["json_field"].as_str().unwrap_or_default().to_owned());
    names.filter(|name| !explained.contains(&format!("`{name}`"))).collect()
}
