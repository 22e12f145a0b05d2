//! How a command ends: 0 done, 1 refused or failed, 2 usage, 3 daemon not reachable. `run` and `exec` end with the code of what they ran.

use std::io;
use std::process::ExitCode;

use super::print::Screen;
use crate::api::client::ClientError;

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const UNREACHABLE: u8 = 3;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum CliError {
    /// The command makes no sense as typed.
    Usage {
        message: String,
        hint: Option<String>,
    },
    /// It was understood and can't be done.
    Failed {
        message: String,
        hint: Option<String>,
    },
    Client(ClientError),
    /// Everything was said already; only the code is left.
    Quiet(u8),
    /// Nobody reads our output any more: the reader has what it wanted, which is a success.
    NobodyReads,
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        CliError::Client(error)
    }
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        CliError::Usage { message: message.into(), hint: None }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        CliError::Failed { message: message.into(), hint: None }
    }

    pub fn hint(self, text: impl Into<String>) -> Self {
        let text = Some(text.into());
        match self {
            CliError::Usage { message, .. } => CliError::Usage { message, hint: text },
            CliError::Failed { message, .. } => CliError::Failed { message, hint: text },
            other @ (CliError::Client(_) | CliError::Quiet(_) | CliError::NobodyReads) => other,
        }
    }

    /// An error of our own output.
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::NobodyReads,
            _ => CliError::failed(format!("writing the output: {error}")),
        }
    }

    /// Says it and gives the exit code.
    pub fn end(self, screen: &Screen) -> ExitCode {
        let (message, hint, code) = match self {
            CliError::Usage { message, hint } => (message, hint, USAGE),
            CliError::Failed { message, hint } => (message, hint, FAILED),
            CliError::Client(error) => {
                let code = match error {
                    ClientError::Unreachable { .. } | ClientError::Broken { .. } => UNREACHABLE,
                    ClientError::Refused(_) | ClientError::Nonsense { .. } => FAILED,
                };
                (error.to_string(), error.hint().map(str::to_owned), code)
            }
            CliError::Quiet(code) => return ExitCode::from(code),
            CliError::NobodyReads => return ExitCode::SUCCESS,
        };
        screen.talk(&format!("error: {message}"));
        if let Some(hint) = hint {
            screen.talk("");
            screen.talk(&format!("hint: {hint}"));
        }
        ExitCode::from(code)
    }
}
