//! The text format of Prometheus, version 0.0.4: for each metric one HELP and one TYPE line, then all its samples.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::metrics::{CLASSES, Now};
use crate::base::histogram::Histogram;
use crate::names::{AppName, InstanceId};
use crate::routes::metrics::{OfApp, OfTarget};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of the buckets that are told, as powers of two in microseconds: 128 µs to 134 s. A bucket of ours begins at each.
const BOUNDS: std::ops::RangeInclusive<u32> = 7..=27;

/// The name of a family, its help, and where its values come from.
type Family<V> = (&'static str, &'static str, V);
type OfCount = fn(&OfTarget) -> u64;
/// Of what is in flight, and of its streams.
type OfNow = fn((u64, u64)) -> u64;
type OfHistogram = fn(&OfTarget) -> &Histogram;

/// The metrics of `apps`; `now` is what is in flight; `turned_away` is told to whom the whole proxy is shown.
pub fn text<'a>(
    apps: impl Iterator<Item = (&'a AppName, &'a OfApp)>,
    now: &Now,
    turned_away: Option<&BTreeMap<String, u64>>,
) -> String {
    let apps: Vec<(&AppName, &OfApp)> = apps.collect();
    let targets =
        || apps.iter().flat_map(|(app, of)| of.targets.iter().map(move |(id, target)| (labels(app, *id, target), *id, target)));
    let mut page = Page(String::new());
    page.begin(
        "paas_http_requests_total",
        "counter",
        "Requests that ended, by class of the status; without an instance: the proxy's own answers.",
    );
    for (labels, _, target) in targets() {
        page.classes(&labels, target.series.total.by_class);
    }
    for (app, of) in &apps {
        page.classes(&format!("app=\"{app}\""), of.own.total.by_class);
    }
    page.begin("paas_http_dropped_total", "counter", "Requests that got no whole answer of the app, by why.");
    for (labels, _, target) in targets() {
        page.reasons(&labels, &target.series.total.dropped);
    }
    for (app, of) in &apps {
        page.reasons(&format!("app=\"{app}\""), &of.own.total.dropped);
    }
    let counters: [Family<OfCount>; 5] = [
        ("paas_http_request_body_bytes_total", "Bytes of bodies that went to the instance.", |t| t.series.total.bytes_in),
        ("paas_http_response_body_bytes_total", "Bytes of bodies that came from the instance.", |t| t.series.total.bytes_out),
        ("paas_http_retries_total", "Requests that were sent again.", |t| t.series.total.retried),
        ("paas_http_held_total", "Requests that waited for an instance first.", |t| t.series.total.held),
        ("paas_http_streams_total", "Requests that became tunnels or streams and ended.", |t| t.series.total.streams),
    ];
    for (name, help, value) in counters {
        page.begin(name, "counter", help);
        targets().for_each(|(labels, _, target)| page.sample(name, &labels, value(target)));
    }
    let gauges: [Family<OfNow>; 2] = [
        ("paas_http_in_flight", "Requests in flight now.", |(in_flight, _)| in_flight),
        ("paas_http_open_streams", "Of the requests in flight, those that are streams.", |(_, streams)| streams),
    ];
    for (name, help, value) in gauges {
        page.begin(name, "gauge", help);
        targets().for_each(|(labels, id, _)| page.sample(name, &labels, value(now.get(&id).copied().unwrap_or_default())));
    }
    let histograms: [Family<OfHistogram>; 3] = [
        ("paas_http_request_duration_seconds", "From the request's head to the last byte of the answer; not of streams.", |t| {
            &t.series.total.total
        }),
        ("paas_http_first_byte_seconds", "From the request's head to the head of the instance's answer.", |t| {
            &t.series.total.first_byte
        }),
        ("paas_http_dial_seconds", "New connections to the instance.", |t| &t.series.total.dial),
    ];
    for (name, help, of) in histograms {
        page.begin(name, "histogram", help);
        targets().for_each(|(labels, _, target)| page.histogram(name, &labels, of(target)));
    }
    if let Some(turned_away) = turned_away {
        page.begin("paas_proxy_turned_away_total", "counter", "Clients that a limit of the proxy turned away, of all apps.");
        turned_away.iter().for_each(|(why, n)| page.sample("paas_proxy_turned_away_total", &format!("reason=\"{why}\""), *n));
    }
    page.0
}

/// Names have no characters that would have to be escaped.
fn labels(app: &AppName, id: InstanceId, target: &OfTarget) -> String {
    format!("app=\"{app}\",process=\"{}\",release=\"{}\",instance=\"{id}\"", target.process, target.release)
}

struct Page(String);

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn classes(&mut self, labels: &str, by_class: [u64; 6]) {
        for (class, count) in CLASSES.iter().zip(by_class) {
            self.sample("paas_http_requests_total", &format!("{labels},class=\"{class}\""), count);
        }
    }

    fn reasons(&mut self, labels: &str, dropped: &BTreeMap<String, u64>) {
        for (why, count) in dropped {
            self.sample("paas_http_dropped_total", &format!("{labels},reason=\"{}\"", escaped(why)), count);
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, of: &Histogram) {
        for power in BOUNDS {
            let bound = 1u64 << power;
            self.sample(&format!("{name}_bucket"), &format!("{labels},le=\"{}\"", seconds(bound)), of.below(bound));
        }
        self.sample(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), of.count());
        self.sample(&format!("{name}_sum"), labels, seconds(of.sum));
        self.sample(&format!("{name}_count"), labels, of.count());
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A reason comes from a proxy that may be newer.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ProcessName, ReleaseNumber};
    use crate::routes::metrics::Series;
    use crate::wire::metrics::Sums;

    #[test]
    fn the_format_is_that_of_prometheus() {
        let app = AppName::parse("shop").expect("a name");
        let total = Histogram::new(
            [(crate::base::histogram::bucket(200), 2), (crate::base::histogram::bucket(3_000_000), 1)].into_iter(),
            3_000_400,
        );
        let dropped = [("we\"ird".to_owned(), 1)].into();
        let sums = Sums { by_class: [0, 0, 3, 0, 0, 0], bytes_out: 7, total, dropped, ..Sums::default() };
        let series = Series { total: sums, ..Series::default() };
        let (process, release) = (ProcessName::parse("web").expect("a name"), ReleaseNumber(2));
        let mut of = OfApp::default();
        of.targets.insert(InstanceId(5), OfTarget { process, release, series });
        let now = [(InstanceId(5), (4, 1))].into();
        let text = text([(&app, &of)].into_iter(), &now, Some(&[("malformed".to_owned(), 9)].into()));
        let l = "app=\"shop\",process=\"web\",release=\"v2\",instance=\"i5\"";
        for line in [
            format!("paas_http_requests_total{{{l},class=\"2xx\"}} 3"),
            "paas_http_requests_total{app=\"shop\",class=\"5xx\"} 0".to_owned(),
            format!("paas_http_dropped_total{{{l},reason=\"we\\\"ird\"}} 1"),
            format!("paas_http_in_flight{{{l}}} 4"),
            "# TYPE paas_http_request_duration_seconds histogram".to_owned(),
            format!("paas_http_request_duration_seconds_bucket{{{l},le=\"0.000128\"}} 0"),
            format!("paas_http_request_duration_seconds_bucket{{{l},le=\"0.000256\"}} 2"),
            format!("paas_http_request_duration_seconds_bucket{{{l},le=\"4.194304\"}} 3"),
            format!("paas_http_request_duration_seconds_bucket{{{l},le=\"+Inf\"}} 3"),
            format!("paas_http_request_duration_seconds_sum{{{l}}} 3.0004"),
            format!("paas_http_request_duration_seconds_count{{{l}}} 3"),
            "paas_proxy_turned_away_total{reason=\"malformed\"} 9".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.lines().filter(|l| l.starts_with("# TYPE paas_http_requests_total ")).count(), 1);
        assert!(text.ends_with('\n') && !text.contains("\n\n"));
        assert_eq!((seconds(0), seconds(1_000_000), seconds(134_217_728)), ("0".into(), "1".into(), "134.217728".into()));
    }
}
