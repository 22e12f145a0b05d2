//! `run COMMAND`: a one-off instance of the live release.

use std::collections::BTreeMap;

use super::super::args::RunArgs;
use super::{Context, Outcome, terminal, variable};
use crate::api::types::processes::RunRequest;
use crate::base::secret::Secret;

pub async fn run(context: &Context, args: RunArgs) -> Outcome {
    let mut env = BTreeMap::new();
    for (n, given) in args.env.iter().enumerate() {
        let (key, value) = variable(given, &format!("variable {} of --env", n + 1))?;
        env.insert(key, Secret::new(value.to_owned()));
    }
    let (app, client) = (context.app()?, context.client()?);
    let tty = !args.no_tty && terminal::is_there();
    let size = terminal::size().filter(|_| tty);
    let asked = RunRequest { command: args.command, tty, size, env };
    let session = client.run(&app, &asked).await?;
    terminal::drive(context, session, tty).await
}
