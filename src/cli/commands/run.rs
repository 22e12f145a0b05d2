//! `run COMMAND`: a one-off instance of the live release.

use std::collections::BTreeMap;

use super::super::args::RunArgs;
use super::{CliError, Context, Outcome, pair, terminal};
use crate::api::types::processes::RunRequest;
use crate::base::secret::Secret;
use crate::names::ConfigKey;

pub async fn run(context: &Context, args: RunArgs) -> Outcome {
    let mut env = BTreeMap::new();
    for given in &args.env {
        let (key, value) = pair(given)?;
        let key = ConfigKey::parse(key).map_err(|e| CliError::usage(e.to_string()))?;
        env.insert(key, Secret::new(value.to_owned()));
    }
    let (app, client) = (context.app()?, context.client()?);
    let tty = !args.no_tty && terminal::is_there();
    let size = terminal::size().filter(|_| tty);
    let asked = RunRequest { command: args.command, tty, size, env };
    let session = client.run(&app, &asked).await?;
    terminal::drive(context, session, tty).await
}
