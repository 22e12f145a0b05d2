//! `/apps/{app}/why`

use axum::Json;
use axum::extract::{Path, State};

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::types::why::{End, EndCause, Verdict, Why};
use crate::model;
use crate::model::access::Right;
use crate::model::end::Cause;

pub async fn why(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Why>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let mut story = server.world.why(&app).await?;
    if !who.0.may(Right::Operate, Some(&app.name)) {
        // Who may not read config need not know its keys.
        story.changed.retain(|line| !line.starts_with("config:"));
    }
    Ok(Json(Why {
        app: app.name,
        release: app.live,
        verdict: verdict(story.verdict),
        summary: story.summary,
        end: story.end.map(end),
        last_lines: story.last_lines,
        since: story.since,
        changed: story.changed,
        done: story.done,
        next: story.next,
    }))
}

fn end(end: model::end::End) -> End {
    End {
        at: end.at,
        name: end.label(),
        instance: end.instance,
        release: end.release,
        cause: cause(end.told.cause),
        how: end.phrase(),
        code: end.told.code,
        signal: end.told.signal,
        limit: end.told.limit,
        ran_ms: end.told.ran_ms,
        in_a_row: end.told.in_a_row,
        restarts: end.told.restarts,
    }
}

fn verdict(verdict: model::why::Verdict) -> Verdict {
    match verdict {
        model::why::Verdict::Nothing => Verdict::Nothing,
        model::why::Verdict::Well => Verdict::Well,
        model::why::Verdict::Recovered => Verdict::Recovered,
        model::why::Verdict::Troubled => Verdict::Troubled,
        model::why::Verdict::Down => Verdict::Down,
        model::why::Verdict::DeployFailed => Verdict::DeployFailed,
    }
}

fn cause(cause: Cause) -> EndCause {
    match cause {
        Cause::Exit => EndCause::Exit,
        Cause::Signal => EndCause::Signal,
        Cause::OutOfMemory => EndCause::OutOfMemory,
        Cause::Hung => EndCause::Hung,
        Cause::Disk => EndCause::Disk,
        Cause::NotStarted => EndCause::NotStarted,
        Cause::Lost => EndCause::Lost,
    }
}
