//! BuildKit's progress, put back together: its messages are chunks of output and repeated looks at steps, ours are lines and changes.

use std::collections::{HashMap, VecDeque};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};

/// What happens in a build, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepEvent {
    /// A step of the Dockerfile runs: `[build 3/7] RUN npm ci`.
    Started { name: String },
    /// One line that the step printed, without its line end.
    Output { name: String, stderr: bool, line: String },
    /// The step is done. A cached step has no Started.
    Finished { name: String, cached: bool },
    /// The step failed, in BuildKit's words.
    Failed { name: String, error: String },
    /// BuildKit dislikes something in the Dockerfile.
    Warning { text: String },
}

/// The step that made a build fail, with the end of what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    pub name: String,
    pub error: String,
    pub last_lines: Vec<String>,
    pub exit_code: Option<i32>,
}

/// Longer lines are cut: a progress bar without a newline must not fill memory.
const LINE_LIMIT: usize = 16 * 1024;
/// What a failure shows of the step's output.
const LAST_LINES: usize = 40;

/// Follows one build. Pure: messages in, events out.
#[derive(Default)]
pub(super) struct Progress {
    steps: HashMap<String, Step>,
    failed: Option<FailedStep>,
    pub steps_done: u32,
    pub steps_cached: u32,
}

#[derive(Default)]
struct Step {
    name: String,
    started: bool,
    done: bool,
    /// Unfinished line of stdout and stderr.
    partial: [Vec<u8>; 2],
    last: VecDeque<String>,
}

impl Progress {
    /// Takes one message of BuildKit's status stream, gives what is new in it.
    pub fn take(&mut self, message: StatusResponse) -> Vec<StepEvent> {
        let mut events = Vec::new();
        for vertex in &message.vertexes {
            self.begin(vertex, &mut events);
        }
        // Before the ends: a step's last lines may come in the message that says it is done.
        for log in &message.logs {
            self.log(log, &mut events);
        }
        for warning in &message.warnings {
            events.push(StepEvent::Warning { text: String::from_utf8_lossy(&warning.short).into_owned() });
        }
        for vertex in &message.vertexes {
            self.end(vertex, &mut events);
        }
        events
    }

    /// The first step that failed for a reason of its own (others then end with "context canceled").
    pub fn failed(&self) -> Option<FailedStep> {
        self.failed.clone()
    }

    fn begin(&mut self, vertex: &Vertex, events: &mut Vec<StepEvent>) {
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        if step.name.is_empty() {
            step.name = vertex.name.clone();
        }
        if vertex.started.is_some() && !step.started && !vertex.cached {
            step.started = true;
            events.push(StepEvent::Started { name: step.name.clone() });
        }
    }

    fn log(&mut self, log: &VertexLog, events: &mut Vec<StepEvent>) {
        let step = self.steps.entry(log.vertex.clone()).or_default();
        let stderr = log.stream == 2;
        let mut partial = std::mem::take(&mut step.partial[usize::from(stderr)]);
        for byte in &log.msg {
            if *byte == b'\n' {
                step.line(&mut partial, stderr, events);
            } else if partial.len() < LINE_LIMIT {
                partial.push(*byte);
            }
        }
        step.partial[usize::from(stderr)] = partial;
    }

    fn end(&mut self, vertex: &Vertex, events: &mut Vec<StepEvent>) {
        let Some(step) = self.steps.get_mut(&vertex.digest) else { return };
        if vertex.completed.is_none() || step.done {
            return;
        }
        step.done = true;
        for (stream, stderr) in [(0, false), (1, true)] {
            let mut partial = std::mem::take(&mut step.partial[stream]);
            if !partial.is_empty() {
                step.line(&mut partial, stderr, events);
            }
        }
        if vertex.error.is_empty() {
            if counts(&step.name) {
                self.steps_done += 1;
                self.steps_cached += u32::from(vertex.cached);
            }
            events.push(StepEvent::Finished { name: step.name.clone(), cached: vertex.cached });
            return;
        }
        events.push(StepEvent::Failed { name: step.name.clone(), error: vertex.error.clone() });
        if self.failed.is_none() && !vertex.error.contains("context canceled") {
            self.failed = Some(FailedStep {
                name: step.name.clone(),
                error: vertex.error.clone(),
                last_lines: step.last.iter().cloned().collect(),
                exit_code: exit_code(&vertex.error),
            });
        }
    }
}

impl Step {
    fn line(&mut self, partial: &mut Vec<u8>, stderr: bool, events: &mut Vec<StepEvent>) {
        let text = String::from_utf8_lossy(partial);
        // A progress bar draws over itself: what stands last is what a person would see.
        let line = text.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().to_owned();
        partial.clear();
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        events.push(StepEvent::Output { name: self.name.clone(), stderr, line });
    }
}

/// Whether a step is one of the Dockerfile's own (`[2/5] RUN …`), not BuildKit's housekeeping (`[internal] …`, `exporting to image`).
/// A base image (`[1/5] FROM …`) is not work of the build: it is always there or pulled.
fn counts(name: &str) -> bool {
    let Some((head, rest)) = name.strip_prefix('[').and_then(|n| n.split_once("] ")) else { return false };
    head.ends_with(|c: char| c.is_ascii_digit()) && !rest.starts_with("FROM ")
}

/// The exit code exists only as text (BuildKit 0.8: `executor failed running […]: exit code: 37`, since 0.9:
/// `process "…" did not complete successfully: exit code: 37`). Samples are in the test.
pub(super) fn exit_code(error: &str) -> Option<i32> {
    let (_, after) = error.rsplit_once("exit code: ")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
