//! The control connection: snapshots in; counts, access lines and ended drains out. Everything goes on while the daemon is away.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::access::Queue;
use super::drains::Drains;
use super::limits::{ACCESS_PAUSE, COUNTS_EVERY, FOLLOWED_TIME, LAST_WORDS_TIME, METRICS_EVERY};
use super::report::Report;
use super::routes::Table;
use super::worker::{Shared, Stage, reached};
use crate::base::backoff::Backoff;
use crate::wire::frame;
use crate::wire::metrics::Metrics;
use crate::wire::proxy::{AccessFrame, Asked, FromProxy, MAX_FRAME, Snapshot, ToProxy, VERSION, asked};

/// Puts the active snapshot where a successor of a crashed process finds it.
pub type Keep = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Waits until the daemon follows this process, at most [`FOLLOWED_TIME`].
pub async fn followed(shared: &Shared) {
    let mut followed = shared.followed.subscribe();
    // One that hangs changes no routes either.
    let _ = timeout(FOLLOWED_TIME, followed.wait_for(|followed| *followed)).await;
}

pub struct Control {
    shared: Arc<Shared>,
    socket: PathBuf,
    generation: String,
    /// Plain and by TLS.
    listening: (Vec<SocketAddr>, Vec<SocketAddr>),
    keep: Keep,
    prepared: Option<(Snapshot, Table)>,
    /// The last one that could not be read wholly.
    unreadable: Option<(u64, String)>,
    drains: Drains,
    report: Report,
}

impl Control {
    pub fn new(shared: Arc<Shared>, socket: PathBuf, listening: (Vec<SocketAddr>, Vec<SocketAddr>), keep: Keep) -> Self {
        let generation = format!("{:016x}", getrandom::u64().unwrap_or_default());
        let (drains, report) = (Drains::default(), Report::default());
        Self { shared, socket, generation, listening, keep, prepared: None, unreadable: None, drains, report }
    }

    /// Serves the snapshot that an earlier process of ours left; a bad one is logged and dropped. To be called inside the runtime.
    pub fn restore(&mut self, bytes: &[u8]) {
        let restored = serde_json::from_slice::<Snapshot>(bytes).map_err(|e| e.to_string()).and_then(|snapshot| {
            let table = Table::build(&snapshot, &Table::default()).map_err(|e| e.to_string())?;
            Ok((snapshot, table))
        });
        match restored {
            Ok((snapshot, table)) => self.publish(&snapshot, table),
            Err(error) => tracing::error!(error, "the kept snapshot can't be used; nothing is served until the daemon sends one"),
        }
    }

    /// Connects, serves the connection, connects again; until the end of the process.
    pub async fn run(mut self) {
        let mut stages = self.shared.stage.subscribe();
        let too_late = async {
            reached(&mut stages, Stage::Over).await;
            sleep(LAST_WORDS_TIME).await;
        };
        tokio::select! {
            () = self.connect_until_over() => {}
            () = too_late => {}
        }
    }

    async fn connect_until_over(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(200));
        let mut stages = self.shared.stage.subscribe();
        while *stages.borrow_and_update() != Stage::Over {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => {
                    tracing::info!("the daemon is connected");
                    let ended = self.session(stream).await;
                    if *stages.borrow() == Stage::Over {
                        return;
                    }
                    tracing::warn!(ended = ended.err().map(|e| e.to_string()), "the daemon is gone; the proxy serves on");
                    backoff.reset();
                }
                // Nobody changes routes while nobody listens there.
                Err(_) => drop(self.shared.followed.send_replace(true)),
            }
            let _ = timeout(backoff.pause(), reached(&mut stages, Stage::Over)).await;
        }
    }

    async fn session(&mut self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let (sender, mut asks) = mpsc::channel(4);
        let mut reading = tokio::task::JoinSet::new();
        // A frame must be read whole, so it is read beside the loop below, which may drop what it waits for.
        reading.spawn(read_asks(read, sender));
        self.greet(&mut write).await?;
        let mut tick = interval(COUNTS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut metrics_tick = interval(METRICS_EVERY);
        metrics_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lines_at = Instant::now();
        let mut stages = self.shared.stage.subscribe();
        loop {
            tokio::select! {
                () = reached(&mut stages, Stage::Over) => return self.last_words(&mut write).await,
                ask = asks.recv() => match ask {
                    Some(ask) => self.obey(ask?, &mut write).await?,
                    None => return Ok(()),
                },
                () = self.drains.any_ended() => self.report_drains(&mut write).await?,
                _ = tick.tick() => self.report_counts(&mut write).await?,
                _ = metrics_tick.tick() => self.report_metrics(&mut write).await?,
                // They gather meanwhile: to wake this thread for each would cost more than the answer that it tells of.
                lines = next_lines(&self.shared.access, lines_at) => {
                    lines_at = Instant::now() + ACCESS_PAUSE;
                    self.report_access(lines, &mut write).await?;
                }
            }
        }
    }

    /// What is left to say when all requests have ended.
    async fn last_words(&mut self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        if let Some(lines) = self.shared.access.take() {
            self.report_access(lines, to).await?;
        }
        self.report_counts(to).await?;
        self.report_metrics(to).await?;
        self.report_drains(to).await
    }

    async fn greet(&mut self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let hello = FromProxy::Hello {
            version: VERSION,
            pid: std::process::id(),
            generation: self.generation.clone(),
            active: self.shared.table.load().version,
            listening: self.listening.0.clone(),
            listening_tls: self.listening.1.clone(),
        };
        frame::write(to, &hello).await?;
        self.report.repeat_all();
        let all = self.report.changed(&self.shared.table.load());
        frame::write(to, &FromProxy::Metrics(all)).await?;
        self.drains.repeat_all();
        self.report_counts(to).await?;
        self.report_drains(to).await
    }

    async fn obey(&mut self, ask: Asked, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let answer = match ask {
            Asked::Message(ToProxy::Prepare(snapshot)) => self.prepare(snapshot),
            Asked::Message(ToProxy::Activate { version }) => self.activate(version),
            Asked::Unreadable { version, why } => {
                let why = format!("this version of `paas proxy` does not understand all of it ({why})");
                tracing::warn!(version, why, "a snapshot is refused; the routes stay as they are");
                self.unreadable = Some((version, why.clone()));
                FromProxy::Rejected { version, why }
            }
            Asked::Unknown { name, why } => {
                tracing::warn!(name, why, "the daemon asks for something that this version does not know; passed over");
                return Ok(());
            }
        };
        frame::write(to, &answer).await?;
        if matches!(answer, FromProxy::Activated { .. }) {
            self.shared.followed.send_replace(true);
        }
        self.report_counts(to).await?;
        self.report_drains(to).await
    }

    fn prepare(&mut self, snapshot: Snapshot) -> FromProxy {
        let version = snapshot.version;
        match Table::build(&snapshot, &self.shared.table.load()) {
            Ok(table) => {
                self.prepared = Some((snapshot, table));
                FromProxy::Prepared { version }
            }
            Err(why) => FromProxy::Rejected { version, why: why.to_string() },
        }
    }

    fn activate(&mut self, version: u64) -> FromProxy {
        match self.prepared.take() {
            Some((snapshot, table)) if snapshot.version == version => {
                match serde_json::to_vec(&snapshot) {
                    // Kept before it serves: a successor must not fall back behind what was promised.
                    Ok(bytes) => (self.keep)(&bytes),
                    Err(error) => tracing::error!(%error, "the snapshot can't be kept"),
                }
                self.publish(&snapshot, table);
                FromProxy::Activated { version }
            }
            other => {
                self.prepared = other;
                if self.shared.table.load().version == Some(version) {
                    return FromProxy::Activated { version };
                }
                let unreadable = self.unreadable.clone().filter(|(unreadable, _)| *unreadable == version);
                let why = unreadable.map_or_else(|| format!("snapshot {version} is not prepared"), |(_, why)| why);
                FromProxy::Rejected { version, why }
            }
        }
    }

    /// Reopen, publish, wake, close: in this order a request always finds a table whose targets take it (`target.rs`).
    fn publish(&mut self, snapshot: &Snapshot, table: Table) {
        let table = Arc::new(table);
        self.drains.reopen(snapshot, &table);
        let before = self.shared.table.swap(Arc::clone(&table));
        self.drains.begin(snapshot, &table, &before);
        self.report.begin(&table);
        self.shared.news.send_modify(|n| *n += 1);
    }

    async fn report_counts(&mut self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        if let Some(drops) = self.shared.drops.report() {
            frame::write(to, &FromProxy::Drops(drops)).await?;
        }
        let changed = self.drains.changed_counts(&self.shared.table.load());
        if changed.is_empty() {
            return Ok(());
        }
        frame::write(to, &FromProxy::Counts(changed)).await
    }

    async fn report_metrics(&mut self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let changed = self.report.changed(&self.shared.table.load());
        if changed == Metrics::default() {
            return Ok(());
        }
        frame::write(to, &FromProxy::Metrics(changed)).await
    }

    async fn report_drains(&mut self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        while let Some((target, forced)) = self.drains.next_to_report() {
            // The last counts of the drain come before its end.
            self.report_counts(to).await?;
            self.report_metrics(to).await?;
            frame::write(to, &FromProxy::DrainEnded { target, forced }).await?;
            self.drains.reported(target);
        }
        Ok(())
    }

    async fn report_access(&self, lines: AccessFrame, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let access = &self.shared.access;
        let count = lines.lines;
        let written = to.write_all(&lines.end(access.lost())?).await;
        if written.is_err() {
            // They may have arrived; counting them as lost is the honest side.
            access.lose(count);
        }
        written
    }
}

/// What there is at `at`, or the first lines after it. Cancel-safe: yes.
async fn next_lines(from: &Queue, at: Instant) -> AccessFrame {
    sleep_until(at).await;
    from.next().await
}

async fn read_asks(mut from: OwnedReadHalf, to: mpsc::Sender<io::Result<Asked>>) {
    loop {
        let read = frame::read_bytes(&mut from, MAX_FRAME).await;
        match read.and_then(|bytes| Ok(bytes.map(|bytes| asked(&bytes)).transpose()?)).transpose() {
            None => return,
            Some(ask) => {
                let failed = ask.is_err();
                if to.send(ask).await.is_err() || failed {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
