//! Lines for the person at the other end of ssh. Stdout belongs to git or the API, so all of them go to stderr.

use std::io::{self, Write};
use std::process::ExitCode;

/// Writes one line at once. A reader that is gone is no error: whoever must notice uses [`try_line`].
pub(super) fn line(text: &str) {
    let _ = try_line(text);
}

/// Writes one line at once, or says that nobody reads any more.
pub(super) fn try_line(text: &str) -> io::Result<()> {
    // One write: lines of two processes (git's and ours) never mix.
    io::stderr().lock().write_all(format!("{text}\n").as_bytes())
}

/// Says no, with what to do, and gives the exit code.
pub(super) fn refuse(code: u8, message: &str, hint: Option<&str>) -> ExitCode {
    line(&format!("error: {}", printable(message)));
    if let Some(hint) = hint {
        line(&format!("\nhint: {}", printable(hint)));
    }
    ExitCode::from(code)
}

/// Text of a build or a stranger, safe for a terminal: colours are dropped, tabs stay, any other control character is shown escaped.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = skip_colour(rest) {
            rest = after;
            continue;
        }
        let mut chars = rest.chars();
        match chars.next() {
            // What a progress bar redraws with; git would hold the line back.
            Some('\r') | None => {}
            Some(control) => out.extend(control.escape_default()),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// What follows a colour sequence (`ESC [ 1 ; 32 m`) at the start of `text`; None if there is none.
fn skip_colour(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("\u{1b}[")?;
    let end = inside.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inside[end..].strip_prefix(['m', 'K'])
}
