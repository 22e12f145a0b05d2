//! The user's terminal joined to an interactive session: raw mode, sizes, stdin, and everything put back at the end.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use bytes::Bytes;
use rustix::termios::{self, OptionalActions, Termios};
use tokio::sync::mpsc;

use super::super::exit::{CliError, FAILED};
use super::super::print::nobody_reads;
use super::{Context, Outcome};
use crate::api::client::{ClientError, FrameReader, Interactive};
use crate::api::stream::Frame;
use crate::api::types::processes::TerminalSize;

/// Pieces of stdin that may wait: a paste of 256 KiB.
const WAITING_INPUT: usize = 64;

/// Whether there is a terminal to give to the command.
pub fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The terminal's size; none if stdout is none or does not know.
pub fn size() -> Option<TerminalSize> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(TerminalSize { columns: size.ws_col, rows: size.ws_row })
}

/// Raw mode until it is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn begin() -> Option<Raw> {
        let before = termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If this fails the terminal is gone, and there is nobody to tell.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Carries both directions until the command ends; gives its exit code.
pub async fn drive(context: &Context, session: Interactive, tty: bool) -> Outcome {
    let Interactive { mut output, mut input } = session;
    let raw = if tty { Raw::begin() } else { None };
    let (to_wire, mut frames) = mpsc::channel::<Frame>(WAITING_INPUT);
    read_stdin(to_wire.clone());
    if tty {
        report_sizes(to_wire);
    } else {
        drop(to_wire);
    }
    let writer = tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            // The reader learns of the end of the connection and says so.
            if input.send(&frame).await.is_err() {
                break;
            }
        }
        // Held until the session ends: closing this half would look like the client's death.
        std::future::pending::<()>().await;
    });
    let ended = tokio::select! {
        ended = show(context, &mut output) => ended,
        // Behind ssh we are what the daemon knows of the client. One that is gone tells us nothing, unless the command has something to print.
        () = nobody_reads(), if context.in_session() => Err(CliError::NobodyReads),
    };
    writer.abort();
    drop(raw);
    ended.map(ExitCode::from)
}

/// Prints what the command does until it ends; gives its exit code. Cancel-safe: no, a frame may be half read.
async fn show(context: &Context, output: &mut FrameReader) -> Result<u8, CliError> {
    loop {
        match output.next().await? {
            Some(Frame::Stdout(data)) => print(context, &data, false)?,
            Some(Frame::Stderr(data)) => print(context, &data, true)?,
            Some(Frame::Exit(code)) => return Ok(u8::try_from(code).unwrap_or(FAILED)),
            Some(Frame::Error(error)) => return Err(CliError::Client(ClientError::Refused(error))),
            // What only a client says means nothing here.
            Some(Frame::Stdin(_) | Frame::Resize(_) | Frame::Eof) => {}
            None => {
                let why = "it ended without saying how the command did".to_owned();
                return Err(CliError::Client(ClientError::Broken { act: "running a command".to_owned(), why }));
            }
        }
    }
}

fn print(context: &Context, data: &[u8], to_stderr: bool) -> Result<(), CliError> {
    context.screen.pass(data, to_stderr).map_err(CliError::output)
}

/// Reads stdin in a thread of its own: a read can't be cancelled, and the process ends without waiting for it.
fn read_stdin(to: mpsc::Sender<Frame>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        loop {
            match std::io::stdin().lock().read(&mut piece) {
                Ok(0) | Err(_) => {
                    let _ = to.blocking_send(Frame::Eof);
                    return;
                }
                Ok(n) => {
                    if to.blocking_send(Frame::Stdin(Bytes::copy_from_slice(&piece[..n]))).is_err() {
                        return;
                    }
                }
            }
        }
    });
}

fn report_sizes(to: mpsc::Sender<Frame>) {
    let Ok(mut changed) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()) else { return };
    tokio::spawn(async move {
        while changed.recv().await.is_some() {
            if let Some(size) = size()
                && to.send(Frame::Resize(size)).await.is_err()
            {
                return;
            }
        }
    });
}
