//! A deploy's feed → the NDJSON stream of the API.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Serialize;

use super::Server;
use crate::api::types::deploys::{DeployEvent, DeployStream, RequestCounts, StageTime};
use crate::deploys::feed::{Follower, Happened, Next, Tone};
use crate::deploys::world::World;
use crate::model::deploy::{self, Deploy, State};
use crate::names::{DeployId, ReleaseNumber};
use crate::store::StoreError;

/// An answer of JSON lines.
pub fn ndjson<T: Serialize>(items: impl Stream<Item = T> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let lines = items.map(|item| Ok::<_, Infallible>(line(&item)));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn line<T: Serialize>(item: &T) -> Bytes {
    let mut bytes = serde_json::to_vec(item).expect("API types are plain data");
    bytes.push(b'\n');
    bytes.into()
}

/// One line and the end: there was nothing to deploy.
pub fn nothing(why: impl Into<String>) -> Response {
    ndjson(futures_util::stream::iter([DeployEvent::Nothing { why: why.into() }]))
}

impl Server {
    /// Everything that a deploy has told and will tell, from its start. With `wait` false only that it was admitted.
    pub fn events(&self, deploy: &Deploy, wait: bool) -> Response {
        ndjson(self.event_stream(deploy, wait))
    }

    pub fn event_stream(&self, deploy: &Deploy, wait: bool) -> impl Stream<Item = DeployEvent> + Send + 'static {
        let follower = self.world.feeds.follow(&deploy.app, deploy.id);
        let first = DeployEvent::Queued { deploy: deploy.id, app: deploy.app.clone(), position: 0 };
        let state = Following {
            world: Arc::clone(&self.world),
            follower,
            id: deploy.id,
            first: Some(first),
            seq: 0,
            wait,
            over: false,
            quiet_end: None,
        };
        futures_util::stream::unfold(state, |mut state| async move { state.next().await.map(|event| (event, state)) })
    }
}

/// One reader of a deploy's events.
struct Following {
    world: Arc<World>,
    follower: Follower,
    id: DeployId,
    first: Option<DeployEvent>,
    seq: u64,
    wait: bool,
    over: bool,
    /// Since when the row has been over while the feed did not say so.
    quiet_end: Option<Instant>,
}

/// What follows the end of a deploy takes a moment; its own last event is the better one.
const END_TO_COME: Duration = Duration::from_secs(20);

impl Following {
    async fn next(&mut self) -> Option<DeployEvent> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let stopping = self.world.crew.stopping();
        while self.wait && !self.over && !*stopping.borrow() {
            match self.follower.next().await.ok()?? {
                Next::Happened(happened) => {
                    self.seq += u64::from(matches!(happened, Happened::Line { .. }));
                    return Some(event(self.id, happened, self.seq));
                }
                Next::Quiet => {
                    if let Some(last) = self.missed().await {
                        self.over = true;
                        return Some(last);
                    }
                }
            }
        }
        None
    }

    /// The last event of a deploy that is over although its feed does not say so: a crash came between the row and the feed.
    async fn missed(&mut self) -> Option<DeployEvent> {
        let row = match self.world.store.deploy(self.id).await {
            Ok(row) => row,
            // Its app was destroyed.
            Err(StoreError::NotFound(_)) => return Some(DeployEvent::Cancelled { deploy: self.id, still_serves: None }),
            Err(_) => return None,
        };
        if !row.state.is_over() || self.quiet_end.get_or_insert_with(Instant::now).elapsed() < END_TO_COME {
            return None;
        }
        let still_serves = self.world.store.app_by_id(row.app_id).await.ok().and_then(|app| app.live);
        let others = self.world.store.deploys(row.app_id, u32::MAX).await.unwrap_or_default();
        Some(end_of(row, still_serves, &others))
    }
}

/// How a deploy that is over ended, by its row alone. `others`: the deploys of its app that are remembered.
fn end_of(row: Deploy, still_serves: Option<ReleaseNumber>, others: &[Deploy]) -> DeployEvent {
    let deploy = row.id;
    let next = row.superseded_by(others);
    match (row.state, row.failure, row.release, next) {
        (State::Live, _, Some(release), _) => {
            DeployEvent::Live { deploy, release, commit: row.commit, urls: Vec::new(), stages: Vec::new(), counts: None }
        }
        (State::Failed, Some(failure), ..) => event(deploy, Happened::Failed { failure, still_serves }, 0),
        (State::Superseded, _, _, Some(by)) => DeployEvent::Superseded { deploy, by },
        _ => DeployEvent::Cancelled { deploy, still_serves },
    }
}

fn event(deploy: DeployId, happened: Happened, seq: u64) -> DeployEvent {
    match happened {
        Happened::Queued { position, app } => DeployEvent::Queued { deploy, app, position },
        Happened::State { state, at } => DeployEvent::State { deploy, state: state.to_string(), at },
        Happened::Line { tone, text } => DeployEvent::Line { stream: stream(tone), text, seq },
        Happened::Live { release, commit, urls, stages, counts } => {
            let stages = stages.into_iter().map(|s| StageTime { stage: s.stage.to_string(), ms: s.ms }).collect();
            DeployEvent::Live { deploy, release, commit, urls, stages, counts: Some(self::counts(counts)) }
        }
        Happened::Failed { failure, still_serves } => DeployEvent::Failed {
            deploy,
            stage: failure.stage.to_string(),
            why: failure.why,
            last_lines: failure.last_lines,
            still_serves,
            next: failure.next,
        },
        Happened::Cancelled { still_serves } => DeployEvent::Cancelled { deploy, still_serves },
        Happened::Superseded { by } => DeployEvent::Superseded { deploy, by },
    }
}

fn stream(tone: Tone) -> DeployStream {
    match tone {
        Tone::Step => DeployStream::Step,
        Tone::Output => DeployStream::Build,
        Tone::Warning => DeployStream::Warning,
        Tone::Error => DeployStream::Error,
    }
}

pub fn counts(counts: deploy::RequestCounts) -> RequestCounts {
    RequestCounts {
        served: counts.served,
        held: counts.held,
        retried: counts.retried,
        drained: counts.drained,
        cut: counts.cut,
        dropped: counts.dropped,
        answered: counts.answered,
        complete: counts.complete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploys::tests::{Fixture, fixture, new_deploy};
    use crate::model::deploy::Origin;

    #[tokio::test]
    async fn a_lost_last_event_is_made_from_the_row() {
        let Fixture { dir: _dir, world, app } = fixture().await;
        let (mut deploy, _) = world.store.deploy_admit(&new_deploy(&app, Origin::Config)).await.expect("admitted");
        let id = deploy.id;
        deploy.state = State::Superseded;
        let (by, old) = (DeployId(id.0 + 2), deploy.clone());
        let other = |n: i64, origin: Origin| Deploy { id: DeployId(id.0 + n), origin, ..old.clone() };
        let back = Origin::Rollback { to: ReleaseNumber(1) };
        let ended = |others: &[Deploy]| end_of(deploy.clone(), None, others);
        let all = [other(3, Origin::Config), other(0, Origin::Config), other(2, Origin::Config), other(1, back)];
        assert_eq!(ended(&all), DeployEvent::Superseded { deploy: id, by }, "a rollback takes no change's place");
        assert_eq!(ended(&[]), DeployEvent::Cancelled { deploy: id, still_serves: None }, "who did it is forgotten");
        deploy.state = State::Live;
        deploy.release = Some(ReleaseNumber(4));
        assert!(matches!(end_of(deploy, None, &[]), DeployEvent::Live { release: ReleaseNumber(4), .. }));
    }
}
