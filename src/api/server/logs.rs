//! `/apps/{app}/logs`: the past, then (with `tail`) whatever comes, until the client leaves.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use tokio::sync::mpsc::Sender;

use super::Server;
use super::access::Who;
use super::events::ndjson;
use super::fail::{Fail, internal};
use crate::api::types::logs::{Access, LogEvent, LogKind, LogLine, LogStream, LogsQuery};
use crate::logs::{self, Cursor, Kind, LogStore, Page, Stream};
use crate::model::access::Right;
use crate::routes::access_log;

/// What `paas logs` shows without `-n`.
const DEFAULT_LINES: usize = 100;

pub async fn logs(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    Query(ask): Query<LogsQuery>,
) -> Result<Response, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let processes =
        ask.process.iter().flat_map(|p| p.split(',')).map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect();
    // Everything since a moment, unless a number was given too.
    let num = if ask.since.is_some() { ask.num } else { Some(ask.num.unwrap_or(DEFAULT_LINES)) };
    let asker = logs::Asker::default();
    // Goes with this request until there is an answer, and then with what sends it.
    let stay = asker.stays();
    let query = logs::Query { app: app.name, num, processes, since: ask.since, grep: ask.grep, asker };
    let cursor = ask.cursor.as_deref().map(str::parse::<Cursor>).transpose().map_err(|e| Fail::invalid(e.to_string()))?;
    let store = server.world.logs.clone();
    let first = page(store.clone(), query.clone(), cursor.clone()).await?;
    let (to, events) = tokio::sync::mpsc::channel(256);
    let mut stopping = server.world.crew.stopping();
    let name = format!("log reader {}", server.world.serial());
    server.world.crew.start_once(&name, async move {
        let _stay = stay;
        // A daemon that stops does not wait for readers; they come back with their cursor. A reader that has left ends the sending; there is nothing else to do about it.
        tokio::select! {
            _ = send_all(&store, query, first, cursor, ask.tail, &to) => {}
            () = to.closed() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    });
    Ok(ndjson(tokio_stream::wrappers::ReceiverStream::new(events)))
}

/// Reading a log may touch many files: not on the runtime's threads.
async fn page(store: std::sync::Arc<LogStore>, query: logs::Query, cursor: Option<Cursor>) -> Result<Page, Fail> {
    let read = tokio::task::spawn_blocking(move || store.query(&query, cursor.as_ref())).await;
    read.map_err(|e| internal(&e))?.map_err(|e| internal(&e))
}

/// `None`: the reader has left.
async fn send_all(
    store: &std::sync::Arc<LogStore>,
    mut query: logs::Query,
    first: Page,
    cursor: Option<Cursor>,
    tail: bool,
    to: &Sender<LogEvent>,
) -> Option<()> {
    let mut more = first.more;
    let mut at = send_page(first, cursor, to).await?;
    // From here on the cursor says where; the number was for the first page.
    query.num = None;
    while more {
        let next = page(store.clone(), query.clone(), Some(at.clone())).await.ok()?;
        more = next.more;
        at = send_page(next, Some(at), to).await?;
    }
    to.send(LogEvent::CaughtUp { cursor: at.to_string() }).await.ok()?;
    if !tail {
        return Some(());
    }
    let mut follow = store.follow(&query, at.clone()).ok()?;
    loop {
        let next = follow.next().await?.ok()?;
        at = send_page(next, Some(at), to).await?;
    }
}

/// Each line carries where a reader that has it goes on: the cursor before the page, moved past the lines up to it.
async fn send_page(page: Page, before: Option<Cursor>, to: &Sender<LogEvent>) -> Option<Cursor> {
    let mut at = before.unwrap_or_else(|| page.begin());
    for line in page.lines {
        at.pass(line.segment, line.end);
        let cursor = at.to_string();
        to.send(LogEvent::Line(show(line, cursor))).await.ok()?;
    }
    Some(page.cursor)
}

/// What an access line says, field by field.
fn access(text: &str) -> Option<Access> {
    let mut fields = access_log::fields(text)?;
    let millis = |value: &String| value.trim_end_matches("ms").parse().ok();
    let number = |name: &str| fields.get(name).and_then(|v| v.trim_end_matches("ms").parse().ok());
    Some(Access {
        status: fields.get("status").and_then(|v| v.parse().ok()).unwrap_or_default(),
        bytes_in: number("in").unwrap_or_default(),
        bytes_out: number("bytes").unwrap_or_default(),
        total_ms: fields.get("service").and_then(millis).unwrap_or_default(),
        first_byte_ms: fields.get("first").and_then(millis),
        instance: fields.get("target").and_then(|v| v.parse().ok()),
        held_ms: number("held").unwrap_or_default(),
        retries: number("retries").unwrap_or_default(),
        sample: fields.get("sample").and_then(|v| v.parse().ok()).unwrap_or(1.0),
        error: fields.remove("error"),
        method: fields.remove("method").unwrap_or_default(),
        path: fields.remove("path").unwrap_or_default(),
        host: fields.remove("host").unwrap_or_default(),
        client: fields.remove("fwd").unwrap_or_default(),
        request_id: fields.remove("request_id").unwrap_or_default(),
    })
}

fn show(line: logs::LogLine, cursor: String) -> LogLine {
    LogLine {
        access: if line.kind == Kind::Router { access(&line.text) } else { None },
        at: line.at,
        app: line.app,
        process: line.process,
        index: line.index,
        instance: line.instance,
        release: line.release,
        kind: match line.kind {
            Kind::App => LogKind::App,
            Kind::Build => LogKind::Build,
            Kind::Deploy => LogKind::Deploy,
            Kind::Router => LogKind::Router,
            Kind::Platform => LogKind::Platform,
        },
        stream: match line.stream {
            Stream::Stderr => LogStream::Stderr,
            Stream::Stdout | Stream::Platform | Stream::Header => LogStream::Stdout,
        },
        text: line.text,
        truncated: line.truncated,
        cursor,
    }
}
