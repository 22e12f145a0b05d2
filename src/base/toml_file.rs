//! Reads a TOML file key by key, so that every error can name file, line, column, key, what was found and what is allowed.
//!
//! A [`Section`] is one table of the file. Each reader takes its key out; [`Section::done`] then refuses whatever is left. So the
//! list of allowed keys in a message is the list of keys that the code really reads: it can't go stale.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

mod error;
mod values;

pub use error::KeyError;
pub use values::{parse_duration, parse_size};

/// One table of a TOML file, with the keys that were not read yet.
pub struct Section<'s> {
    file: &'s str,
    text: &'s str,
    /// The dotted path of this table, empty for the whole file.
    path: String,
    /// Where the table stands in the file: for errors about a key that is missing.
    span: Range<usize>,
    entries: Vec<Entry<'s>>,
    known: Vec<&'static str>,
}

struct Entry<'s> {
    key: String,
    key_span: Range<usize>,
    value: Spanned<DeValue<'s>>,
}

/// One value with its place in the file.
pub struct Value<'s> {
    file: &'s str,
    text: &'s str,
    /// The dotted path of the key.
    pub key: String,
    value: Spanned<DeValue<'s>>,
}

impl<'s> Section<'s> {
    /// Takes the file's name (for messages) and its text; gives the whole file as a section or says where the syntax breaks.
    pub fn parse(file: &'s str, text: &'s str) -> Result<Self, KeyError> {
        let table = DeTable::parse(text).map_err(|e| {
            let at = e.span().map_or(0, |s| s.start);
            KeyError::at(file, text, at, None, format!("this is not valid TOML: {}", e.message().trim()))
        })?;
        let span = 0..0;
        Ok(Self::of(file, text, String::new(), span, table.into_inner()))
    }

    fn of(file: &'s str, text: &'s str, path: String, span: Range<usize>, table: DeTable<'s>) -> Self {
        let mut entries: Vec<Entry<'s>> = table
            .into_iter()
            .map(|(key, value)| Entry { key_span: key.span(), key: key.into_inner().into_owned(), value })
            .collect();
        // In the order of the file, so that the first mistake is the one reported.
        entries.sort_by_key(|e| e.key_span.start);
        Self { file, text, path, span, entries, known: Vec::new() }
    }

    /// Takes one key out; `None` if the file does not have it.
    pub fn value(&mut self, name: &'static str) -> Option<Value<'s>> {
        self.known.push(name);
        let at = self.entries.iter().position(|e| e.key == name)?;
        let entry = self.entries.remove(at);
        Some(Value { file: self.file, text: self.text, key: self.path_of(name), value: entry.value })
    }

    /// Takes a table out. One that is absent is an empty section, so that defaults need no second code path.
    pub fn section(&mut self, name: &'static str) -> Result<Section<'s>, KeyError> {
        match self.value(name) {
            Some(value) => value.section(),
            None => Ok(self.empty(name)),
        }
    }

    fn empty(&self, name: &str) -> Section<'s> {
        let (entries, known) = (Vec::new(), Vec::new());
        Section { file: self.file, text: self.text, path: self.path_of(name), span: self.span.clone(), entries, known }
    }

    /// Takes everything that is left as (key, value): for tables whose keys the user chooses.
    pub fn rest(&mut self) -> Vec<(String, Value<'s>)> {
        let entries = std::mem::take(&mut self.entries);
        let (file, text) = (self.file, self.text);
        entries.into_iter().map(|e| (e.key.clone(), Value { file, text, key: self.path_of(&e.key), value: e.value })).collect()
    }

    /// True if nothing is left (or nothing was there).
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys of the format that this version does not act on. Ignoring them would be a lie, so they are refused with that reason.
    pub fn not_yet(&mut self, names: &[&str]) -> Result<(), KeyError> {
        match self.entries.iter().find(|e| names.contains(&e.key.as_str())) {
            None => Ok(()),
            Some(e) => {
                let problem = format!("`{}` is not supported by this version of paas yet", self.path_of(&e.key));
                Err(KeyError::at(self.file, self.text, e.key_span.start, Some(self.path_of(&e.key)), problem)
                    .hint("remove the key, or install a version of paas that has it"))
            }
        }
    }

    /// Refuses keys that nobody asked for.
    pub fn done(self) -> Result<(), KeyError> {
        let Some(extra) = self.entries.first() else { return Ok(()) };
        let key = self.path_of(&extra.key);
        let problem = format!("unknown key `{}`", error::shown(&key));
        let error = KeyError::at(self.file, self.text, extra.key_span.start, Some(key), problem);
        let mut known = self.known.clone();
        known.sort_unstable();
        let allowed = format!("allowed here: {}", known.join(", "));
        Err(match super::nearest::nearest(&extra.key, known.iter().copied()) {
            Some(word) => error.hint(format!("did you mean `{word}`? {allowed}")),
            None => error.hint(allowed),
        })
    }

    /// An error about this section as a whole.
    pub fn error(&self, problem: impl Into<String>) -> KeyError {
        let key = (!self.path.is_empty()).then(|| self.path.clone());
        KeyError::at(self.file, self.text, self.span.start, key, problem.into())
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a key as text.
    pub fn string(&mut self, name: &'static str) -> Result<Option<String>, KeyError> {
        self.value(name).map(Value::string).transpose()
    }

    /// Takes a key as text and gives what `parse` makes of it; its refusal becomes an error at the value's place.
    pub fn parsed<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, KeyError> {
        self.value(name).map(|v| v.parsed(parse)).transpose()
    }

    /// Takes a key as whole number within `range`.
    pub fn integer(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, KeyError> {
        self.value(name).map(|v| v.integer(range)).transpose()
    }

    /// Takes a key as number (whole or not) within `range`.
    pub fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<f64>) -> Result<Option<f64>, KeyError> {
        self.value(name).map(|v| v.number(range)).transpose()
    }

    /// Takes a key as `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, KeyError> {
        self.value(name).map(Value::boolean).transpose()
    }

    /// Takes a key as duration with its unit (`"30s"`, `"1h 30m"`) within `range`.
    pub fn duration(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, KeyError> {
        self.value(name).map(|v| v.duration(range)).transpose()
    }

    /// Takes a key as size with its unit (`"512MB"`, `"1GiB"`), in bytes, within `range`.
    pub fn size(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, KeyError> {
        self.value(name).map(|v| v.size(range)).transpose()
    }
}

#[cfg(test)]
mod tests;
