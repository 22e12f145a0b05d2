//! The segment files of one app, and what is known of each.
//!
//! `<number>.log` is raw: being written to, or finished and not yet compressed. `<number>.log.zst` is compressed, for good.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::UNIX_EPOCH;

use super::LogError;
use super::read;
use super::source::{HEADER_VERSION, Header, Kind, Source};
use crate::init::segment::now_micros;
use crate::names::InstanceId;
use crate::wire::init::record::{self, Record, Stream};

mod pack; // compress, and keep to the size

pub struct Segments {
    folder: PathBuf,
    /// The next number. Held until the segment with it is known, so that segments become known in the order of their numbers: a reader that
    /// has seen one never looks for a lower one again. Readers need only `known`, which is never held while a file is made.
    next: Mutex<u64>,
    known: Mutex<BTreeMap<u64, Entry>>,
}

#[derive(Clone)]
pub struct Entry {
    pub number: u64,
    pub state: State,
    /// When the last record was written; for an active segment, when it was found or made.
    pub last_micros: i64,
    disk_bytes: u64,
    header: Arc<OnceLock<Option<Header>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Somebody may write to it.
    Active,
    /// Nobody writes to it any more.
    Finished,
    Packed,
}

pub fn raw_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log"))
}

pub fn packed_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.log.zst"))
}

impl Segments {
    /// Learns what is in the folder, making it if it is not there, and heals what a crash left.
    ///
    /// A raw segment of an instance counts as active until the link says otherwise, because its init may have outlived the daemon. Of
    /// the daemon's own segments only the newest of each source goes on.
    pub fn load(folder: PathBuf) -> Result<Self, LogError> {
        let failed = |act| {
            let path = folder.clone();
            move |source| LogError::File { act, path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&folder).map_err(failed("making the log folder"))?;
        let mut all = BTreeMap::new();
        for found in fs::read_dir(&folder).map_err(failed("listing the log folder"))? {
            let found = found.map_err(failed("listing the log folder"))?;
            let name = found.file_name();
            let Some((number, packed)) = name.to_str().and_then(parse_name) else {
                remove_unfinished(&found.path());
                continue;
            };
            if !packed && packed_path(&folder, number).exists() {
                // The crash came between the compressed file's arrival and the removal of the raw one.
                let _ = fs::remove_file(found.path());
                continue;
            }
            let meta = found.metadata().map_err(failed("looking at a segment in"))?;
            all.insert(number, Entry::found(number, packed, &meta));
        }
        let next = all.keys().next_back().map_or(1, |last| last + 1);
        let segments = Self { folder, next: Mutex::new(next), known: Mutex::new(all) };
        segments.settle_states();
        Ok(segments)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All that is known, in the order of numbers.
    pub fn entries(&self) -> Vec<Entry> {
        self.known().values().cloned().collect()
    }

    pub fn entries_after(&self, number: u64) -> Vec<Entry> {
        self.known().range(number + 1..).map(|(_, e)| e.clone()).collect()
    }

    /// Nobody writes to that segment any more (or it was removed).
    pub fn is_finished(&self, number: u64) -> bool {
        self.known().get(&number).is_none_or(|e| e.state != State::Active)
    }

    /// Makes a new active segment whose first record names the source.
    pub fn create(&self, source: &Source) -> Result<(u64, File), LogError> {
        // A number that was taken is not given again, whatever comes of it; so a panic elsewhere leaves no half of a change.
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = *next;
        *next += 1;
        let header = Header { version: HEADER_VERSION, segment: number, created_micros: now_micros(), source: source.clone() };
        let path = raw_path(&self.folder, number);
        let file = write_header(&path, &header).map_err(|source| {
            let _ = fs::remove_file(&path);
            LogError::File { act: "making log segment", path: path.clone(), source }
        })?;
        let last_micros = header.created_micros;
        let header = Arc::new(OnceLock::from(Some(header)));
        let entry = Entry { number, state: State::Active, last_micros, disk_bytes: 0, header };
        self.known().insert(number, entry);
        Ok((number, file))
    }

    /// Nobody will write to that segment any more.
    pub fn finish(&self, number: u64) {
        if let Some(entry) = self.known().get_mut(&number)
            && entry.state == State::Active
        {
            entry.state = State::Finished;
            entry.last_micros = now_micros();
        }
    }

    /// The active segments of an instance.
    pub fn active_of(&self, instance: InstanceId) -> Vec<u64> {
        self.active(|source| source.instance == Some(instance))
    }

    /// The active segments whose source is wanted, in the order of numbers.
    pub fn active(&self, wanted: impl Fn(&Source) -> bool) -> Vec<u64> {
        let entries = self.entries();
        let active = entries.iter().filter(|e| e.state == State::Active);
        active.filter(|e| e.header(&self.folder).is_some_and(|h| wanted(&h.source))).map(|e| e.number).collect()
    }

    fn settle_states(&self) {
        let mut newest: Vec<Source> = Vec::new();
        for entry in self.entries().iter().rev().filter(|e| e.state == State::Active) {
            let goes_on = match entry.read_header(&self.folder) {
                Ok(Some(header)) if header.source.kind == Kind::App => true,
                Ok(Some(header)) if newest.contains(&header.source) => false,
                Ok(Some(header)) => {
                    newest.push(header.source.clone());
                    true
                }
                Ok(None) => false,
                // Nobody knows whose it is; what is called finished is removed once it is compressed, from under who may write to it.
                Err(_) => true,
            };
            if !goes_on && let Some(entry) = self.known().get_mut(&entry.number) {
                // Its time stays that of the file: it was finished before this start.
                entry.state = State::Finished;
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // Every change under this lock is one insert, remove or assignment, so a panic elsewhere leaves no half of it.
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Entry {
    fn found(number: u64, packed: bool, meta: &fs::Metadata) -> Self {
        let state = if packed { State::Packed } else { State::Active };
        let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let last_micros = i64::try_from(changed.as_micros()).unwrap_or(i64::MAX);
        Self { number, state, last_micros, disk_bytes: meta.len(), header: Arc::default() }
    }

    /// Who wrote it. `None` if the file is gone, cannot be read now, or its header was lost.
    pub fn header(&self, folder: &Path) -> Option<&Header> {
        self.read_header(folder).ok().flatten()
    }

    /// Read from the file once. A failure is not kept: it may be that no descriptor was left.
    fn read_header(&self, folder: &Path) -> io::Result<Option<&Header>> {
        if let Some(read) = self.header.get() {
            return Ok(read.as_ref());
        }
        let read = read::header(folder, self.number)?;
        Ok(self.header.get_or_init(|| read).as_ref())
    }
}

fn write_header(path: &Path, header: &Header) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(path)?;
    let text = serde_json::to_vec(header)?;
    let mut bytes = Vec::new();
    let at_micros = header.created_micros;
    record::encode(&mut bytes, &Record { number: 0, at_micros, stream: Stream::Header, flags: 0, text: &text });
    file.write_all(&bytes)?;
    Ok(file)
}

/// `0000000012.log` → (12, raw), `0000000012.log.zst` → (12, packed).
fn parse_name(name: &str) -> Option<(u64, bool)> {
    let (digits, kind) = name.split_once('.')?;
    let packed = match kind {
        "log" => false,
        "log.zst" => true,
        _ => return None,
    };
    let number = digits.parse().ok()?;
    (number > 0 && digits.bytes().all(|b| b.is_ascii_digit())).then_some((number, packed))
}

/// What a crash left of a compression. Anything else is not ours and stays.
fn remove_unfinished(path: &Path) {
    if path.extension().is_some_and(|e| e == pack::UNFINISHED) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests;
