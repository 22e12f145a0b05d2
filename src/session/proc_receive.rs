//! git's proc-receive hook: the same program, called by the hook's name. git has the objects; the daemon decides and moves the refs.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::protocol::{self, Outcome};
use super::serve_git::{ENV_APP, ENV_BEGAN, ENV_CONFIG, ENV_KEY};
use super::view::{Patience, View};
use super::{REFUSED, door, say};
use crate::api::render::seconds;
use crate::api::types::git::PushRequest;
use crate::base::clock::UnixMillis;
use crate::base::crash;
use crate::config::HostConfig;
use crate::names::{AppName, KeyId};

/// Above this the daemon is not even asked: nobody deploys a thousand branches.
const MOST_REFS: usize = 1000;

/// Whether this process was called as the hook: by the name of the link that `git::install_hooks` makes.
pub fn is_called(argv0: &str) -> bool {
    argv0.rsplit('/').next() == Some("proc-receive")
}

/// Runs as the hook, on git's stdin and stdout. A failure before the reports makes git reject every ref.
pub fn run() -> ExitCode {
    crash::point(crash::Point::HookStarted);
    let (config, key, app) = match surroundings() {
        Ok(found) => found,
        Err(why) => return say::refuse(REFUSED, &why, None),
    };
    let received = since_session_began();
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let asked = match protocol::read(&mut from, &mut to) {
        Ok(asked) => asked,
        Err(error) => return say::refuse(REFUSED, &format!("reading what git asks its hook: {error}"), None),
    };
    let outcomes = if asked.commands.len() > MOST_REFS {
        let why = format!("{} refs in one push; push one branch", asked.commands.len());
        asked.commands.into_iter().map(|command| Outcome { reference: command.reference, why: Some(why.clone()) }).collect()
    } else {
        let (commands, options, atomic) = (asked.commands, asked.options, asked.atomic);
        let request = PushRequest { app, commands, options, atomic, resume: None, reported: Vec::new(), push: name_of_push() };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread can be made");
        match runtime.block_on(View::new(&door(&config, key), request, Patience::default()).watch()) {
            Some(outcomes) => {
                if let (Some(received), Some(whole)) = (received, since_session_began()) {
                    say::line(&format!("       receive {} · whole push {}", seconds(received), seconds(whole)));
                }
                outcomes
            }
            // The pusher is gone; the daemon goes on and moves the branch itself.
            None => return ExitCode::from(REFUSED),
        }
    };
    let reported = protocol::write(&mut to, &outcomes);
    crash::point(crash::Point::HookReported);
    if reported.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) }
}

/// None where the kernel gives no random bytes: then a push that is asked again is another push.
fn name_of_push() -> Option<String> {
    Some(format!("{:016x}{:016x}", getrandom::u64().ok()?, getrandom::u64().ok()?))
}

/// Milliseconds since ssh started the session; the clock may have been set meanwhile, then nothing is told.
fn since_session_began() -> Option<u64> {
    let began = std::env::var(ENV_BEGAN).ok()?.parse().ok()?;
    u64::try_from(UnixMillis::now().since(UnixMillis(began)).as_millis()).ok()
}

/// What the session put into git's environment.
fn surroundings() -> Result<(HostConfig, KeyId, AppName), String> {
    let get = |name: &str| {
        std::env::var(name).map_err(|_| format!("{name} is not set: this hook is started by `paas ssh-session` only"))
    };
    let config = HostConfig::load(&PathBuf::from(get(ENV_CONFIG)?)).map_err(|error| error.to_string())?;
    let key = KeyId::parse(&get(ENV_KEY)?).map_err(|error| error.to_string())?;
    let app = AppName::parse(&get(ENV_APP)?).map_err(|error| error.to_string())?;
    Ok((config, key, app))
}
