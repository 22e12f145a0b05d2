//! One segment, read forward from any position, whether its file is raw or was compressed meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::segments::{packed_path, raw_path};
use super::source::Header;
use crate::wire::init::record::{self, Decoded, Record, Stream};

/// How much is read at once; a record always fits in twice of it.
const CHUNK: usize = 128 * 1024;

/// Positions are bytes of the uncompressed segment, so they stay true when it is compressed.
pub struct SegmentReader {
    input: Input,
    /// Position of the first byte in `buffer[at..]`.
    position: u64,
    buffer: Vec<u8>,
    at: usize,
}

enum Input {
    Raw(File),
    Packed(Box<zstd::stream::read::Decoder<'static, io::BufReader<File>>>),
}

/// A record that can outlive the reader's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub number: u64,
    pub at_micros: i64,
    pub stream: Stream,
    pub flags: u8,
    pub text: Vec<u8>,
    /// Position before it.
    pub begin: u64,
    /// Position after it.
    pub end: u64,
}

impl SegmentReader {
    /// Opens segment `number` of the folder at `position`. `NotFound` if it was removed.
    pub fn open(folder: &Path, number: u64, position: u64) -> io::Result<Self> {
        let mut input = open_either(folder, number)?;
        match &mut input {
            Input::Raw(file) => drop(io::Seek::seek(file, io::SeekFrom::Start(position))?),
            Input::Packed(decoder) => drop(io::copy(&mut decoder.take(position), &mut io::sink())?),
        }
        Ok(Self { input, position, buffer: Vec::new(), at: 0 })
    }

    /// The position after the last record given, torn bytes before the next whole one included once that was given.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Gives the next whole record; `None` at the present end. A raw segment may have grown when it is asked again.
    pub fn next(&mut self) -> io::Result<Option<Item>> {
        loop {
            let rest = &self.buffer[self.at..];
            match record::decode(rest) {
                Decoded::Whole(found, length) => {
                    let item = own(found, self.position, self.position + length as u64);
                    self.advance(length);
                    return Ok(Some(item));
                }
                // What looks cut may still be on its way: only a whole record after it proves that it is torn.
                Decoded::Incomplete | Decoded::Torn => {
                    if self.fill()? {
                        continue;
                    }
                    match record::find_next(&self.buffer[self.at..]) {
                        Some(skip) => self.advance(skip),
                        None => {
                            self.forget_rest()?;
                            return Ok(None);
                        }
                    }
                }
            }
        }
    }

    /// What follows the last whole record is read anew next time: a writer that met a full disk cuts it off and writes over it.
    fn forget_rest(&mut self) -> io::Result<()> {
        if let Input::Raw(file) = &mut self.input
            && self.at < self.buffer.len()
        {
            io::Seek::seek(file, io::SeekFrom::Start(self.position))?;
            self.buffer.clear();
            self.at = 0;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.position += bytes as u64;
    }

    /// Reads more; false at the present end. Bytes that can be no record any more are let go, so that a segment of rubbish costs no memory.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.len() > 2 * CHUNK {
            let skip = record::find_next(&self.buffer).unwrap_or(self.buffer.len() - CHUNK);
            self.buffer.drain(..skip);
            self.position += skip as u64;
            return Ok(true);
        }
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let read = match &mut self.input {
            Input::Raw(file) => file.read(&mut self.buffer[before..]),
            Input::Packed(decoder) => decoder.read(&mut self.buffer[before..]),
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}

/// Reads the header of a segment; `None` if it has none that we understand.
pub fn header(folder: &Path, number: u64) -> io::Result<Option<Header>> {
    let first = SegmentReader::open(folder, number, 0)?.next()?;
    Ok(first.filter(|item| item.stream == Stream::Header).and_then(|item| serde_json::from_slice(&item.text).ok()))
}

/// The compressed file appears before the raw one goes, so one of the two is found unless the segment was removed.
fn open_either(folder: &Path, number: u64) -> io::Result<Input> {
    match File::open(raw_path(folder, number)) {
        Ok(file) => Ok(Input::Raw(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = File::open(packed_path(folder, number))?;
            Ok(Input::Packed(Box::new(zstd::stream::read::Decoder::new(file)?)))
        }
        Err(e) => Err(e),
    }
}

fn own(found: Record<'_>, begin: u64, end: u64) -> Item {
    let Record { number, at_micros, stream, flags, text } = found;
    Item { number, at_micros, stream, flags, text: text.to_vec(), begin, end }
}

#[cfg(test)]
mod tests;
