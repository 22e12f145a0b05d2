//! The loop of init: one thread, one poll, and what happens when.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::app::{self, App};
use super::link::Link;
use super::output::Output;
use super::{Settings, complain};
use crate::base::backoff::Backoff;
use crate::base::clock::UnixMillis;
use crate::model::end::{HEALTHY_MS, crash_loop_phrase, is_crash_loop};
use crate::names::InstanceId;
use crate::wire::init::{EndReport, FromInit, Hello, Phase, ToInit, VERSION};

/// Pause before the app is started again: doubles from the first to the second.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// An app that ran this long was healthy: the next pause is the first one again.
const HEALTHY_AFTER: Duration = Duration::from_millis(HEALTHY_MS);

/// How often the daemon is asked again for a segment.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How often we look whether the rest of the app's group has ended; the kernel tells nobody about processes that are not our children.
const GROUP_LOOK: Duration = Duration::from_millis(20);

/// How long the last report may take to leave.
const FAREWELL: Duration = Duration::from_millis(300);

/// Told to stop by these; they go on to the app.
const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// Only passed on.
const PASSED_ON: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];

pub struct Init {
    argv: Vec<OsString>,
    instance: InstanceId,
    stop_signal: Signal,
    signals: SignalFd,
    link: Link,
    output: Output,
    state: State,
    restarts: u32,
    backoff: Backoff,
    /// Ends since the last run that was long enough to be healthy.
    in_a_row: u32,
    last_end: Option<EndReport>,
    ask_again: Option<Instant>,
}

enum State {
    Gated,
    Running(App),
    /// Ended; started again at this moment.
    BackingOff(Instant),
    /// Ended for good, with this exit code for init.
    Ended(u8),
}

/// What poll found.
struct Ready {
    signals: bool,
    link: bool,
    pipes: [bool; 2],
}

impl Init {
    pub fn new(argv: Vec<OsString>, settings: Settings) -> io::Result<Self> {
        let mut mask: SigSet = STOPS.into_iter().chain(PASSED_ON).collect();
        mask.add(Signal::SIGCHLD);
        // Blocked signals wait for the descriptor, also those that PID 1 would otherwise ignore.
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            argv,
            instance: settings.instance,
            stop_signal: settings.stop_signal,
            signals,
            link: Link::new(settings.socket),
            output: Output::new(),
            state: State::Gated,
            restarts: 0,
            backoff: Backoff::new(RESTART.0, RESTART.1),
            in_a_row: 0,
            last_end: None,
            ask_again: None,
        })
    }

    /// Runs until the app has ended for good; gives the exit code.
    pub fn run(mut self) -> u8 {
        loop {
            let now = Instant::now();
            if self.link.connect_if_due(now) {
                let hello = self.hello();
                self.link.send(&FromInit::Hello(hello));
            }
            self.settle(now);
            if let State::Ended(code) = self.state {
                self.farewell();
                return code;
            }
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(e) => {
                    // Only a kernel out of memory refuses poll; the app must not suffer from it.
                    complain(&format!("waiting for events: {e}"));
                    std::thread::sleep(GROUP_LOOK);
                    continue;
                }
            };
            // Output before signals: the lines of an app that has just ended come before the report of its end.
            self.output.read(ready.pipes);
            if ready.signals {
                self.take_signals();
            }
            if ready.link {
                self.take_messages();
            }
            self.ask_for_segment(Instant::now());
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut set = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        for pipe in self.output.pipes().into_iter().flatten() {
            set.push(PollFd::new(pipe, PollFlags::POLLIN));
        }
        if let Some((link, unsent)) = self.link.descriptor() {
            let flags = if unsent { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
            set.push(PollFd::new(link, flags));
        }
        match poll(&mut set, self.timeout()) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut found = set.iter().map(|fd| fd.any().unwrap_or(false));
        let signals = found.next().unwrap_or(false);
        let pipes = self.output.pipes().map(|pipe| pipe.is_some() && found.next().unwrap_or(false));
        Ok(Ready { signals, pipes, link: found.next().unwrap_or(false) })
    }

    /// Until the next moment at which something is due without an event.
    fn timeout(&self) -> PollTimeout {
        let now = Instant::now();
        let of_state = match &self.state {
            State::Running(app) if app.ended.is_some() => Some(now + GROUP_LOOK),
            State::Running(app) => app.kill_at,
            State::BackingOff(until) => Some(*until),
            State::Gated | State::Ended(_) => None,
        };
        let due = [of_state, self.link.deadline(), self.output.deadline(), self.ask_again].into_iter().flatten().min();
        let Some(due) = due else { return PollTimeout::NONE };
        // A millisecond more, so that it is due when we wake.
        let ms = due.saturating_duration_since(now).as_millis().saturating_add(1);
        PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
    }

    /// Does what time alone makes due.
    fn settle(&mut self, now: Instant) {
        self.output.tick(now);
        match &mut self.state {
            State::Running(app) => {
                let out_of_time = app.kill_at.is_some_and(|at| now >= at);
                if out_of_time && app.ended.is_none() {
                    app.signal(Signal::SIGKILL);
                    app.kill_at = None;
                }
                // Told to stop, all that share the app's group may finish, not only its first process (often a shell).
                let others_finish = app.stopping && !out_of_time && app.group_lives();
                if app.ended.is_some() && !others_finish {
                    self.app_ended(now);
                }
            }
            State::BackingOff(until) if now >= *until => {
                self.restarts += 1;
                self.start(now);
            }
            State::Gated | State::BackingOff(_) | State::Ended(_) => {}
        }
    }

    fn start(&mut self, now: Instant) {
        match app::start(&self.argv) {
            Ok((app, pipes)) => {
                self.output.attach(pipes);
                let pid = app.pid.as_raw().unsigned_abs();
                self.state = State::Running(app);
                self.link.send(&FromInit::Started { pid, restarts: self.restarts });
            }
            Err(report) => self.back_off(report, now),
        }
    }

    /// The main process has ended: clears away the rest, reports, and plans what comes next.
    fn app_ended(&mut self, now: Instant) {
        let State::Running(app) = std::mem::replace(&mut self.state, State::Gated) else { return };
        let Some(exit) = app.ended else { return };
        app::clear(&app);
        self.output.drain();
        let mut report = app.report(exit);
        report.last_lines = self.output.last_lines();
        if app.stopping {
            self.end(report);
        } else {
            if app.ran_for() >= HEALTHY_AFTER {
                self.backoff.reset();
                self.in_a_row = 0;
            }
            self.back_off(report, now);
        }
    }

    fn back_off(&mut self, mut report: EndReport, now: Instant) {
        let pause = self.backoff.pause();
        self.in_a_row += 1;
        report.will_restart_in_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        report.in_a_row = self.in_a_row;
        report.at_ms = Some(UnixMillis::now().0);
        let row = match self.in_a_row {
            n if is_crash_loop(n) => format!(" and is {}", crash_loop_phrase(n)),
            _ => String::new(),
        };
        self.output.event(&format!("the app {}{row}; it starts again in {:.1} s", report.summary(), pause.as_secs_f64()));
        self.state = State::BackingOff(now + pause);
        self.report(report);
    }

    /// Ended, and never started again.
    fn end(&mut self, report: EndReport) {
        let code = match (report.code, report.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 0,
        };
        self.output.event(&format!("the app {} after it was told to stop", report.summary()));
        self.state = State::Ended(u8::try_from(code & 0xff).unwrap_or(1));
        self.report(report);
    }

    fn report(&mut self, report: EndReport) {
        self.last_end = Some(report.clone());
        self.link.send(&FromInit::Ended(report));
    }

    fn stop(&mut self, signal: Signal, kill_after: Option<Duration>) {
        match &mut self.state {
            State::Running(app) => {
                app.stopping = true;
                if let Some(after) = kill_after {
                    app.kill_at = Some(Instant::now() + after);
                }
                app.signal(signal);
            }
            State::Gated => self.state = State::Ended(128 + signal as u8),
            State::BackingOff(_) => {
                let last = self.last_end.clone().unwrap_or_default();
                self.end(EndReport { will_restart_in_ms: None, ..last });
            }
            State::Ended(_) => {}
        }
    }

    /// Ends the app's run, not its life: what follows is what follows any end.
    fn restart(&mut self, signal: Signal, kill_after: Duration, why: String) {
        if let State::Running(app) = &mut self.state
            && !app.stopping
        {
            self.output.event(&format!("the app is restarted: {why}"));
            app.restarting = Some(why);
            app.kill_at = Some(Instant::now() + kill_after);
            app.signal(signal);
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let Some(signal) = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok()) else { continue };
            match signal {
                Signal::SIGCHLD => self.reap(),
                // The engine says SIGTERM; the app may want to hear something else.
                Signal::SIGTERM => self.stop(self.stop_signal, None),
                stop if STOPS.contains(&stop) => self.stop(stop, None),
                other => {
                    if let State::Running(app) = &self.state {
                        app.signal(other);
                    }
                }
            }
        }
    }

    fn reap(&mut self) {
        let main = match &self.state {
            State::Running(app) if app.ended.is_none() => Some(app.pid),
            State::Running(_) | State::Gated | State::BackingOff(_) | State::Ended(_) => None,
        };
        let exit = app::reap(main);
        if let (State::Running(app), Some(exit)) = (&mut self.state, exit) {
            app.ended = Some(exit);
        }
    }

    fn take_messages(&mut self) {
        self.link.flush();
        for (message, descriptor) in self.link.receive() {
            match message {
                ToInit::Segment { segment, rotate_at, cap } => {
                    if let Some(descriptor) = descriptor {
                        self.take_segment(segment, descriptor, rotate_at, cap);
                    }
                }
                ToInit::Limits { lines_per_second, burst } => self.output.set_limits(lines_per_second, burst),
                ToInit::Open => {
                    if matches!(self.state, State::Gated) {
                        self.start(Instant::now());
                    }
                }
                ToInit::Stop { signal, timeout_ms } => {
                    let signal = Signal::try_from(signal).unwrap_or(Signal::SIGTERM);
                    self.stop(signal, Some(Duration::from_millis(timeout_ms)));
                }
                ToInit::Restart { signal, timeout_ms, why } => {
                    let signal = Signal::try_from(signal).unwrap_or(Signal::SIGTERM);
                    self.restart(signal, Duration::from_millis(timeout_ms), why);
                }
            }
        }
    }

    fn take_segment(&mut self, segment: u64, descriptor: OwnedFd, rotate_at: u64, cap: u64) {
        match self.output.appender().use_segment(segment, File::from(descriptor), rotate_at, cap) {
            Ok(()) => {
                self.ask_again = None;
                self.link.send(&FromInit::SegmentTaken { segment });
            }
            Err(e) => complain(&format!("taking log segment {segment}: {e}")),
        }
    }

    /// Asks for a segment when one is wanted, at once and then now and again.
    fn ask_for_segment(&mut self, now: Instant) {
        if !self.output.appender().wants_segment() {
            self.ask_again = None;
        } else if self.ask_again.is_none_or(|at| now >= at) {
            let (segment, bytes) = self.output.appender().segment().unzip();
            self.link.send(&FromInit::SegmentFull { segment, bytes: bytes.unwrap_or(0) });
            self.ask_again = Some(now + ASK_AGAIN);
        }
    }

    fn hello(&mut self) -> Hello {
        let phase = match &self.state {
            State::Gated => Phase::Gated,
            State::Running(app) if app.stopping => Phase::Stopping,
            State::Running(app) => Phase::Running { pid: app.pid.as_raw().unsigned_abs() },
            State::BackingOff(_) => Phase::BackingOff,
            State::Ended(_) => Phase::Ended,
        };
        let (segment, bytes) = self.output.appender().segment().unzip();
        Hello {
            version: VERSION,
            instance: self.instance,
            phase,
            restarts: self.restarts,
            next_record: self.output.appender().next_record(),
            segment,
            segment_bytes: bytes.unwrap_or(0),
            last_end: self.last_end.clone(),
        }
    }

    /// Lets the last report leave.
    fn farewell(&mut self) {
        let until = Instant::now() + FAREWELL;
        while !self.link.is_flushed() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            self.link.flush();
        }
    }
}
