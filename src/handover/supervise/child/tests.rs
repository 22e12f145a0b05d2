use super::*;

fn role() -> Role {
    Role {
        name: "proxy".to_owned(),
        argv: Vec::new(),
        user: None,
        hands_over: true,
        keep_sys_admin: false,
        one_heap: false,
        sockets: Vec::new(),
        ready_limit: Duration::from_secs(1),
    }
}

fn sleeper() -> (std::process::Child, Pid) {
    let child = Command::new("sleep").arg("1000").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a child");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    (child, pid)
}

#[test]
fn a_role_can_name_no_process_that_is_not_ours_or_is_another_roles() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mut running = Running::new(role(), folder.path(), Duration::ZERO).expect("a role");
    let (mut first, old) = sleeper();
    let (mut second, new) = sleeper();
    running.child = Some(old);
    let say =
        |running: &mut Running, pid: Pid, taken: &[Pid]| running.told(format!("MAINPID={pid}\n").as_bytes(), Vec::new(), taken);
    say(&mut running, Pid::from_raw(1), &[old]);
    assert_eq!(running.child, Some(old), "nobody's child of ours");
    say(&mut running, new, &[old, new]);
    assert_eq!(running.child, Some(old), "another role's process");
    say(&mut running, new, &[old]);
    assert_eq!((running.child, running.older.as_slice()), (Some(new), &[old][..]));
    for child in [&mut first, &mut second] {
        child.kill().expect("killed");
        child.wait().expect("its end");
    }
}

#[test]
fn one_that_does_not_get_ready_is_killed_and_those_before_it_are_not() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mut running = Running::new(role(), folder.path(), Duration::ZERO).expect("a role");
    let (mut leaving, older) = sleeper();
    let (mut hangs, pid) = sleeper();
    (running.child, running.state, running.older) = (Some(pid), State::Starting, vec![older]);
    running.started = Instant::now().checked_sub(Duration::from_secs(2)).expect("the clock is older");
    running.start_if_due(&Place { exe: std::path::Path::new("/nonexistent"), log_dir: None });
    assert!(!hangs.wait().expect("its end").success());
    assert!(leaving.try_wait().expect("looked at").is_none(), "one that finishes its streams was killed");
    leaving.kill().expect("killed");
    leaving.wait().expect("its end");
}
