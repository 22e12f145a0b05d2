use super::*;

fn reason(argv: &[&str]) -> EndReport {
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    match start(&argv) {
        Ok(_) => panic!("{argv:?} was started"),
        Err(report) => report,
    }
}

#[test]
fn a_program_that_cannot_be_started_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").expect("write");
    let script = script.to_str().expect("utf-8");

    let plain = reason(&[script]);
    assert_eq!(plain.code, Some(126));
    assert!(plain.reason.expect("reason").contains("not executable"));

    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    assert!(reason(&[script]).reason.expect("reason").contains("interpreter"));
    let missing = reason(&["no-such-program-here"]);
    assert_eq!(missing.code, Some(127));
    assert_eq!(
        missing.reason.as_deref(),
        Some("`no-such-program-here` could not be started: there is no such program in the image")
    );
    assert!(reason(&[]).summary().contains("no command was given"));
}
