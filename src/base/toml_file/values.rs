//! One value: its type, its range, its unit.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::error::shown;
use super::{KeyError, Section, Value};

impl<'s> Value<'s> {
    /// An error at the place of this value.
    pub fn error(&self, problem: impl std::fmt::Display) -> KeyError {
        let problem = format!("`{}`: {problem}", shown(&self.key));
        KeyError::at(self.file, self.text, self.value.span().start, Some(self.key.clone()), problem)
    }

    fn wrong_type(&self, wanted: &str) -> KeyError {
        self.error(format!("found {}, but it must be {wanted}", self.found()))
    }

    /// What stands in the file, in words that fit into a message.
    fn found(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(s) => format!("the text \"{}\"", shown(s)),
            DeValue::Integer(n) => format!("the number {}", shown(n.as_str())),
            DeValue::Float(n) => format!("the number {}", shown(n.as_str())),
            DeValue::Boolean(b) => format!("`{b}`"),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    pub fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Text. A NUL is refused here once: nothing that takes text from a file can carry one.
    pub fn string(self) -> Result<String, KeyError> {
        match self.value.get_ref() {
            DeValue::String(s) if s.contains('\0') => Err(self.error("the text holds a NUL character")),
            DeValue::String(s) => Ok(s.clone().into_owned()),
            _ => Err(self.wrong_type("text in quotes")),
        }
    }

    pub fn parsed<T, E: std::fmt::Display>(self, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, KeyError> {
        match self.value.get_ref() {
            DeValue::String(s) => parse(s).map_err(|e| self.error(e)),
            _ => Err(self.wrong_type("text in quotes")),
        }
    }

    pub fn integer(self, range: RangeInclusive<u64>) -> Result<u64, KeyError> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(n) = self.value.get_ref() else { return Err(self.wrong_type(&wanted)) };
        match u64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) if range.contains(&n) => Ok(n),
            _ => Err(self.wrong_type(&wanted)),
        }
    }

    pub fn number(self, range: RangeInclusive<f64>) -> Result<f64, KeyError> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        let text = match self.value.get_ref() {
            DeValue::Integer(n) if n.radix() == 10 => n.as_str().to_owned(),
            DeValue::Float(n) => n.as_str().to_owned(),
            _ => return Err(self.wrong_type(&wanted)),
        };
        match text.parse::<f64>() {
            Ok(n) if range.contains(&n) => Ok(n),
            _ => Err(self.wrong_type(&wanted)),
        }
    }

    pub fn boolean(self) -> Result<bool, KeyError> {
        self.value.get_ref().as_bool().ok_or_else(|| self.wrong_type("`true` or `false`"))
    }

    pub fn duration(self, range: RangeInclusive<Duration>) -> Result<Duration, KeyError> {
        let spoken = |d: &Duration| humantime::format_duration(*d).to_string();
        let wanted = format!("a duration from {} to {}, such as \"30s\"", spoken(range.start()), spoken(range.end()));
        match self.value.get_ref().as_str().map(parse_duration) {
            Some(Ok(d)) if range.contains(&d) => Ok(d),
            _ => Err(self.wrong_type(&wanted)),
        }
    }

    pub fn size(self, range: RangeInclusive<u64>) -> Result<u64, KeyError> {
        let wanted = format!(
            "a size from {} to {}, such as \"512MB\" or \"1GiB\"",
            spoken_size(*range.start()),
            spoken_size(*range.end())
        );
        match self.value.get_ref().as_str().map(parse_size) {
            Some(Ok(n)) if range.contains(&n) => Ok(n),
            _ => Err(self.wrong_type(&wanted)),
        }
    }

    /// A list of values, each with its index in its name.
    pub fn list(self) -> Result<Vec<Value<'s>>, KeyError> {
        if !self.is_list() {
            return Err(self.wrong_type("a list in brackets"));
        }
        let (file, text, key) = (self.file, self.text, self.key);
        let DeValue::Array(items) = self.value.into_inner() else { return Ok(Vec::new()) };
        let named = |(i, value)| Value { file, text, key: format!("{key}[{i}]"), value };
        Ok(items.into_iter().enumerate().map(named).collect())
    }

    /// A list of texts.
    pub fn strings(self) -> Result<Vec<String>, KeyError> {
        self.list()?.into_iter().map(Value::string).collect()
    }

    /// A table.
    pub fn section(self) -> Result<Section<'s>, KeyError> {
        if !self.value.get_ref().is_table() {
            return Err(self.wrong_type("a table"));
        }
        let (file, text, path, span) = (self.file, self.text, self.key.clone(), self.value.span());
        match self.value.into_inner() {
            DeValue::Table(table) => Ok(Section::of(file, text, path, span, table)),
            _ => Ok(Section::of(file, text, path, span, toml::de::DeTable::new())),
        }
    }
}

/// A duration with its unit, as humantime writes it: `30s`, `1h 30m`, `500ms`. At most a year, so that sums never overflow.
pub fn parse_duration(given: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let duration = humantime::parse_duration(given.trim())
        .map_err(|_| "write a duration with its unit, such as 30s, 10m or 2h".to_owned())?;
    if duration > YEAR { Err("a duration may be at most a year".to_owned()) } else { Ok(duration) }
}

/// Units of sizes: those with `i` count by 1024, those without by 1000.
const UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// A size with its unit, in bytes: `512MB`, `1GiB`, `1.5 GB`.
pub fn parse_size(given: &str) -> Result<u64, String> {
    let refused = || "write a size with its unit, such as 512MB or 1GiB".to_owned();
    let given = given.trim().to_ascii_lowercase();
    let split = given.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
    let (number, unit) = given.split_at(split);
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor).ok_or_else(refused)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(refused);
    }
    let value = number.parse::<f64>().map_err(|_| refused())? * factor as f64;
    // 2^53: beyond it a float no longer counts single bytes.
    if value.is_finite() && value <= 9_007_199_254_740_992.0 { Ok(value.round() as u64) } else { Err(refused()) }
}

/// The shortest way to write a size that is exact.
pub(super) fn spoken_size(bytes: u64) -> String {
    for (unit, factor) in [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}
