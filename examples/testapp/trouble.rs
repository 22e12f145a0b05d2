//! What apps do that their neighbours must not feel: each by a path of its own.
//!
//! `/eat?mb=N` touches memory · `/hang` answers, and nothing is ever answered after it · `/dump?kib=N&from=N&to=N` leaves crash files and dies · `/fork` starts
//! processes and threads without end · `/fill?mb=N` writes to its own file system · `/flood?ms=N` logs without end for so long.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Request;

static HANGS: AtomicBool = AtomicBool::new(false);

pub fn hang_if_told() {
    while HANGS.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Makes the trouble that the path names; gives what is answered.
pub fn make(request: &Request) -> String {
    let mebibytes = request.query("mb", 64) as usize;
    match request.target.split('?').next().unwrap_or("/") {
        "/eat" => {
            let mut eaten = vec![0u8; mebibytes << 20];
            eaten.iter_mut().step_by(4096).for_each(|b| *b = 1);
            format!("ate {}\n", eaten.len())
        }
        "/hang" => {
            HANGS.store(true, Ordering::SeqCst);
            "hangs from now on\n".into()
        }
        "/dump" => {
            let padding = " ".repeat((request.query("kib", 0) << 10) as usize);
            let _ = std::fs::write("/erl_crash.dump", format!("slogan: out of luck\n{padding}"));
            for n in request.query("from", 1)..=request.query("to", 0) {
                let _ = std::fs::write(format!("/core.a{n}"), format!("core {n}\n"));
            }
            // A name that is asked for, on something that is none of the app's.
            let _ = std::os::unix::fs::symlink("/proc/1/environ", "/core");
            let _ = std::os::unix::fs::symlink("/etc/hostname", "/core.77");
            std::process::exit(134);
        }
        "/fork" => {
            let _ = std::thread::Builder::new().spawn(fork_for_ever);
            "forks\n".into()
        }
        "/fill" => fill(mebibytes).map_or_else(|e| format!("{e}\n"), |()| "filled\n".into()),
        _ => {
            let until = Instant::now() + Duration::from_millis(request.query("ms", 1000));
            let _ = std::thread::Builder::new().spawn(move || {
                while Instant::now() < until {
                    println!("{}", "noise ".repeat(10));
                }
            });
            "floods\n".into()
        }
    }
}

fn fork_for_ever() {
    let exe = std::env::current_exe().unwrap_or_else(|_| "/testapp".into());
    loop {
        let child = Command::new(&exe).arg("idle").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let thread = std::thread::Builder::new().spawn(|| std::thread::sleep(Duration::from_secs(3600)));
        if child.is_err() && thread.is_err() {
            // As quickly as a real bomb would, but for one breath.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub fn fill_or_exit(mebibytes: usize) {
    if let Err(e) = fill(mebibytes) {
        eprintln!("writing {mebibytes} MiB: {e}");
        std::process::exit(1);
    }
}

fn fill(mebibytes: usize) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open("/filled")?;
    let piece = vec![b'x'; 1 << 20];
    (0..mebibytes).try_for_each(|_| file.write_all(&piece))
}
