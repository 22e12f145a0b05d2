//! The one error of files that users write.

/// What is wrong in a file that a user wrote, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    pub file: String,
    /// Counted from 1, as editors do.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The dotted path of the key, if the error is about one.
    pub key: Option<String>,
    pub problem: String,
    pub hint: Option<String>,
}

impl std::error::Error for KeyError {}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.problem)
    }
}

impl KeyError {
    /// Takes the byte offset of the place in `text`.
    pub fn at(file: &str, text: &str, offset: usize, key: Option<String>, problem: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Self { file: file.to_owned(), line, column, key, problem, hint: None }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Text of a stranger inside our own sentence: cut, control characters escaped.
pub(super) fn shown(given: &str) -> String {
    let mut short: String = given.chars().take(80).collect();
    if short.len() < given.len() {
        short.push('…');
    }
    short.escape_debug().to_string()
}
