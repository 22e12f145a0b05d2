//! One supervisor per run folder: a lock on a file that holds its process id.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::UpError;

const NAME: &str = "up.lock";
const DOWN_LIMIT: Duration = Duration::from_secs(60);
/// A look at the lock holds it for a moment; who wants it tries again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as the supervisor runs. The kernel drops it with the process.
pub(super) struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

/// Who has the lock.
pub(super) enum Holder {
    Nobody,
    /// 0 if it has not written its number yet.
    Process(i32),
}

impl Lock {
    /// Takes the lock of `run_dir` and writes our process id into it, or says who has it.
    pub(super) fn take(run_dir: &Path) -> Result<Result<Lock, i32>, UpError> {
        let path = run_dir.join(NAME);
        let act = "locking";
        for _ in 0..TRIES {
            // Nobody else may open it: even a reader can hold a lock, and keep us from starting.
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            match Flock::lock(file.map_err(UpError::path(act, &path))?, FlockArg::LockExclusiveNonblock) {
                Ok(mut file) if is_at(&file, &path) => {
                    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                    written.map_err(UpError::path("writing", &path))?;
                    return Ok(Ok(Lock { path, _file: file }));
                }
                // Its last holder has removed it since we opened it.
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) => sleep(PAUSE),
                Err((_, error)) => return Err(UpError::path(act, &path)(error.into())),
            }
        }
        Ok(Err(pid_in(&path)))
    }

    /// Removes the file, then lets go of the lock.
    pub(super) fn release(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let number = |found: &fs::Metadata| (found.dev(), found.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(ours), Ok(there)) if number(&ours) == number(&there))
}

fn pid_in(path: &Path) -> i32 {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(20).read_to_string(&mut text));
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0)
}

/// Looks at the lock without keeping it.
pub(super) fn holder(run_dir: &Path) -> Result<Holder, UpError> {
    let path = run_dir.join(NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(UpError::path("opening", &path)(error)),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(Holder::Nobody),
        Err((_, Errno::EWOULDBLOCK)) => Ok(Holder::Process(pid_in(&path))),
        Err((_, error)) => Err(UpError::path("looking at the lock", &path)(error.into())),
    }
}

/// Stops the supervisor of `run_dir` and all its roles, and waits until nothing of it is left (up to 60 s). False if none was running.
pub fn down(run_dir: &Path) -> Result<bool, UpError> {
    let end = Instant::now() + DOWN_LIMIT;
    let mut asked = 0;
    loop {
        match holder(run_dir)? {
            Holder::Nobody => return Ok(asked != 0),
            Holder::Process(pid) if pid > 0 && asked == 0 => {
                match kill(Pid::from_raw(pid), Signal::SIGTERM) {
                    Ok(()) | Err(Errno::ESRCH) => asked = pid,
                    Err(error) => return Err(UpError::system("stopping the supervisor")(error)),
                };
            }
            // Another one has started meanwhile: ours has ended.
            Holder::Process(pid) if pid > 0 && pid != asked => return Ok(true),
            Holder::Process(pid) if Instant::now() > end => return Err(UpError::DoesNotStop { pid, limit: DOWN_LIMIT }),
            Holder::Process(_) => {}
        }
        sleep(PAUSE);
    }
}
