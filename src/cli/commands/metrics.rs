//! `metrics`: what the proxy measured of an app's requests.

use std::process::ExitCode;
use std::time::Duration;

use super::super::args::MetricsArgs;
use super::super::print::{bytes, nobody_reads, table};
use super::{CliError, Context, Outcome};
use crate::api::client::Client;
use crate::api::types::metrics::{Counts, Figures, Metrics, MetricsQuery, Row, Times};
use crate::names::AppName;

/// Between two tables of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

pub async fn run(context: &Context, args: MetricsArgs) -> Outcome {
    let client = context.client()?;
    if args.prometheus {
        let named = args.name.is_some() || context.global.app.is_some();
        let app = if named { Some(context.app_or(args.name)?) } else { None };
        let text = client.prometheus(&MetricsQuery { window: None, app }).await?;
        context.screen.text(&text).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let app = context.app_or(args.name)?;
    let query = MetricsQuery { window: args.window.map(|window| window.as_secs()), app: None };
    if !args.watch {
        return show(context, &client, &app, &query).await;
    }
    let showing = async {
        loop {
            show(context, &client, &app, &query).await?;
            tokio::time::sleep(PAUSE).await;
            if !context.global.json {
                context.screen.data("").map_err(CliError::output)?;
            }
        }
    };
    tokio::select! {
        ended = showing => ended,
        () = nobody_reads() => Err(CliError::NobodyReads),
    }
}

async fn show(context: &Context, client: &Client, app: &AppName, query: &MetricsQuery) -> Outcome {
    let metrics = client.metrics(app, query).await?;
    if context.global.json {
        context.screen.json(&metrics).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&metrics) {
        context.screen.data(&line).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(in crate::cli) fn lines(metrics: &Metrics) -> Vec<String> {
    let window = humantime::format_duration(Duration::from_secs(metrics.window));
    let all = &metrics.all;
    let mut lines = vec![format!(
        "=== {}: {} requests in {window}, {} in flight, {} since measuring began",
        metrics.app, all.counts.requests, all.in_flight, all.totals.requests
    )];
    if metrics.requests.len() > 1 {
        let most = metrics.requests.iter().max().copied().unwrap_or_default();
        lines.push(format!("{}  at most {most} in {} s", sparkline(&metrics.requests), metrics.step));
    }
    let mut rows: Vec<Vec<String>> = metrics.rows.iter().map(|row| cells(name(row), release(row), &row.figures)).collect();
    if rows.len() != 1 {
        rows.push(cells("all".to_owned(), String::new(), all));
    }
    let heads = [
        "NAME",
        "RELEASE",
        "REQ/S",
        "2XX",
        "3XX",
        "4XX",
        "5XX",
        "OTHER",
        "FIRST P50",
        "P95",
        "P99",
        "TOTAL P50",
        "P95",
        "P99",
        "DIAL P99",
        "NOW",
        "IN",
        "OUT",
        "RETRIED",
    ];
    lines.extend(table(&heads, &rows));
    lines.extend(dropped(&all.counts));
    lines
}

fn name(row: &Row) -> String {
    match (&row.process, row.index, row.instance, row.release) {
        (Some(process), Some(index), ..) => format!("{process}.{index}"),
        (Some(process), None, Some(id), _) => format!("{process} {id}"),
        (.., Some(_)) => "(gone)".to_owned(),
        _ => "(proxy)".to_owned(),
    }
}

fn release(row: &Row) -> String {
    super::or_dash(row.release)
}

fn cells(name: String, release: String, of: &Figures) -> Vec<String> {
    let class = |class: &str| of.counts.by_class.get(class).copied().unwrap_or_default();
    let mut cells = vec![name, release, format!("{:.1}", of.per_second)];
    cells.extend(["2xx", "3xx", "4xx", "5xx"].map(|c| class(c).to_string()));
    cells.push((class("1xx") + class("none")).to_string());
    let three = |times: &Times| [times.p50_micros, times.p95_micros, times.p99_micros].map(time);
    cells.extend(three(&of.first_byte));
    cells.extend(three(&of.total));
    cells.push(time(of.dial.p99_micros));
    cells.push(of.in_flight.to_string());
    cells.extend([of.counts.bytes_in, of.counts.bytes_out].map(bytes));
    cells.push(of.counts.retried.to_string());
    cells
}

fn dropped(counts: &Counts) -> Option<String> {
    let why: Vec<String> = counts.dropped.iter().map(|(why, n)| format!("{n} {}", why.replace('_', " "))).collect();
    (!why.is_empty()).then(|| format!("without a whole answer of the app: {}", why.join(", ")))
}

/// Three digits, and a unit that fits.
fn time(micros: Option<u64>) -> String {
    #[allow(clippy::cast_precision_loss)] // of minutes
    let as_float = |micros: u64| micros as f64;
    match micros {
        None => "-".to_owned(),
        Some(us @ 0..1_000) => format!("{us}µs"),
        Some(us @ 1_000..10_000) => format!("{:.1}ms", as_float(us) / 1e3),
        Some(us @ 10_000..1_000_000) => format!("{}ms", us / 1_000),
        Some(us) => format!("{:.1}s", as_float(us) / 1e6),
    }
}

/// One character for each count, as high as it is beside the highest.
fn sparkline(counts: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().max().copied().unwrap_or_default().max(1);
    let bar = |n: u64| usize::try_from((n * 7).div_ceil(most)).unwrap_or(7).min(7);
    counts.iter().map(|n| BARS[bar(*n)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sparklines_are_short() {
        let shown = [None, Some(7), Some(1_549), Some(212_345), Some(12_345_678)].map(time);
        assert_eq!(shown, ["-", "7µs", "1.5ms", "212ms", "12.3s"]);
        assert_eq!(sparkline(&[0, 1, 50, 100]), "▁▂▅█");
        assert_eq!(sparkline(&[0, 0]), "▁▁");
    }
}
