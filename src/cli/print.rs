//! The only place that prints. stdout is data, stderr is talk.
//!
//! Text that strangers wrote (log lines, build output, names in errors) could steer a terminal, so control characters are shown escaped:
//! always in talk, in data when it goes to a terminal or through an ssh session (whose far end is one).

use std::io::{self, IsTerminal, Write};

pub use crate::base::size::bytes;

/// What this process prints to.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    escape_data: bool,
    colour: bool,
}

impl Screen {
    /// `far` is true when the reader's terminal is at the other end of an ssh session, so that stdout does not look like one.
    pub fn new(far: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org: set and not empty.
        let wanted =
            std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::env::var_os("TERM").is_none_or(|v| v != "dumb");
        Screen { escape_data: far || terminal, colour: terminal && wanted }
    }

    /// The same, but data goes out as it came (`--raw`).
    pub fn raw(self) -> Self {
        Screen { escape_data: false, ..self }
    }

    /// One line of data. An error of kind `BrokenPipe` means that nobody reads any more.
    pub fn data(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.escape_data { writeln!(out, "{}", escaped(line)) } else { writeln!(out, "{line}") }
    }

    /// One line of data with a coloured head, which is our own text.
    pub fn data_with_head(&self, head: &str, colour: Colour, rest: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.colour {
            write!(out, "\x1b[{}m{head}\x1b[0m", colour.code())?;
        } else {
            write!(out, "{head}")?;
        }
        if self.escape_data { writeln!(out, "{}", escaped(rest)) } else { writeln!(out, "{rest}") }
    }

    /// Text that has several lines of our own making (help, completions, generated docs).
    pub fn text(&self, text: &str) -> io::Result<()> {
        io::stdout().lock().write_all(text.as_bytes())
    }

    /// A value as JSON on one line.
    pub fn json<T: serde::Serialize>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        // One event is one line at once, also in a pipe.
        out.flush()
    }

    /// One line of talk. A stderr that is gone is no reason to stop.
    pub fn talk(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", escaped(line));
    }

    /// Talk of several lines, such as clap's; each is escaped.
    pub fn talk_lines(&self, text: &str) {
        for line in text.lines() {
            self.talk(line);
        }
    }

    /// A question without line end; the answer is a line of stdin.
    pub fn ask(&self, question: &str) -> io::Result<String> {
        write!(io::stderr().lock(), "{} ", escaped(question))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// Bytes of an interactive session, as they are: the user asked for that program's terminal.
    pub fn pass(&self, bytes: &[u8], to_stderr: bool) -> io::Result<()> {
        if to_stderr {
            let mut err = io::stderr().lock();
            err.write_all(bytes)?;
            return err.flush();
        }
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }
}

/// Colours that are readable on light and dark ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Cyan,
    Yellow,
    Green,
    Magenta,
    Blue,
    Grey,
}

impl Colour {
    /// The same process has the same colour in every line.
    pub fn of(name: &str) -> Colour {
        const ALL: [Colour; 5] = [Colour::Cyan, Colour::Yellow, Colour::Green, Colour::Magenta, Colour::Blue];
        let sum: usize = name.bytes().map(usize::from).sum();
        ALL[sum % ALL.len()]
    }

    fn code(self) -> u8 {
        match self {
            Colour::Cyan => 36,
            Colour::Yellow => 33,
            Colour::Green => 32,
            Colour::Magenta => 35,
            Colour::Blue => 34,
            Colour::Grey => 90,
        }
    }
}

/// Shows what a terminal would obey: C0 (but for the tab), DEL, C1, and the characters that reorder text (Unicode TR9) as escapes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(c),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Rows under their heads, columns aligned, nothing padded at the end of a line.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |text: &str| escaped(text).chars().count();
    let widths: Vec<usize> = (0..heads.len())
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell)).chain([width(heads[i])]).max().unwrap_or(0))
        .collect();
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for (cell, wanted) in cells.iter().zip(&widths) {
            line.push_str(&escaped(cell));
            line.extend(std::iter::repeat_n(' ', wanted + 2 - width(cell)));
        }
        line.trim_end().to_owned()
    };
    let head = line(heads.to_vec());
    std::iter::once(head).chain(rows.iter().map(|row| line(row.iter().map(String::as_str).collect()))).collect()
}

/// How long ago, as people say it: `just now`, `40s ago`, `3m ago`, `5h ago`, `12d ago`.
pub fn ago(since: std::time::Duration) -> String {
    match since.as_secs() {
        0..5 => "just now".to_owned(),
        s @ 5..60 => format!("{s}s ago"),
        s @ 60..3_600 => format!("{}m ago", s / 60),
        s @ 3_600..172_800 => format!("{}h ago", s / 3_600),
        s => format!("{}d ago", s / 86_400),
    }
}

/// How often a follower looks whether somebody reads.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Ends when nobody can read the standard output any more: what follows a quiet source would not find out by writing. Never ends for a
/// file or a terminal. Cancel-safe: yes.
pub async fn nobody_reads() {
    let stdout = std::io::stdout();
    // No event is asked for: then the kernel tells errors and hang-ups only (poll(2)), not a client that ended its own side.
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        let mut ends = [rustix::event::PollFd::new(&stdout, rustix::event::PollFlags::empty())];
        if rustix::event::poll(&mut ends, Some(&at_once)).is_ok_and(|n| n > 0) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
