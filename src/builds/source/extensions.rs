//! Headers that say something about the next entry: PAX records and GNU long names. Two ways to say the same thing are two ways to be
//! read differently by two programs, so contradictions are refused, not ranked.

use std::io::Read;

use tar::{Entry, EntryType};

use super::path::shown;
use crate::builds::error::BuildError;

/// A name may be 4 KiB, and git writes a comment; nothing else we read is near this.
const EXTENSION_LIMIT: u64 = 64 * 1024;

/// What has been said about the entry to come.
#[derive(Default)]
pub struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// What an entry of the raw archive was.
pub enum Pending {
    /// A header about the next one.
    More,
    /// An entry, with its real name and link target.
    Entry { name: Vec<u8>, link: Vec<u8> },
}

impl Extensions {
    /// Takes the next raw entry.
    pub fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<Pending, BuildError> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::XGlobalHeader => {
                // git archive puts the commit there. Anything that would change entries is refused.
                for (key, _) in records(&bounded(entry)?)? {
                    if !matches!(
                        key.as_str(),
                        "comment" | "charset" | "mtime" | "atime" | "ctime" | "uid" | "gid" | "uname" | "gname"
                    ) {
                        return Err(refused(&key, "it is set for the whole archive, which is not supported"));
                    }
                }
                Ok(Pending::More)
            }
            EntryType::XHeader => self.pax(&bounded(entry)?).map(|()| Pending::More),
            EntryType::GNULongName => set(&mut self.name, without_nul(bounded(entry)?), "name").map(|()| Pending::More),
            EntryType::GNULongLink => set(&mut self.link, without_nul(bounded(entry)?), "link target").map(|()| Pending::More),
            _ => self.entry(entry),
        }
    }

    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<Pending, BuildError> {
        let said = std::mem::take(self);
        let name = said.name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let link = said.link.unwrap_or_else(|| entry.header().link_name_bytes().map(|l| l.into_owned()).unwrap_or_default());
        // The raw reader goes by the header's size; a record that says otherwise would put us out of step.
        if said.size.is_some_and(|size| size != entry.size()) {
            let why = "its size is given twice and differently".to_owned();
            return Err(BuildError::Entry { entry: shown(&name), why, hint: None });
        }
        Ok(Pending::Entry { name, link })
    }

    fn pax(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        for (key, value) in records(bytes)? {
            match key.as_str() {
                "path" => set(&mut self.name, value, "name")?,
                "linkpath" => set(&mut self.link, value, "link target")?,
                "size" => {
                    let size = std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok());
                    self.size = Some(size.ok_or_else(|| refused("size", "it is no number"))?);
                }
                _ if key.starts_with("GNU.sparse") => return Err(refused(&key, "sparse files are not supported")),
                // Times, owners, extended attributes: not taken over.
                _ => {}
            }
        }
        Ok(())
    }
}

fn bounded(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, BuildError> {
    if entry.size() > EXTENSION_LIMIT {
        return Err(BuildError::Archive { why: format!("it has an extension header of {} bytes", entry.size()) });
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|e| BuildError::Archive { why: e.to_string() })?;
    Ok(bytes)
}

fn set(slot: &mut Option<Vec<u8>>, value: Vec<u8>, what: &str) -> Result<(), BuildError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(BuildError::Archive { why: format!("an entry's {what} is given twice") }),
    }
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn refused(key: &str, why: &str) -> BuildError {
    let mut short: String = key.chars().take(60).collect();
    short = short.escape_debug().to_string();
    BuildError::Archive { why: format!("its extended header `{short}` can't be taken: {why}") }
}

/// `<length> <key>=<value>\n`, the length counting itself (POSIX pax). Anything else is refused.
fn records(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, BuildError> {
    let bad = || BuildError::Archive { why: "it has a malformed extended header".to_owned() };
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = rest.iter().position(|b| *b == b' ').filter(|at| *at < 8).ok_or_else(bad)?;
        let length: usize = std::str::from_utf8(&rest[..space]).ok().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        if length <= space + 1 || length > rest.len() || rest[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &rest[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        let key = String::from_utf8(record[..equals].to_vec()).map_err(|_| bad())?;
        found.push((key, record[equals + 1..].to_vec()));
        rest = &rest[length..];
    }
    Ok(found)
}
