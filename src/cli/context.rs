//! What every command needs: which server, which app, where to print.

use std::cell::OnceCell;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::Connection;
use super::args::Global;
use super::exit::CliError;
use super::print::Screen;
use super::remote::{self, Remote, Server};
use crate::api::client::{Client, Transport};
use crate::names::AppName;

/// Where the daemon listens on this machine if nothing else is said.
const USUAL_SOCKET: &str = "/run/paas/api.sock";

/// Who waits so long for an answer is told what for.
const SLOW: Duration = Duration::from_secs(5);

pub struct Context {
    pub global: Global,
    pub screen: Screen,
    connection: Connection,
    /// git is asked once.
    remote: OnceCell<Result<Option<Remote>, String>>,
}

impl Context {
    pub fn new(global: Global, connection: Connection, screen: Screen) -> Self {
        Context { global, screen, connection, remote: OnceCell::new() }
    }

    /// True inside `ssh paas@server …`, where no file, environment or git repository is the user's.
    pub fn in_session(&self) -> bool {
        matches!(self.connection, Connection::Session { .. })
    }

    /// The app this command is about.
    pub fn app(&self) -> Result<AppName, CliError> {
        let parse = |given: &str| AppName::parse(given).map_err(|e| CliError::usage(e.to_string()));
        if let Some(given) = &self.global.app {
            return parse(given);
        }
        if let Some(given) = self.environment("PAAS_APP") {
            return parse(&given);
        }
        if let Some(remote) = self.remote()? {
            return Ok(remote.app);
        }
        let hint = if self.in_session() {
            "give it by `-a APP`"
        } else {
            "give it by `-a APP`, or run this in a repository with a git remote `deploy` (`git remote add deploy paas@server:app`)"
        };
        Err(CliError::usage("which app?").hint(hint))
    }

    /// The app given by name, else [`Context::app`].
    pub fn app_or(&self, given: Option<AppName>) -> Result<AppName, CliError> {
        given.map_or_else(|| self.app(), Ok)
    }

    /// A client of the daemon that this command is for.
    pub fn client(&self) -> Result<Client, CliError> {
        let screen = self.screen;
        let told =
            "-----> The daemon has not answered yet; this waits for it (`sudo paas doctor` on the server looks without it)";
        Ok(Client::new(self.transport()?).when_slow(SLOW, move || screen.talk(told)))
    }

    /// The way to that daemon.
    pub fn transport(&self) -> Result<Transport, CliError> {
        if let Connection::Session { socket, key } = &self.connection {
            if self.global.host.is_some() || self.global.remote.is_some() || self.global.socket.is_some() {
                return Err(CliError::usage("`--host`, `--remote` and `--socket` are for the command line on your own machine"));
            }
            return Ok(Transport::for_key(socket, *key));
        }
        Ok(match self.server()? {
            Some(server) => Transport::program(server.tunnel(), server.to_string()),
            None => Transport::socket(self.socket()),
        })
    }

    fn server(&self) -> Result<Option<Server>, CliError> {
        if self.global.socket.is_some() {
            return Ok(None);
        }
        let given = self.global.host.clone().or_else(|| self.environment("PAAS_HOST"));
        match given.as_deref() {
            Some("local") => Ok(None),
            Some(given) => Server::parse(given).map(Some).map_err(CliError::usage),
            // Somebody who names the socket means this machine.
            None if self.environment("PAAS_SOCKET").is_some() => Ok(None),
            // Whoever may use the socket of this very machine needs no key for it.
            None => {
                let server = self.remote()?.map(|remote| remote.server);
                Ok(server.filter(|server| !(server.is_this_machine() && UnixStream::connect(self.socket()).is_ok())))
            }
        }
    }

    fn socket(&self) -> PathBuf {
        let given = self.global.socket.clone().or_else(|| self.environment("PAAS_SOCKET").map(PathBuf::from));
        given.unwrap_or_else(|| PathBuf::from(USUAL_SOCKET))
    }

    fn remote(&self) -> Result<Option<Remote>, CliError> {
        if self.in_session() {
            return Ok(None);
        }
        let found = self.remote.get_or_init(|| remote::choose(&remote::of_this_folder(), self.global.remote.as_deref()));
        found
            .clone()
            .map_err(|why| CliError::usage(why).hint("choose one by `-r REMOTE`, or name app and server by `-a` and `-H`"))
    }

    fn environment(&self, name: &str) -> Option<String> {
        if self.in_session() { None } else { std::env::var(name).ok().filter(|v| !v.is_empty()) }
    }
}
