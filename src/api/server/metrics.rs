//! `/apps/{app}/metrics`, `/metrics`

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Server;
use super::access::Who;
use super::fail::Fail;
use super::prometheus;
use crate::api::types::metrics::{Counts, Figures, Metrics, MetricsQuery, Row, Times};
use crate::base::clock::UnixMillis;
use crate::base::histogram::Histogram;
use crate::model::access::Right;
use crate::names::{AppName, InstanceId};
use crate::routes::metrics::{OfApp, SLICE, SPAN, Series};
use crate::routes::proxies::Proxies;
use crate::wire::metrics::Sums;

/// Seconds that `paas metrics` tells of.
const WINDOW: u64 = 300;
/// Steps of a sparkline at most.
const STEPS: u64 = 60;

pub const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests in flight and streams of each instance, now.
pub type Now = BTreeMap<InstanceId, (u64, u64)>;

pub async fn of_app(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    Query(ask): Query<MetricsQuery>,
) -> Result<Json<Metrics>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let window = ask.window.unwrap_or(WINDOW);
    if !(SLICE..=SPAN).contains(&window) {
        return Err(Fail::invalid(format!("a window of {window} seconds is not possible; from {SLICE} to {SPAN} are")));
    }
    let rows = server.world.store.instances_of(app.id).await?;
    let index: BTreeMap<InstanceId, u32> = rows.iter().map(|row| (row.id, row.index)).collect();
    let proxies = &server.world.publisher.proxies;
    let now = now(proxies, &[&app.name]);
    let (meters, seconds) = (proxies.meters(), proxies.seconds());
    let none = OfApp::default();
    let mut metrics = shown(&app.name, meters.app(&app.name).unwrap_or(&none), &now, seconds, window);
    // A proxy may still name an instance that was gone before this daemon began.
    metrics.rows.retain(|row| row.instance.is_none_or(|id| index.contains_key(&id)));
    for row in &mut metrics.rows {
        row.index = row.instance.and_then(|id| index.get(&id).copied());
    }
    Ok(Json(metrics))
}

pub async fn all(State(server): State<Server>, who: Who, Query(ask): Query<MetricsQuery>) -> Result<Response, Fail> {
    if let Some(app) = &ask.app {
        who.must(Right::Deploy, Some(app))?;
    }
    let known = server.world.store.apps().await?.into_iter().map(|app| app.name);
    let seen = known.filter(|app| who.0.may(Right::Deploy, Some(app)) && ask.app.as_ref().is_none_or(|only| only == app));
    let seen: BTreeSet<AppName> = seen.collect();
    let whole = ask.app.is_none() && who.0.may(Right::Administer, None);
    let proxies = &server.world.publisher.proxies;
    let now = now(proxies, &seen.iter().collect::<Vec<_>>());
    let meters = proxies.meters();
    let apps = seen.iter().filter_map(|name| Some((name, meters.app(name)?)));
    let text = prometheus::text(apps, &now, whole.then(|| meters.turned_away()));
    drop(meters);
    Ok(([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response())
}

fn now(proxies: &Proxies, apps: &[&AppName]) -> Now {
    let ids: Vec<InstanceId> = {
        let meters = proxies.meters();
        apps.iter().filter_map(|app| meters.app(app)).flat_map(|app| app.targets.keys().copied()).collect()
    };
    let counts = ids.into_iter().map(|id| (id, proxies.counts(id)));
    counts.map(|(id, counts)| (id, (counts.in_flight, counts.streams))).collect()
}

/// The figures of the last `window` seconds. `seconds` is the clock of the meters.
fn shown(name: &AppName, app: &OfApp, now: &Now, seconds: u64, window: u64) -> Metrics {
    // The slice that is not over counts as one.
    let from = (seconds / SLICE * SLICE + SLICE).saturating_sub(window / SLICE * SLICE);
    let figures =
        |series: &Series| figures(&series.window.since(from), &series.total, seconds - series.begun.max(from).min(seconds));
    let mut rows = Vec::new();
    for (id, target) in &app.targets {
        let (in_flight, streams) = now.get(id).copied().unwrap_or_default();
        let figures = Figures { in_flight, streams, ..figures(&target.series) };
        let (release, process) = (Some(target.release), Some(target.process.clone()));
        rows.push(Row { release, instance: Some(*id), process, index: None, figures });
    }
    let bare = |release, series| Row { release, instance: None, process: None, index: None, figures: figures(series) };
    rows.extend(app.gone.iter().rev().map(|(release, series)| bare(Some(*release), series)));
    if !app.own.total.is_empty() {
        rows.push(bare(None, &app.own));
    }
    let mut lately = Sums::default();
    let step = (window / STEPS).div_ceil(SLICE).max(1) * SLICE;
    let mut requests = vec![0; usize::try_from((seconds - from) / step + 1).unwrap_or(1)];
    for series in app.all() {
        lately.add(&series.window.since(from));
        series.window.requests(from, step, &mut requests);
    }
    let all = Figures {
        in_flight: now.values().map(|(in_flight, _)| in_flight).sum(),
        streams: now.values().map(|(_, streams)| streams).sum(),
        ..self::figures(&lately, &app.total(), seconds - from)
    };
    Metrics { app: name.clone(), at: UnixMillis::now(), window: seconds - from, all, rows, requests, step }
}

#[allow(clippy::cast_precision_loss)]
fn figures(lately: &Sums, total: &Sums, seconds: u64) -> Figures {
    Figures {
        per_second: lately.requests() as f64 / seconds.max(1) as f64,
        in_flight: 0,
        streams: 0,
        counts: counts(lately),
        totals: counts(total),
        first_byte: times(&lately.first_byte),
        total: times(&lately.total),
        dial: times(&lately.dial),
    }
}

fn counts(sums: &Sums) -> Counts {
    Counts {
        requests: sums.requests(),
        by_class: CLASSES.iter().zip(sums.by_class).map(|(class, n)| ((*class).to_owned(), n)).collect(),
        bytes_in: sums.bytes_in,
        bytes_out: sums.bytes_out,
        held: sums.held,
        retried: sums.retried,
        streams: sums.streams,
        dropped: sums.dropped.clone(),
    }
}

fn times(of: &Histogram) -> Times {
    let count = of.count();
    Times {
        count,
        mean_micros: of.sum.checked_div(count),
        p50_micros: of.quantile(0.5),
        p95_micros: of.quantile(0.95),
        p99_micros: of.quantile(0.99),
    }
}
