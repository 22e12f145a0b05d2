//! Where a reader of an app's log stands, as a short text that a client keeps and gives back.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::LogError;

/// Every segment numbered up to `upto` was begun. Those in `open` were read up to that byte (of the uncompressed segment), all others
/// of them to their end. Segments with a higher number are new.
///
/// As text: `upto;segment:byte;segment:byte…`. A later entry wins, so a client that printed a line from segment 7 that ended at byte
/// 4711 after it got its last cursor appends `;7:4711` and neither loses nor repeats a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    pub(super) upto: u64,
    pub(super) open: BTreeMap<u64, u64>,
}

/// A cursor comes from outside: no more entries than an app could have writers.
const MOST_ENTRIES: usize = 100_000;

impl Cursor {
    /// Moves past a line that ended at `byte` of `segment`.
    pub fn pass(&mut self, segment: u64, byte: u64) {
        self.open.insert(segment, byte);
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.upto)?;
        self.open.iter().try_for_each(|(segment, byte)| write!(f, ";{segment}:{byte}"))
    }
}

impl FromStr for Cursor {
    type Err = LogError;

    fn from_str(given: &str) -> Result<Self, LogError> {
        parse(given)
            .ok_or_else(|| LogError::BadCursor { given: given.chars().take(60).collect::<String>().escape_debug().to_string() })
    }
}

fn parse(given: &str) -> Option<Cursor> {
    let mut parts = given.split(';');
    let mut cursor = Cursor { upto: parts.next()?.parse().ok()?, open: BTreeMap::new() };
    for (n, part) in parts.enumerate() {
        let (segment, byte) = part.split_once(':')?;
        if n >= MOST_ENTRIES {
            return None;
        }
        cursor.open.insert(segment.parse().ok()?, byte.parse().ok()?);
    }
    Some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_text_and_a_later_entry_wins() {
        let cursor: Cursor = "12;3:40;11:0;3:55".parse().expect("cursor");
        assert_eq!(cursor.to_string(), "12;3:55;11:0");
        for bad in ["", "x", "1;2", "1;2:x", "-1", "1;"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
