//! The one alert channel: what somebody should know is raised here once, told to every receiver that the host config names, and cleared
//! when it is over.
//!
//! Owns: raising, clearing, sending by webhook and by program, and when a condition is worth an alert. Uses: store, config, model.
//! Never: blocks who raises (a message is a row; a worker sends it), lets an alert's failure fail anything else, logs the webhook's address.
//! Invariants: one open alert per kind and subject; a message is sent at least once, also over a restart, and given up after bounded tries.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, watch};

use crate::base::clock::UnixMillis;
use crate::config::AlertsConfig;
use crate::model::alert::{Alert, Kind};
use crate::names::AppName;
use crate::store::{AlertMessage, NewAlert, Store, StoreError};

pub mod judge; // when is it worth an alert? Pure
mod program; // `exec`
mod webhook;

/// A message that could not be sent is tried so often in all; with the pauses below that is over an hour.
const TRIES: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// A look into the outbox although nobody announced a message.
const POLL: Duration = Duration::from_secs(60);

/// A receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    Webhook,
    Program,
}

impl Sink {
    pub const ALL: [Sink; 2] = [Sink::Webhook, Sink::Program];

    /// The key in the host config.
    pub fn as_str(self) -> &'static str {
        match self {
            Sink::Webhook => "webhook",
            Sink::Program => "exec",
        }
    }
}

/// Who speaks: in every message.
#[derive(Debug, Clone)]
pub struct About {
    pub host: String,
    pub install: String,
}

pub struct Alerts {
    store: Store,
    config: AlertsConfig,
    about: About,
    wake: Notify,
    /// Told without a row, as there was no room for one.
    unstored: Mutex<BTreeSet<(Kind, String)>>,
    /// Messages that are done with, but could not be noted as such: not sent again.
    unnoted: Mutex<BTreeSet<i64>>,
}

impl Alerts {
    pub fn new(store: Store, config: &AlertsConfig, about: About) -> Arc<Self> {
        Arc::new(Self {
            store,
            config: config.clone(),
            about,
            wake: Notify::new(),
            unstored: Mutex::default(),
            unnoted: Mutex::default(),
        })
    }

    /// The receivers that the host config names.
    pub fn sinks(&self) -> Vec<Sink> {
        let there = |sink: &Sink| match sink {
            Sink::Webhook => self.config.webhook.is_some(),
            Sink::Program => self.config.exec.is_some(),
        };
        Sink::ALL.into_iter().filter(there).collect()
    }

    fn sink_names(&self) -> Vec<&'static str> {
        self.sinks().into_iter().map(Sink::as_str).collect()
    }

    /// A state began: told once, until [`clear`](Self::clear). `subject` says what it is about (`docker`, a path, `shop`, `shop/web`),
    /// `text` what is, `hint` what to do: one line each. A store that can't take it is logged and nothing more.
    pub async fn raise(&self, kind: Kind, subject: &str, text: &str, hint: &str) {
        self.raise_once(kind, subject, "", text, hint).await;
    }

    /// Something happened that has a name of its own (a deploy's id): told once per `occurrence`, ever. It is open until cleared, and a later
    /// occurrence takes its place.
    pub async fn raise_once(&self, kind: Kind, subject: &str, occurrence: &str, text: &str, hint: &str) {
        let new = NewAlert { kind, subject, occurrence, text, hint };
        match self.store.alert_raise(&new, &self.sink_names()).await {
            Ok(true) => {
                tracing::warn!(alert = kind.as_str(), subject, "alert: {text}");
                self.wake();
            }
            Ok(false) => {}
            Err(StoreError::NoRoom) => self.tell_unstored(kind, subject, text, hint).await,
            Err(e) => tracing::error!(alert = kind.as_str(), subject, "an alert could not be stored ({e}): {text}"),
        }
    }

    /// On a full disk, of all times, somebody must hear of it: sent once and right now, by whichever receiver takes it. When there is room
    /// and it still holds, it is raised like any other.
    async fn tell_unstored(&self, kind: Kind, subject: &str, text: &str, hint: &str) {
        if self.is_unstored(kind, subject, true) {
            return;
        }
        tracing::warn!(alert = kind.as_str(), subject, "alert, not stored as the disk is full: {text}");
        self.send_now("raised", kind, subject, text, hint).await;
    }

    /// Whether it was told without a row; from now on it is `now`.
    fn is_unstored(&self, kind: Kind, subject: &str, now: bool) -> bool {
        let entry = (kind, subject.to_owned());
        if now { !self.unstored().insert(entry) } else { self.unstored().remove(&entry) }
    }

    fn unstored(&self) -> MutexGuard<'_, BTreeSet<(Kind, String)>> {
        self.unstored.lock().expect("no code panics with the set")
    }

    async fn send_now(&self, event: &str, kind: Kind, subject: &str, text: &str, hint: &str) {
        let body = self.body(event, UnixMillis::now(), (0, kind.as_str(), subject), text, hint);
        for sink in self.sinks() {
            if let Err(why) = self.send(sink, &body).await {
                tracing::error!(sink = sink.as_str(), "an alert was not delivered and can't be kept ({why}): {text}");
            }
        }
    }

    /// It is over. Nothing happens if nothing is open, so it may be called at every look.
    pub async fn clear(&self, kind: Kind, subject: &str, text: &str) {
        match self.store.alert_clear(kind, subject, text, &self.sink_names()).await {
            Ok(true) => {
                self.is_unstored(kind, subject, false);
                tracing::info!(alert = kind.as_str(), subject, "alert over: {text}");
                self.wake();
            }
            // Who heard of it without a row hears of its end in the same way.
            Ok(false) if self.is_unstored(kind, subject, false) => self.send_now("recovered", kind, subject, text, "").await,
            Ok(false) => {}
            Err(e) => tracing::error!(alert = kind.as_str(), subject, "an alert could not be cleared: {e}"),
        }
    }

    /// The open alert of this kind and subject.
    pub async fn open(&self, kind: Kind, subject: &str) -> Option<Alert> {
        self.store.alert_open(kind, subject).await.unwrap_or_default()
    }

    /// Kind and subject of all that was told and is not over, also of what was told without a row: whoever clears by looking at what is open goes by
    /// this.
    pub async fn told(&self) -> Vec<(Kind, String)> {
        let rows = self.store.alerts(0).await.unwrap_or_default();
        let mut told: BTreeSet<_> = rows.into_iter().map(|alert| (alert.kind, alert.subject)).collect();
        told.extend(self.unstored().iter().cloned());
        told.into_iter().collect()
    }

    pub async fn list(&self, closed: u32) -> Result<Vec<Alert>, StoreError> {
        self.store.alerts(closed).await
    }

    /// The app is gone, and nobody need know any more.
    pub async fn forget(&self, app: &AppName) {
        self.unstored().retain(|(_, subject)| subject.split('/').next() != Some(app.as_str()));
        if let Err(e) = self.store.alerts_forget(app).await {
            tracing::warn!(%app, "forgetting the alerts of {app}: {e}");
        }
    }

    /// Sends a test message to every receiver now and gives what came of it. Cancel-safe: yes, but for what was sent.
    pub async fn test(&self) -> Vec<(Sink, Result<(), String>)> {
        let body = self.body("test", UnixMillis::now(), (0, "test", ""), "this is a test of paas alerts", "nothing to do");
        let mut sent = Vec::new();
        for sink in self.sinks() {
            sent.push((sink, self.send(sink, &body).await));
        }
        sent
    }

    fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// Sends what is due to one receiver until the daemon stops. A message counts as sent only after the receiver took it.
    pub async fn deliver(self: Arc<Self>, sink: Sink, mut stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            // Subscribed before the query, so that a message which comes in between is not slept over.
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let due = self.store.alert_message_due(sink.as_str(), UnixMillis::now(), LONGEST_PAUSE).await;
            match due {
                Ok(Some(message)) => self.try_one(sink, &message).await,
                Ok(None) | Err(_) => {
                    let poll = if due.is_ok() && !self.waiting(sink).await { POLL } else { FIRST_PAUSE };
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep(poll) => {}
                        _ = stopping.changed() => {}
                    }
                }
            }
        }
    }

    /// Is there a message that waits for its next try?
    async fn waiting(&self, sink: Sink) -> bool {
        matches!(self.store.alert_message_due(sink.as_str(), UnixMillis(i64::MAX), LONGEST_PAUSE).await, Ok(Some(_)))
    }

    async fn try_one(&self, sink: Sink, message: &AlertMessage) {
        let alert = &message.alert;
        let about = (alert.id, alert.kind.as_str(), alert.subject.as_str());
        let body = self.body(&message.event, message.at, about, &message.text, &alert.hint);
        let sent = if self.unnoted().contains(&message.id) { Ok(()) } else { self.send(sink, &body).await };
        let noted = match sent {
            Ok(()) => self.done(message.id).await,
            Err(why) if message.tries + 1 >= TRIES => {
                tracing::error!(sink = sink.as_str(), "an alert was not delivered and is given up ({why}): {}", message.text);
                self.done(message.id).await
            }
            Err(why) => {
                let pause = pause_after(message.tries);
                tracing::warn!(sink = sink.as_str(), "an alert was not delivered ({why}); again in {} s", pause.as_secs());
                let next = UnixMillis::now().0.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
                self.store.alert_message_failed(message.id, UnixMillis(next)).await
            }
        };
        if let Err(e) = noted {
            tracing::warn!("noting what became of an alert: {e}");
            // Without the note it would be sent again at once.
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }

    async fn done(&self, message: i64) -> Result<(), StoreError> {
        self.unnoted().insert(message);
        self.store.alert_message_done(message).await?;
        self.unnoted().remove(&message);
        Ok(())
    }

    fn unnoted(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.unnoted.lock().expect("no code panics with the set")
    }

    async fn send(&self, sink: Sink, body: &str) -> Result<(), String> {
        match (sink, &self.config.webhook, &self.config.exec) {
            (Sink::Webhook, Some(address), _) => webhook::post(address.reveal(), body).await,
            (Sink::Program, _, Some(argv)) => program::run(argv, body).await,
            (Sink::Webhook | Sink::Program, _, _) => Ok(()),
        }
    }

    /// What a receiver reads: docs/operations.md has the table. Fields may be added.
    /// `about` is id, kind and subject of the alert.
    fn body(&self, event: &str, at: UnixMillis, about: (i64, &str, &str), text: &str, hint: &str) -> String {
        json!({
            "version": 1,
            "event": event,
            "id": about.0,
            "kind": about.1,
            "subject": about.2,
            "text": text,
            "hint": if event == "recovered" { "" } else { hint },
            "at": at.rfc3339(),
            "host": self.about.host,
            "install": self.about.install,
        })
        .to_string()
    }
}

/// How long to wait after so many tries in vain: 2 s, doubling, at most half an hour.
fn pause_after(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
