//! Running a program to its end, with everything that it said kept for the message of a failed test.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program that ended (or was killed at its limit: then `code` is -1).
#[derive(Debug, Clone)]
pub struct Done {
    pub command: String,
    pub code: i32,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Done {
    /// Both streams, for messages that may stand in either.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    #[track_caller]
    pub fn ok(self) -> Done {
        assert!(self.code == 0, "this command should have worked:\n{self}");
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32) -> Done {
        assert!(self.code == code, "this command should have ended with exit code {code}:\n{self}");
        self
    }

    /// Every one of `words` must stand in what was printed.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Done {
        let text = self.text().to_lowercase();
        for word in words {
            assert!(text.contains(&word.to_lowercase()), "`{word}` is missing in what this command said:\n{self}");
        }
        self
    }

    #[track_caller]
    pub fn never_says(self, words: &[&str]) -> Done {
        for word in words {
            assert!(!self.text().contains(word), "`{word}` should not stand in what this command said:\n{self}");
        }
        self
    }

    /// Nothing at all may have been printed, whatever the exit code.
    #[track_caller]
    pub fn says_nothing(self) -> Done {
        assert!(self.text().trim().is_empty(), "this command should have printed nothing:\n{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("standard output is no JSON ({e}):\n{self}"))
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Done { command, code, out, err, took } = self;
        write!(f, "$ {command}\nexit code {code} after {took:?}\n--- stdout\n{out}\n--- stderr\n{err}\n---")
    }
}

/// Runs `command` with `input` on its standard input; kills it after `limit`.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Done {
    let shown = format!("{command:?}");
    let started = Instant::now();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("starting {shown}: {e}"));
    let mut stdin = child.stdin.take().expect("stdin was piped");
    let input = input.to_vec();
    // A program that refuses its input closes the pipe early: that is its right.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let out = collect(child.stdout.take().expect("stdout was piped"));
    let err = collect(child.stderr.take().expect("stderr was piped"));
    let code = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break status.code().unwrap_or(-2),
            None if started.elapsed() > limit => {
                drop(child.kill());
                drop(child.wait());
                break -1;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let took = started.elapsed();
    drop(writer.join());
    let text =
        |thread: std::thread::JoinHandle<Vec<u8>>| String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned();
    Done { command: shown, code, out: text(out), err: text(err), took }
}

fn collect(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        drop(from.read_to_end(&mut all));
        all
    })
}

/// The JSON values of a stream of lines.
#[track_caller]
pub fn json_lines(text: &str) -> Vec<serde_json::Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("this line is no JSON ({e}): {line}"));
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}
