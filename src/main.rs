//! The thin program: what was typed → a client's command or a role of the server.

use std::process::ExitCode;

use paas::cli::{self, Connection, Parsed};

fn main() -> ExitCode {
    #[cfg(feature = "server")]
    if let Some(code) = paas::daemon::roles::by_name() {
        return code;
    }
    match cli::parse(std::env::args_os().collect(), &Connection::Local) {
        Ok(Parsed::Command(command)) => cli::run_command(command, Connection::Local),
        #[cfg(feature = "server")]
        Ok(Parsed::Role(role)) => paas::daemon::roles::run(role),
        #[cfg(not(feature = "server"))]
        Ok(Parsed::Role(role)) => match role {},
        Err(code) => code,
    }
}
