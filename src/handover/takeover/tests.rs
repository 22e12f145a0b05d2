//! The words between an old process and its successor, each side against one that says them as it likes.

use std::os::unix::process::CommandExt;
use std::thread::JoinHandle;

use super::*;

const SOON: Duration = Duration::from_secs(5);

/// A successor that is ready, and its end of the line. It is a process in a group of its own that has started another one.
fn successor() -> (Successor, UnixStream, std::process::Child) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "sleep 1000 & wait"]).process_group(0);
    // Whoever reads what the tests say must not wait for it.
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a child");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    (Successor { pid, line: BufReader::new(ours), going: false }, theirs, child)
}

/// What the new process makes of the line on which the old one answers "ready" with `word`, or with its end.
fn told(word: Option<&'static str>) -> (io::Result<()>, Vec<String>) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let old: JoinHandle<Vec<String>> = std::thread::spawn(move || {
        let mut line = BufReader::new(theirs);
        let mut heard = vec![String::new()];
        line.read_line(&mut heard[0]).expect("a word");
        // It must not go on by itself meanwhile.
        line.get_ref().set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        assert!(line.read_line(&mut String::new()).is_err(), "it did not wait");
        if let Some(word) = word {
            line.get_mut().write_all(word.as_bytes()).expect("said");
            heard.push(String::new());
            line.get_ref().set_read_timeout(Some(SOON)).expect("a timeout");
            let _ = line.read_line(&mut heard[1]);
        }
        heard
    });
    let ready = Predecessor::new(ours.into()).ready();
    (ready, old.join().expect("the old process"))
}

#[test]
fn a_new_process_begins_when_it_is_told_to_and_at_nothing_else() {
    let (ready, heard) = told(Some("go\n"));
    assert!(ready.is_ok() && heard == ["ready\n", "going\n"], "{ready:?} {heard:?}");
    for other in [Some("stay\n"), Some("go"), None] {
        if other == Some("go") {
            // Half a word and the end.
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            theirs.write_all(b"go").expect("said");
            theirs.shutdown(std::net::Shutdown::Write).expect("ended");
            assert!(Predecessor::new(ours.into()).ready().is_err());
            continue;
        }
        assert!(told(other).0.is_err(), "{other:?}");
    }
}

#[test]
fn a_go_counts_when_the_successor_says_that_it_goes() {
    for (word, taken) in [(Some("going\n"), true), (None, false)] {
        let (successor, mut theirs, mut child) = successor();
        let new = std::thread::spawn(move || {
            let mut heard = [0; 3];
            io::Read::read_exact(&mut theirs, &mut heard).expect("a word");
            if let Some(word) = word {
                theirs.write_all(word.as_bytes()).expect("said");
            }
            heard
        });
        let pid = successor.pid();
        let gone = successor.go();
        assert_eq!((gone.is_ok(), &new.join().expect("the new process")), (taken, b"go\n"), "{gone:?}");
        assert!(child.try_wait().expect("its state").is_none(), "from its go on it is not ours to kill");
        killpg(pid, Signal::SIGKILL).expect("killed");
        child.wait().expect("its end");
    }
}

#[test]
fn one_that_is_given_up_is_killed_with_what_it_started() {
    let (successor, _line, mut child) = successor();
    let group = successor.pid();
    drop(successor);
    let end = Instant::now() + SOON;
    while child.try_wait().expect("its state").is_none() {
        assert!(Instant::now() < end, "it lives");
        std::thread::sleep(Duration::from_millis(10));
    }
    while lives(group) {
        assert!(Instant::now() < end, "what it started lives");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the group has a process; one that waits to be reaped is none.
fn lives(group: Pid) -> bool {
    let entries = std::fs::read_dir("/proc").expect("the processes");
    let mut stats = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats.any(|stat| {
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        words.next() != Some("Z") && words.nth(1) == Some(group.to_string().as_str())
    })
}

#[test]
fn one_that_says_nothing_is_waited_for_as_long_as_was_said() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let (begun, limit) = (Instant::now(), Duration::from_millis(200));
    let waiting = std::thread::spawn(move || hear(&mut BufReader::new(ours), begun + limit, limit));
    std::thread::sleep(limit + Duration::from_millis(500));
    let in_time = waiting.is_finished();
    drop(theirs);
    let heard = waiting.join().expect("no panic");
    assert!(in_time && matches!(heard, Err(TakeoverError::NotReady(_))), "{heard:?}");
}
