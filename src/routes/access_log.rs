//! Access lines of the proxies → the app's log, as process `router`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::base::clock::UnixMillis;
use crate::logs::{Kind, LineWriter, LogStore, Source, Stream};
use crate::names::AppName;
use crate::wire::proxy::{AccessLine, WHOLE};

/// Proxy processes whose lost lines are remembered: more than can be connected at once.
const MOST_PROCESSES: usize = 100;

/// Writes access lines of the apps that there are.
pub struct AccessLog {
    logs: Arc<LogStore>,
    /// By app; a writer is opened at its first line. Of no other app anything is written: its folder would be made, or made again.
    apps: Mutex<BTreeMap<AppName, Option<Arc<LineWriter>>>>,
    /// How many lines each proxy process says it has lost; the difference is told in the log.
    lost: Mutex<BTreeMap<String, u64>>,
}

impl AccessLog {
    pub fn new(logs: Arc<LogStore>) -> Self {
        Self { logs, apps: Mutex::default(), lost: Mutex::default() }
    }

    /// Takes a batch of one proxy process and its cumulative count of lost lines.
    pub fn write(&self, lines: &[AccessLine<'_>], lost: u64, generation: &str) {
        let newly_lost = {
            let mut all = self.lost.lock().expect("no code panics while it holds this lock");
            let before = all.insert(generation.to_owned(), lost).unwrap_or(0);
            if all.len() > MOST_PROCESSES
                && let Some(other) = all.keys().find(|process| *process != generation).cloned()
            {
                all.remove(&other);
            }
            lost.saturating_sub(before)
        };
        for line in lines {
            if let Some(app) = &line.app {
                self.line(app, line.at, &text(line));
            }
        }
        // The proxy does not know any more whose lines they were: every app that is in this batch is told.
        let told: BTreeSet<&AppName> = lines.iter().filter_map(|l| l.app.as_deref()).filter(|_| newly_lost > 0).collect();
        for app in told {
            let text = format!("at=warn lost={newly_lost} desc=\"access lines were lost while the daemon was away or slow\"");
            self.line(app, UnixMillis::now(), &text);
        }
    }

    fn line(&self, app: &AppName, at: UnixMillis, text: &str) {
        // Held while the line is written: who has forgotten an app may remove its folder.
        let mut apps = self.apps();
        let Some(writer) = apps.get_mut(app) else { return };
        if writer.is_none() {
            match self.logs.writer(&Source::of_kind(app.clone(), Kind::Router)) {
                Ok(opened) => *writer = Some(opened),
                Err(e) => return tracing::warn!(%app, "the app's access log cannot be written: {e}"),
            }
        }
        if let Some(writer) = writer {
            writer.line_at(at, Stream::Stdout, text);
        }
    }

    /// These are the apps that there are; the writers of others are closed.
    pub fn keep_to(&self, known: &BTreeSet<AppName>) {
        let mut apps = self.apps();
        apps.retain(|app, _| known.contains(app));
        for app in known {
            apps.entry(app.clone()).or_default();
        }
    }

    /// The app is gone; so is its writer.
    pub fn forget(&self, app: &AppName) {
        self.apps().remove(app);
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<AppName, Option<Arc<LineWriter>>>> {
        self.apps.lock().expect("no code panics while it holds this lock")
    }
}

/// One line in the manner of Heroku's router: `at=info method=GET path="/" host=… status=200 …`.
fn text(line: &AccessLine<'_>) -> String {
    let level = if line.status >= 500 { "error" } else { "info" };
    let mut text = format!(
        "at={level} method={} path={:?} host={} fwd=\"{}\" status={} bytes={} in={} service={:.1}ms request_id={}",
        line.method,
        line.path,
        line.host,
        line.client,
        line.status,
        line.bytes_out,
        line.bytes_in,
        millis(line.micros_total),
        line.request_id,
    );
    if let Some(first) = line.micros_first_byte {
        let _ = write!(text, " first={:.1}ms", millis(first));
    }
    if let Some(target) = line.target {
        let _ = write!(text, " target={target}");
    }
    if line.held_ms > 0 {
        let _ = write!(text, " held={}ms", line.held_ms);
    }
    if line.retries > 0 {
        let _ = write!(text, " retries={}", line.retries);
    }
    if line.sample_ppm < WHOLE {
        let _ = write!(text, " sample={}", f64::from(line.sample_ppm) / f64::from(WHOLE));
    }
    if let Some(error) = &line.error {
        let _ = write!(text, " error={error:?}");
    }
    text
}

/// The fields of an access line, as `text` wrote it: names and values, quotes taken away. None: it is another line.
pub fn fields(text: &str) -> Option<BTreeMap<&str, String>> {
    let mut fields = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        fields.insert(name, value);
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    (fields.contains_key("method") && fields.contains_key("request_id")).then_some(fields)
}

/// A string up to its closing quote, as `{:?}` writes it, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                '0' => value.push('\0'),
                'u' => {
                    let code = chars.as_str().strip_prefix('{')?.split_once('}')?.0;
                    value.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                    chars.nth(code.len() + 1)?;
                }
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

fn millis(micros: u64) -> f64 {
    // Durations of requests are far below 2^52 µs.
    #[allow(clippy::cast_precision_loss)]
    let micros = micros as f64;
    micros / 1000.0
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::names::InstanceId;

    #[test]
    fn the_fields_of_a_line_are_those_that_were_written() {
        let mut line = AccessLine {
            at: UnixMillis(0),
            app: None,
            target: Some(InstanceId(7)),
            method: "GET".into(),
            path: "/a b?q=\"x\"&e=ü\u{7}\n\\ c=d".into(),
            host: "shop.test".into(),
            status: 200,
            bytes_in: 3,
            bytes_out: 4,
            micros_total: 1500,
            micros_first_byte: Some(900),
            client: std::net::Ipv6Addr::LOCALHOST.into(),
            request_id: "abc".into(),
            held_ms: 0,
            retries: 0,
            error: Some("it \"broke\" off".into()),
            sample_ppm: 100_000,
        };
        let written = text(&line);
        let found = fields(&written).expect("an access line");
        assert_eq!((found["path"].as_str(), found["error"].as_str()), (&*line.path, "it \"broke\" off"));
        assert_eq!((found["service"].as_str(), found["first"].as_str(), found["fwd"].as_str()), ("1.5ms", "0.9ms", "::1"));
        assert_eq!((found["sample"].as_str(), found["target"].as_str(), found["status"].as_str()), ("0.1", "i7", "200"));
        line.sample_ppm = WHOLE;
        assert!(!text(&line).contains("sample"));
        assert_eq!(fields("at=warn lost=7 desc=\"access lines were lost\""), None);
        assert_eq!(fields("not a line"), None);
    }

    fn shop() -> AppName {
        AppName::parse("shop").expect("an app")
    }

    /// The logs in this folder, access lines of no app yet, and one of the app shop.
    fn begun(folder: &std::path::Path) -> (Arc<LogStore>, AccessLog, AccessLine<'static>) {
        let config = crate::config::LogsConfig { max_bytes_per_app: 1 << 20, lines_per_second: 100, burst: 100 };
        let logs = LogStore::open(folder.to_owned(), &config);
        let mut line: AccessLine<'static> = serde_json::from_str(
            r#"{"at":1,"app":"shop","target":null,"method":"GET","path":"/","host":"shop.test","status":200,"bytes_in":0,"bytes_out":0,"micros_total":1,"micros_first_byte":null,"client":"::1","request_id":"id","held_ms":0,"retries":0,"error":null}"#,
        )
        .expect("a line");
        line.at = UnixMillis::now();
        (Arc::clone(&logs), AccessLog::new(logs), line)
    }

    #[test]
    fn lines_that_were_lost_are_told_once_to_those_whose_they_may_have_been() {
        let folder = tempfile::tempdir().expect("a temp dir");
        let (logs, log, line) = begun(folder.path());
        let app = shop();
        log.keep_to(&BTreeSet::from([shop()]));
        // Cumulative, for each process of its own.
        for (lost, generation) in [(0, "one"), (7, "one"), (7, "one"), (9, "one"), (3, "two")] {
            log.write(std::slice::from_ref(&line), lost, generation);
        }
        let query = crate::logs::Query::of(app);
        let page = logs.query(&query, None).expect("the log");
        let told: Vec<&str> = page.lines.iter().filter_map(|l| l.text.strip_prefix("at=warn lost=")?.split(' ').next()).collect();
        assert_eq!(told, ["7", "2", "3"]);
    }

    #[test]
    fn nothing_is_written_of_an_app_that_is_gone_or_never_was() {
        let folder = tempfile::tempdir().expect("a temp dir");
        let (logs, log, line) = begun(folder.path());
        let there = || std::fs::read_dir(folder.path()).expect("read").count();
        log.keep_to(&BTreeSet::from([shop()]));
        log.write(std::slice::from_ref(&line), 0, "one");
        assert_eq!(there(), 1);

        // One that ended after the end of its app; and an app of that name has only its own.
        log.forget(&shop());
        logs.remove_app(&shop()).expect("removed");
        log.write(std::slice::from_ref(&line), 0, "one");
        assert_eq!(there(), 0);
        log.keep_to(&BTreeSet::from([shop()]));
        log.write(std::slice::from_ref(&line), 0, "one");
        let query = crate::logs::Query::of(shop());
        assert_eq!(logs.query(&query, None).expect("the log").lines.len(), 1);

        log.keep_to(&BTreeSet::new());
        logs.remove_app(&shop()).expect("removed");
        for n in 0..100 {
            let app = Some(Cow::Owned(AppName::parse(&format!("app-{n}")).expect("an app")));
            log.write(&[AccessLine { app, ..line.clone() }, line.clone()], 0, "one");
        }
        assert_eq!(there(), 0);
    }

    #[test]
    fn what_is_remembered_of_proxies_that_make_themselves_up_is_bounded() {
        let folder = tempfile::tempdir().expect("a temp dir");
        let log = begun(folder.path()).1;
        (0..1000).for_each(|n| log.write(&[], 1, &format!("process {n}")));
        let lost = log.lost.lock().expect("lost");
        assert!(lost.len() == MOST_PROCESSES && lost.contains_key("process 999"), "{lost:?}");
    }
}
