//! One log record in a segment file: what init and the daemon append and what `logs` reads.
//!
//! A segment is a plain row of records; the first one is the header that names the source. All numbers are little endian:
//!
//! ```text
//! 2 sync · 1 stream · 1 flags · 4 length of text · 8 number · 8 time (µs since 1970) · 4 checksum of all that but sync · text
//! ```
//! The checksum tells a whole record from one that a crash or a full disk cut short; the sync bytes let a reader find the next whole one.

/// The longest text of one record. A longer line becomes several records (see [`PARTIAL`] and [`CONTINUED`]).
pub const TEXT_LIMIT: usize = 64 * 1024;

/// Bytes before the text.
pub const HEAD: usize = 28;

/// The line goes on in the next record of this stream: it was longer than [`TEXT_LIMIT`], or its end had not come for a second.
pub const PARTIAL: u8 = 1;
/// This record goes on with the line of the record before it.
pub const CONTINUED: u8 = 2;
/// Not written by the app: says how many lines were dropped, and why.
pub const MARKER: u8 = 4;
/// Not written by the app: something happened to it (it ended, it starts again).
pub const EVENT: u8 = 8;

const SYNC: [u8; 2] = [0xa7, 0x1c];

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
    /// paas itself.
    Platform,
    /// The first record of a segment: its source, as JSON.
    Header,
}

impl Stream {
    fn number(self) -> u8 {
        match self {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
            Stream::Platform => 2,
            Stream::Header => 3,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Stream::Stdout, Stream::Stderr, Stream::Platform, Stream::Header].into_iter().find(|s| s.number() == number)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Counts up by one from record to record of one source.
    pub number: u64,
    /// Microseconds since 1970, UTC.
    pub at_micros: i64,
    pub stream: Stream,
    pub flags: u8,
    pub text: &'a [u8],
}

/// What stands at the start of some bytes of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole record, and how many bytes it takes.
    Whole(Record<'a>, usize),
    /// The beginning of a record; the rest may be on its way, or was never written.
    Incomplete,
    /// No record.
    Torn,
}

/// Appends the bytes of `record` to `to`. The text must not be longer than [`TEXT_LIMIT`]; what is beyond is cut.
pub fn encode(to: &mut Vec<u8>, record: &Record) {
    let text = &record.text[..record.text.len().min(TEXT_LIMIT)];
    let start = to.len();
    to.extend_from_slice(&SYNC);
    to.push(record.stream.number());
    to.push(record.flags);
    to.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
    to.extend_from_slice(&record.number.to_le_bytes());
    to.extend_from_slice(&record.at_micros.to_le_bytes());
    let sum = checksum(&to[start + SYNC.len()..], text);
    to.extend_from_slice(&sum.to_le_bytes());
    to.extend_from_slice(text);
}

/// Reads the record at the start of `bytes`.
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    if bytes.len() < HEAD {
        return if bytes.len() < 2 || bytes.starts_with(&SYNC) { Decoded::Incomplete } else { Decoded::Torn };
    }
    let (head, rest) = bytes.split_at(HEAD);
    let length = u32::from_le_bytes(four(head, 4)) as usize;
    let Some(stream) = Stream::from_number(head[2]) else { return Decoded::Torn };
    if !head.starts_with(&SYNC) || length > TEXT_LIMIT {
        return Decoded::Torn;
    }
    let Some(text) = rest.get(..length) else { return Decoded::Incomplete };
    if checksum(&head[SYNC.len()..HEAD - 4], text) != u32::from_le_bytes(four(head, 24)) {
        return Decoded::Torn;
    }
    let number = u64::from_le_bytes(eight(head, 8));
    let at_micros = i64::from_le_bytes(eight(head, 16));
    Decoded::Whole(Record { number, at_micros, stream, flags: head[3], text }, HEAD + length)
}

/// Where the next whole record starts after position 0, for a reader that met a torn one.
pub fn find_next(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len().saturating_sub(HEAD - 1))
        .find(|at| bytes[*at..].starts_with(&SYNC) && matches!(decode(&bytes[*at..]), Decoded::Whole(..)))
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    out
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    out
}

/// FNV-1a over head and text, eight bytes at a time for speed: it has to find cut records, not attackers.
fn checksum(head: &[u8], text: &[u8]) -> u32 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for part in [head, text] {
        let chunks = part.chunks_exact(8);
        let rest = chunks.remainder();
        for chunk in chunks {
            sum = (sum ^ u64::from_le_bytes(eight(chunk, 0))).wrapping_mul(0x0000_0100_0000_01b3);
        }
        for byte in rest {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    // Both halves, so that a change in any bit of the input reaches the result.
    ((sum >> 32) ^ (sum & 0xffff_ffff)) as u32
}

#[cfg(test)]
mod tests;
