//! One connection of an init.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::{Change, Entry, Links};
use crate::handover::fds::send_with_fds;
use crate::logs::NewSegment;
use crate::wire::frame;
use crate::wire::init::{EndReport, FRAME_LIMIT, FromInit, Hello, LAST_LINES, Phase, ToInit};

/// A message to an init, perhaps with a descriptor beside it.
pub struct Outgoing {
    message: ToInit,
    descriptor: Option<OwnedFd>,
}

/// How many messages may wait for an init; more than are ever sent in its life.
const QUEUE: usize = 256;

/// An init speaks at once; who does not is none.
const GREETING_LIMIT: Duration = Duration::from_secs(5);

impl Outgoing {
    pub fn plain(message: ToInit) -> Self {
        Self { message, descriptor: None }
    }

    fn segment(new: NewSegment) -> Self {
        let message = ToInit::Segment { segment: new.number, rotate_at: new.rotate_at, cap: new.cap };
        Self { message, descriptor: Some(new.file.into()) }
    }
}

/// Speaks with one init until it leaves, is replaced by a newer connection, or says what no init would say.
pub async fn serve(mut stream: UnixStream, links: Arc<Links>, entry: Arc<Entry>) {
    let (mut from, to) = stream.split();
    let greeting = tokio::time::timeout(GREETING_LIMIT, frame::read::<FromInit>(&mut from, FRAME_LIMIT)).await;
    let Ok(Ok(Some(FromInit::Hello(hello)))) = greeting else { return };
    if hello.instance != entry.instance {
        return;
    }
    let (queue, outgoing) = mpsc::channel(QUEUE);
    let mut talk = Talk { links, entry, session: 0, given: None };
    talk.begin(hello, queue).await;
    // Either end of it ends both; both are whole loops, so nothing is lost by dropping the other.
    let ended = tokio::select! {
        ended = talk.listen(&mut from) => ended,
        ended = speak(&to, outgoing) => ended,
    };
    if let Err(e) = ended {
        tracing::debug!(instance = %talk.entry.instance, error = %e, "the connection of {}'s init ended", talk.entry.instance);
    }
    if talk.entry.end(talk.session) {
        talk.links.changed(talk.entry.instance, Change::Disconnected);
    }
}

struct Talk {
    links: Arc<Links>,
    entry: Arc<Entry>,
    session: u64,
    /// The segment that this connection was given last; at its begin, the one that the init already had.
    given: Option<u64>,
}

impl Talk {
    async fn begin(&mut self, hello: Hello, queue: mpsc::Sender<Outgoing>) {
        self.session = self.links.next_session();
        let hello = Hello { last_end: hello.last_end.map(bounded), ..hello };
        let limits = ToInit::Limits { lines_per_second: self.links.lines_per_second, burst: self.links.burst };
        let mut first = vec![Outgoing::plain(limits)];
        let (links, entry) = (self.links.clone(), self.entry.clone());
        let (source, logs) = (&entry.source, &links.logs);
        let goes_on = hello.segment.filter(|segment| logs.is_active(source, *segment));
        if let Some(segment) = goes_on {
            // It outlived an earlier daemon.
            self.given = Some(segment);
            self.finish_others(segment);
        }
        // While no daemon was there it may have become full.
        let has_room = goes_on.and_then(|n| logs.size(&source.app, n)).is_some_and(|bytes| bytes < logs.rotate_at());
        if !has_room {
            // The queue is new, so it takes this one.
            let new = self.new_segment().await;
            self.given = new.as_ref().map(|new| new.number).or(self.given);
            first.extend(new.map(Outgoing::segment));
        }
        self.entry.begin(self.session, queue, &hello, first);
        self.links.changed(self.entry.instance, Change::Connected);
    }

    async fn listen(&mut self, from: &mut ReadHalf<'_>) -> io::Result<()> {
        while let Some(message) = frame::read::<FromInit>(from, FRAME_LIMIT).await? {
            if !self.entry.is_current(self.session) {
                return Ok(());
            }
            match message {
                FromInit::Hello(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "a second greeting")),
                FromInit::Started { pid, restarts } => {
                    self.entry.state.send_modify(|state| {
                        state.phase = Phase::Running { pid };
                        state.restarts = restarts;
                    });
                    self.links.changed(self.entry.instance, Change::Started { pid, restarts });
                }
                FromInit::Ended(report) => self.ended(bounded(report)),
                FromInit::SegmentFull { .. } => self.rotate().await,
                FromInit::SegmentTaken { segment } => {
                    if self.links.logs.is_active(&self.entry.source, segment) {
                        // One with a higher number may be on its way already: the init will write to it.
                        // The only error is a folder that cannot be read, which the next new segment will say.
                        let _ = self.links.logs.finish_before(&self.entry.source.app, self.entry.instance, segment);
                    }
                }
            }
        }
        Ok(())
    }

    fn ended(&self, report: EndReport) {
        self.entry.state.send_modify(|state| {
            state.phase = if report.will_restart_in_ms.is_some() { Phase::BackingOff } else { Phase::Ended };
            state.last_end = Some(report.clone());
        });
        self.links.changed(self.entry.instance, Change::Ended(report));
    }

    /// Gives a new segment if the one given last is really full. What the instance says of its size does not count, nor which one it says
    /// it uses: the one given last may still be on its way. Such a one is lost only with its connection, and the next begins anew.
    async fn rotate(&mut self) {
        let logs = &self.links.logs;
        let app = &self.entry.source.app;
        if self.given.and_then(|given| logs.size(app, given)).is_some_and(|bytes| bytes < logs.rotate_at()) {
            return;
        }
        let Some(new) = self.new_segment().await else { return };
        let number = new.number;
        if self.entry.tell(self.session, Outgoing::segment(new)) {
            self.given = Some(number);
        }
    }

    /// `None` if it could not be made (a full disk): the app runs on, its lines are counted, and init asks again.
    async fn new_segment(&self) -> Option<NewSegment> {
        let (logs, source) = (self.links.logs.clone(), self.entry.source.clone());
        match tokio::task::spawn_blocking(move || logs.segment(&source)).await.ok()? {
            Ok(new) => Some(new),
            Err(e) => {
                let cause = std::error::Error::source(&e).map(ToString::to_string);
                tracing::warn!(instance = %self.entry.instance, error = %e, cause, "{} gets no log segment", self.entry.instance);
                None
            }
        }
    }

    fn finish_others(&self, segment: u64) {
        // The only error is a folder that cannot be read, which the next new segment will say.
        let _ = self.links.logs.finish_others(&self.entry.source.app, self.entry.instance, Some(segment));
    }
}

impl Entry {
    /// Queues a message for this connection if it is still the one that counts; gives whether it will be sent. If the queue is full the
    /// init reads nothing, and asks again if it ever does.
    fn tell(&self, session: u64, message: Outgoing) -> bool {
        let inner = self.inner();
        inner.session.as_ref().filter(|s| s.id == session).is_some_and(|current| current.to.try_send(message).is_ok())
    }
}

/// Sends what is queued, until the entry lets go of the connection.
async fn speak(to: &WriteHalf<'_>, mut outgoing: mpsc::Receiver<Outgoing>) -> io::Result<()> {
    let stream: &UnixStream = to.as_ref();
    while let Some(Outgoing { message, descriptor }) = outgoing.recv().await {
        let bytes = frame::encode(&message)?;
        let mut sent = 0;
        while sent < bytes.len() {
            // The descriptor goes with the first bytes, and only once.
            let beside: Vec<_> = descriptor.iter().filter(|_| sent == 0).map(AsFd::as_fd).collect();
            sent += stream.async_io(Interest::WRITABLE, || send_with_fds(stream, &bytes[sent..], &beside)).await?;
        }
    }
    Ok(())
}

/// Cuts a report to what our own init would send.
fn bounded(mut report: EndReport) -> EndReport {
    let surplus = report.last_lines.len().saturating_sub(LAST_LINES);
    report.last_lines.drain(..surplus);
    report
}
