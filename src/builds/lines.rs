//! What a build tells those who watch, and how BuildKit's events become it.

use std::collections::BTreeMap;

use tokio::sync::mpsc::Sender;

use crate::base::secret::Secret;
use crate::docker::buildkit::StepEvent;

/// Where a build's lines go. A receiver that is gone does not stop the build.
pub type Lines = Sender<BuildLine>;

/// One line for a person. Step lines come without an arrow, output without indentation: whoever prints adds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLine {
    pub kind: LineKind,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// What is being done: "Installing dependencies".
    Step,
    /// What a command printed.
    Output,
    Warning,
    Error,
}

impl BuildLine {
    pub fn step(text: impl Into<String>) -> Self {
        Self { kind: LineKind::Step, text: text.into() }
    }

    pub fn output(text: impl Into<String>) -> Self {
        Self { kind: LineKind::Output, text: text.into() }
    }

    pub fn warning(text: impl Into<String>) -> Self {
        Self { kind: LineKind::Warning, text: text.into() }
    }
}

/// Sends a line to whoever listens.
pub async fn say(lines: &Lines, line: BuildLine) {
    let _ = lines.send(line).await;
}

/// BuildKit's events → lines.
pub struct Teller {
    /// A part of a RUN line → its title. None: a Dockerfile of the user's, whose steps are shown as they are.
    pub titles: Option<Vec<(String, String)>>,
    pub mask: Mask,
}

impl Teller {
    /// The line for an event, if it is worth one.
    pub fn line(&self, event: &StepEvent) -> Option<BuildLine> {
        match event {
            StepEvent::Started { name } => Some(BuildLine::step(self.title(name)?)),
            StepEvent::Finished { name, cached: true } => Some(BuildLine::step(format!("{} (cached)", self.title(name)?))),
            StepEvent::Finished { cached: false, .. } | StepEvent::Failed { .. } => None,
            StepEvent::Output { line, .. } => {
                let line = self.mask.apply(line);
                let clipped = line.starts_with("[output clipped, log limit");
                Some(if clipped {
                    BuildLine::warning(format!("{}; the step itself goes on", line.trim_matches(['[', ']'])))
                } else {
                    BuildLine::output(line)
                })
            }
            StepEvent::Warning { text } => Some(BuildLine::warning(text.clone())),
        }
    }

    fn title(&self, name: &str) -> Option<String> {
        match &self.titles {
            Some(titles) => titles.iter().find(|(part, _)| name.contains(part.as_str())).map(|(_, title)| title.clone()),
            None => shown_step(name),
        }
    }
}

/// `[build 2/5] RUN make` as it is; BuildKit's own housekeeping is not shown, nor what a FROM is made of.
pub fn shown_step(name: &str) -> Option<String> {
    let (head, rest) = name.strip_prefix('[')?.split_once("] ")?;
    if !head.ends_with(|c: char| c.is_ascii_digit()) || rest.starts_with("FROM ") {
        return None;
    }
    let mut short: String = name.chars().take(160).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    Some(short)
}

/// Secrets of a build that must not be printed.
#[derive(Default)]
pub struct Mask {
    /// The longest first: one that is part of another must not leave the other's rest behind.
    values: Vec<Secret<String>>,
}

/// Shorter values would blacken ordinary words.
const SHORTEST: usize = 6;

impl Mask {
    pub fn of(secrets: &BTreeMap<String, Secret<String>>) -> Self {
        // Output comes line by line, so a secret of several lines is hidden line by line.
        let lines = secrets.values().flat_map(|secret| secret.reveal().trim().lines().map(str::trim));
        let mut worth: Vec<&str> = lines.filter(|line| line.len() >= SHORTEST).collect();
        worth.sort_unstable_by_key(|line| std::cmp::Reverse(line.len()));
        Self { values: worth.into_iter().map(|line| Secret::new(line.to_owned())).collect() }
    }

    pub fn apply(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), "***"))
    }
}
