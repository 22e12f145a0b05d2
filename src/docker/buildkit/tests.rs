use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};

use super::status::{Progress, StepEvent, exit_code};

fn vertex(name: &str, started: bool, completed: bool, cached: bool, error: &str) -> Vertex {
    Vertex {
        digest: name.to_owned(),
        name: name.to_owned(),
        cached,
        started: started.then(Default::default),
        completed: completed.then(Default::default),
        error: error.to_owned(),
        ..Default::default()
    }
}

fn log(step: &str, stream: i64, text: &str) -> VertexLog {
    VertexLog { vertex: step.to_owned(), stream, msg: text.as_bytes().to_vec(), ..Default::default() }
}

fn lines(events: &[StepEvent]) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| match event {
            StepEvent::Output { line, .. } => Some(line.clone()),
            StepEvent::Started { .. } | StepEvent::Finished { .. } | StepEvent::Failed { .. } | StepEvent::Warning { .. } => None,
        })
        .collect()
}

#[test]
fn chunks_become_lines_per_step_and_stream() {
    let mut progress = Progress::default();
    let step = "[build 2/3] RUN npm ci";
    let mut events = progress.take(StatusResponse {
        vertexes: vec![vertex(step, true, false, false, "")],
        logs: vec![log(step, 1, "added 7"), log(step, 2, "warn "), log(step, 1, "1 packages\nten\r90 %\r100 %\n")],
        ..Default::default()
    });
    events.extend(progress.take(StatusResponse {
        vertexes: vec![vertex(step, true, true, false, "")],
        logs: vec![log(step, 2, "old lockfile")],
        ..Default::default()
    }));
    assert_eq!(events[0], StepEvent::Started { name: step.to_owned() });
    assert_eq!(lines(&events), ["added 71 packages", "100 %", "warn old lockfile"]);
    assert_eq!(events.last(), Some(&StepEvent::Finished { name: step.to_owned(), cached: false }));
    assert_eq!((progress.steps_done, progress.steps_cached), (1, 0));
}

#[test]
fn only_steps_of_the_dockerfile_are_counted_and_each_once() {
    let mut progress = Progress::default();
    for _ in 0..2 {
        progress.take(StatusResponse {
            vertexes: vec![
                vertex("[internal] load remote build context", true, true, false, ""),
                vertex("[1/4] FROM docker.io/library/base", true, true, true, ""),
                vertex("[2/4] COPY . .", true, true, true, ""),
                vertex("[stage-1 3/4] RUN make", true, true, false, ""),
                vertex("exporting to image", true, true, false, ""),
            ],
            ..Default::default()
        });
    }
    assert_eq!((progress.steps_done, progress.steps_cached), (2, 1));
}

#[test]
fn the_step_that_failed_first_is_named_with_its_output_and_exit_code() {
    let mut progress = Progress::default();
    progress.take(StatusResponse {
        vertexes: vec![
            vertex("[b 2/2] RUN sleep 9", true, true, false, "executor failed running [/bin/sh]: context canceled"),
            vertex("[a 2/2] RUN false", true, true, false, "executor failed running [/bin/sh -c false]: exit code: 37"),
        ],
        logs: vec![log("[a 2/2] RUN false", 2, "no compiler\n")],
        ..Default::default()
    });
    let failed = progress.failed().expect("a failed step");
    assert_eq!((failed.name.as_str(), failed.exit_code), ("[a 2/2] RUN false", Some(37)));
    assert_eq!(failed.last_lines, ["no compiler"]);
}

#[test]
fn exit_codes_are_read_in_both_wordings() {
    assert_eq!(exit_code("executor failed running [/bin/sh -c x]: exit code: 37"), Some(37));
    assert_eq!(exit_code("process \"/bin/sh -c x\" did not complete successfully: exit code: 127: not found"), Some(127));
    assert_eq!(exit_code("failed to compute cache key: \"/x\" not found"), None);
}

#[test]
fn a_line_without_an_end_does_not_fill_memory() {
    let mut progress = Progress::default();
    let chunk = "x".repeat(10_000);
    for _ in 0..10 {
        progress.take(StatusResponse { logs: vec![log("[1/1] RUN x", 1, &chunk)], ..Default::default() });
    }
    let events = progress.take(StatusResponse { logs: vec![log("[1/1] RUN x", 1, "\n")], ..Default::default() });
    assert_eq!(lines(&events)[0].len(), 16 * 1024);
}
