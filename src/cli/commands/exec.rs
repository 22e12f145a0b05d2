//! `exec [-p web.1] [COMMAND]`: inside an instance that runs already.

use super::super::args::ExecArgs;
use super::{Context, Outcome, terminal};
use crate::api::types::processes::ExecRequest;

pub async fn run(context: &Context, args: ExecArgs) -> Outcome {
    let (app, client) = (context.app()?, context.client()?);
    let tty = !args.no_tty && terminal::is_there();
    let size = terminal::size().filter(|_| tty);
    let session = client.exec(&app, &ExecRequest { instance: args.process, command: args.command, tty, size }).await?;
    terminal::drive(context, session, tty).await
}
