//! Finished segments are compressed, and the oldest go when an app has more than its share.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::{Segments, State, packed_path, raw_path};
use crate::logs::LogError;
use crate::logs::read::SegmentReader;

/// How the file ends that a compression writes to.
pub(super) const UNFINISHED: &str = "unfinished";

/// zstd's own default: about a tenth of the size for log text, at several hundred MB/s.
const LEVEL: i32 = 3;

impl Segments {
    /// Compresses what is finished. Gives how many segments were, or went because they hold nothing. One that fails holds up no other; the
    /// first error is given at the end. One at a time and blocking: not for an async task.
    pub fn pack(&self) -> Result<usize, LogError> {
        let finished: Vec<u64> = self.entries().iter().filter(|e| e.state == State::Finished).map(|e| e.number).collect();
        let (mut done, mut failed) = (0, None);
        for number in finished {
            match self.pack_one(number) {
                Ok(is_done) => done += usize::from(is_done),
                Err(e) if e.kind() == io::ErrorKind::NotFound && self.has_no_file(number) => {
                    // Somebody else removed it.
                    self.known().remove(&number);
                }
                Err(source) => {
                    let path = raw_path(&self.folder, number);
                    failed.get_or_insert(LogError::File { act: "compressing log segment", path, source });
                }
            }
        }
        failed.map_or(Ok(done), Err)
    }

    /// Gives false if there was nothing to do now.
    fn pack_one(&self, number: u64) -> io::Result<bool> {
        let raw = raw_path(&self.folder, number);
        let Some(last_micros) = self.last_record(number)? else {
            // Nothing but the header: an instance that never ran, or a segment that was replaced before its first line.
            if self.is_newest(number) {
                return Ok(false);
            }
            remove_if_there(&raw)?;
            self.known().remove(&number);
            return Ok(true);
        };
        let unfinished = self.folder.join(format!("{number:010}.{UNFINISHED}"));
        let compressed = self.compress(number, &unfinished, last_micros);
        if compressed.is_err() {
            // It takes the place that a full disk lacks.
            let _ = fs::remove_file(&unfinished);
        }
        let bytes = compressed?;
        if let Some(entry) = self.known().get_mut(&number) {
            entry.state = State::Packed;
            entry.disk_bytes = bytes;
            entry.last_micros = last_micros;
        }
        remove_if_there(&raw)?;
        Ok(true)
    }

    /// Makes the compressed file beside the raw one. Gives its size.
    fn compress(&self, number: u64, unfinished: &Path, last_micros: i64) -> io::Result<u64> {
        let to = File::create(unfinished)?;
        let mut encoder = zstd::stream::write::Encoder::new(BufWriter::new(to), LEVEL)?;
        io::copy(&mut BufReader::new(File::open(raw_path(&self.folder, number))?), &mut encoder)?;
        let to = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        // The file's time is that of its last record: a query skips by it what is too old.
        to.set_modified(UNIX_EPOCH + Duration::from_micros(u64::try_from(last_micros).unwrap_or(0)))?;
        to.sync_all()?;
        let bytes = to.metadata()?.len();
        // This order, so that a reader finds the raw file or the compressed one at any moment.
        fs::rename(unfinished, packed_path(&self.folder, number))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(bytes)
    }

    /// The file of the highest number stays, whatever it holds, until there is a higher one: the next start goes on from it, and no number
    /// may be given twice.
    fn is_newest(&self, number: u64) -> bool {
        self.known().last_key_value().is_none_or(|(last, _)| *last <= number)
    }

    fn has_no_file(&self, number: u64) -> bool {
        !raw_path(&self.folder, number).exists() && !packed_path(&self.folder, number).exists()
    }

    /// When the last record was written; `None` if there is none but the header.
    fn last_record(&self, number: u64) -> io::Result<Option<i64>> {
        let mut reader = SegmentReader::open(&self.folder, number, 0)?;
        let mut last = None;
        let mut first = true;
        while let Some(item) = reader.next()? {
            if !std::mem::take(&mut first) {
                last = last.max(Some(item.at_micros));
            }
        }
        Ok(last)
    }

    /// Removes the oldest segments that nobody writes to until all together take at most `limit` bytes of disk and are at most `most`; the
    /// newest of all stays. Gives how many went.
    pub fn shrink(&self, limit: u64, most: usize) -> Result<usize, LogError> {
        let entries = self.entries();
        let bytes_of = |entry: &super::Entry| match entry.state {
            State::Packed => entry.disk_bytes,
            State::Active | State::Finished => fs::metadata(raw_path(&self.folder, entry.number)).map_or(0, |m| m.len()),
        };
        let mut total: u64 = entries.iter().map(bytes_of).sum();
        let mut removed = 0;
        for entry in entries.iter().filter(|e| e.state != State::Active && !self.is_newest(e.number)) {
            if total <= limit && entries.len() - removed <= most {
                break;
            }
            total = total.saturating_sub(bytes_of(entry));
            self.remove(entry.number)?;
            removed += 1;
        }
        Ok(removed)
    }

    fn remove(&self, number: u64) -> Result<(), LogError> {
        for path in [raw_path(&self.folder, number), packed_path(&self.folder, number)] {
            remove_if_there(&path).map_err(|source| LogError::File { act: "removing log segment", path, source })?;
        }
        self.known().remove(&number);
        Ok(())
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}
