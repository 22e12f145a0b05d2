//! What a person sees of a deploy: a file of events per deploy, written as they happen. A pusher's terminal, `deploys follow` and a client that
//! comes back after a restart all read the same file, so closing one changes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::base::clock::UnixMillis;
use crate::model::deploy::{Failure, RequestCounts, State};
use crate::names::{AppName, CommitSha, DeployId, ReleaseNumber};

/// What kind of line a person reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// `-----> Building`
    Step,
    /// Output of a build step or of the release command.
    Output,
    Warning,
    Error,
}

/// How long one state lasted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    pub stage: State,
    pub ms: u64,
}

/// One event of a deploy. The last one is Live, Failed, Cancelled or Superseded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "event")]
pub enum Happened {
    Queued { app: AppName, position: u32 },
    State { state: State, at: UnixMillis },
    Line { tone: Tone, text: String },
    Live { release: ReleaseNumber, commit: Option<CommitSha>, urls: Vec<String>, stages: Vec<StageTime>, counts: RequestCounts },
    Failed { failure: Failure, still_serves: Option<ReleaseNumber> },
    Cancelled { still_serves: Option<ReleaseNumber> },
    Superseded { by: DeployId },
}

impl Happened {
    pub fn is_last(&self) -> bool {
        match self {
            Happened::Live { .. } | Happened::Failed { .. } | Happened::Cancelled { .. } | Happened::Superseded { .. } => true,
            Happened::Queued { .. } | Happened::State { .. } | Happened::Line { .. } => false,
        }
    }
}

/// All feeds. Cheap to clone.
#[derive(Clone)]
pub struct Feeds {
    dir: PathBuf,
    /// Bumped when a deploy's file grew.
    grown: Arc<Mutex<BTreeMap<DeployId, watch::Sender<u64>>>>,
}

/// A line without the colours and cursor moves of the program that wrote it (ECMA-48 §5.4: ESC `[`, parameters, a final byte): a feed is read
/// by terminals, by git and by files alike. Other control characters are shown escaped by whoever prints.
pub fn plain(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.next_if_eq(&'[').is_some() {
            // The final byte ends the sequence; one that was cut off takes the line's end with it.
            rest.by_ref().find(|c| ('@'..='~').contains(c));
        } else {
            kept.push(c);
        }
    }
    kept
}

/// What a follower gets.
pub enum Next {
    Happened(Happened),
    /// Nothing came for a second: the reader may look at the row, as a crash may have come between it and the last event.
    Quiet,
}

const IDLE: Duration = Duration::from_secs(1);
/// Of the output of one deploy so much is kept for its followers; the app's log has its own limits.
const MOST_BYTES: u64 = 16 << 20;
/// A follower reads so much at a time.
const MOST_READ: usize = 1 << 20;

/// A reader of one feed, from its start.
pub struct Follower {
    path: PathBuf,
    at: u64,
    grown: watch::Receiver<u64>,
    ready: std::collections::VecDeque<Happened>,
    over: bool,
}

impl Feeds {
    /// Takes the folder for the files, made if missing.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, grown: Arc::default() })
    }

    fn path(&self, app: &AppName, deploy: DeployId) -> PathBuf {
        self.dir.join(format!("{app}-{deploy}.events"))
    }

    /// Appends one event. A disk that is full costs the line, not the deploy.
    pub fn tell(&self, app: &AppName, deploy: DeployId, happened: &Happened) {
        let is_output = matches!(happened, Happened::Line { tone: Tone::Output, .. });
        if is_output && fs::metadata(self.path(app, deploy)).is_ok_and(|meta| meta.len() > MOST_BYTES) {
            return;
        }
        let mut bytes = serde_json::to_vec(happened).expect("our own types are plain data");
        bytes.push(b'\n');
        let written =
            OpenOptions::new().create(true).append(true).open(self.path(app, deploy)).and_then(|mut file| file.write_all(&bytes));
        if let Err(e) = written {
            tracing::warn!(%app, %deploy, "an event of the deploy could not be written: {e}");
        }
        self.sender(deploy).send_modify(|n| *n += 1);
    }

    /// After a restart: ends a line that a crash may have cut, so that the next event is not lost with it.
    pub fn resume(&self, app: &AppName, deploy: DeployId) -> io::Result<()> {
        OpenOptions::new().create(true).append(true).open(self.path(app, deploy))?.write_all(b"\n")
    }

    pub fn step(&self, app: &AppName, deploy: DeployId, text: impl Into<String>) {
        self.tell(app, deploy, &Happened::Line { tone: Tone::Step, text: text.into() });
    }

    pub fn warn(&self, app: &AppName, deploy: DeployId, text: impl Into<String>) {
        self.tell(app, deploy, &Happened::Line { tone: Tone::Warning, text: text.into() });
    }

    pub fn follow(&self, app: &AppName, deploy: DeployId) -> Follower {
        let grown = self.sender(deploy).subscribe();
        Follower { path: self.path(app, deploy), at: 0, grown, ready: Default::default(), over: false }
    }

    /// Removes the files of an app that is gone, or of deploys that nobody will ask for again.
    pub fn forget(&self, app: &AppName, keep: impl Fn(DeployId) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.strip_suffix(".events").and_then(|n| n.rsplit_once('-')).filter(|(of, _)| *of == app.as_str());
            if let Some(deploy) = id.and_then(|(_, d)| DeployId::parse(d).ok())
                && !keep(deploy)
            {
                fs::remove_file(entry.path())?;
                self.grown.lock().expect("no code panics while it holds this lock").remove(&deploy);
            }
        }
        Ok(())
    }

    fn sender(&self, deploy: DeployId) -> watch::Sender<u64> {
        let mut all = self.grown.lock().expect("no code panics while it holds this lock");
        all.entry(deploy).or_insert_with(|| watch::channel(0).0).clone()
    }
}

impl Follower {
    /// The next event, or that nothing came for a while; `None` after the last one. Cancel-safe: yes.
    pub async fn next(&mut self) -> io::Result<Option<Next>> {
        loop {
            if let Some(happened) = self.ready.pop_front() {
                self.over = happened.is_last();
                return Ok(Some(Next::Happened(happened)));
            }
            if self.over {
                return Ok(None);
            }
            self.grown.borrow_and_update();
            self.read()?;
            if self.ready.is_empty() {
                // The poll is for a file that another daemon process wrote before this one.
                match tokio::time::timeout(IDLE, self.grown.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_forgotten)) => return Ok(None),
                    Err(_quiet) => return Ok(Some(Next::Quiet)),
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        file.seek(SeekFrom::Start(self.at))?;
        let began = self.at;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            // A line without its end is still being written, or was cut by a crash; the next one starts behind it.
            if line.last() != Some(&b'\n') {
                break;
            }
            self.at += line.len() as u64;
            if let Ok(happened) = serde_json::from_slice(&line) {
                self.ready.push_back(happened);
            }
            line.clear();
            if self.at - began > MOST_READ as u64 {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
