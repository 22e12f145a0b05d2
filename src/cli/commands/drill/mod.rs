//! `drill`: takes the server's own processes away under counted traffic, and prints what that did to the requests.
//!
//! Owns: the order of the faults and the receipt. Uses: the client, the host config (where the roles are), `/proc`, `kill`.
//! Never: touches anything but this installation; sends a request to anything but the server's own proxy, by loopback.
//! Invariants: only root on the server itself starts it, and only after a yes; a request counts as lost unless the fault hit it in flight.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{CliError, Context, Outcome};
use crate::api::client::{Client, Transport};
use crate::api::render::{receipt, seconds};
use crate::api::types::deploys::{DeployEvent, RequestCounts};
use crate::api::types::processes::{InstanceState, Ps, Restart};
use crate::cli::args::DrillArgs;
use crate::config::HostConfig;
use crate::names::AppName;

mod faults;
mod made;
mod traffic;

use faults::{Fault, Hit};
use traffic::{Aim, Traffic};

/// Traffic before each fault, so that it meets a calm app.
const CALM: Duration = Duration::from_secs(1);
/// After a recovery; what comes late belongs to its fault.
const AFTER: Duration = Duration::from_secs(2);
/// A part that is not back by then stays away.
const LIMIT: Duration = Duration::from_secs(60);

/// What a drill found out, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Receipt {
    app: AppName,
    /// Requests per second, at most.
    rate: u32,
    faults: Vec<FaultReceipt>,
    /// Requests that no fault explains: not one is allowed.
    lost: u64,
}

#[derive(Debug, Serialize)]
struct FaultReceipt {
    fault: Fault,
    /// `served` and `dropped` as the client saw them; `held` and `retried` by the proxy; for the deploy its own counts.
    requests: RequestCounts,
    /// Of those dropped: in flight at what was killed, in that moment.
    in_flight: u64,
    lost: u64,
    /// From the fault until a request that was begun after it was answered.
    recovered_ms: Option<u64>,
    /// Until the killed part was there again.
    back_ms: Option<u64>,
    slowest_ms: u64,
    /// What the first lost request met.
    first_loss: Option<String>,
}

pub async fn run(context: &Context, args: DrillArgs) -> Outcome {
    let config = refuse(context, &args)?;
    let client = Client::new(Transport::socket(context.global.socket.clone().unwrap_or_else(|| config.api_socket())));
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(|f| *f != Fault::Docker || args.docker).collect();
    if !args.make {
        let app = context.app()?;
        ask(context, &args, &format!("to {app}"), &faults)?;
        return on(context, &client, &config, &args, &app, &faults).await;
    }
    ask(context, &args, "to an app made for it", &faults)?;
    context.screen.talk("-----> Making an app");
    let app = made::make(&client).await?;
    let outcome = on(context, &client, &config, &args, &app, &faults).await;
    made::remove(&client, &app).await?;
    outcome
}

async fn on(
    context: &Context,
    client: &Client,
    config: &HostConfig,
    args: &DrillArgs,
    app: &AppName,
    faults: &[Fault],
) -> Outcome {
    let aim = aim(client, app, args).await?;
    let mut receipt = Receipt { app: app.clone(), rate: args.rate, faults: Vec::new(), lost: 0 };
    for fault in faults {
        context.screen.talk(&format!("-----> {}", fault.says()));
        let done = one(client, config, app, &aim, args, *fault).await?;
        receipt.lost += done.lost;
        if !context.global.json {
            show(context, &done)?;
        }
        receipt.faults.push(done);
    }
    if context.global.json {
        context.screen.json(&receipt).map_err(CliError::output)?;
    }
    if receipt.lost > 0 {
        return Err(CliError::failed(format!("{} requests were lost that were not in flight at what was killed", receipt.lost)));
    }
    context.screen.talk("No request was lost but those in flight at what was killed.");
    Ok(ExitCode::SUCCESS)
}

/// The roles belong to three users: only root may end them all, and only here.
fn refuse(context: &Context, args: &DrillArgs) -> Result<HostConfig, CliError> {
    if context.in_session() || context.global.host.as_deref().is_some_and(|host| host != "local") {
        return Err(CliError::failed("a drill runs on the server itself").hint("log in there as root and run `paas drill`"));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(CliError::failed("a drill ends processes of several users: only root may").hint("run it with sudo"));
    }
    HostConfig::load(&args.config).map_err(|e| CliError::failed(e.to_string()))
}

fn ask(context: &Context, args: &DrillArgs, whither: &str, faults: &[Fault]) -> Result<(), CliError> {
    if args.yes {
        return Ok(());
    }
    let all = faults.iter().map(|f| f.says()).collect::<Vec<_>>().join("; ");
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("a drill needs a yes").hint("add `--yes`"));
    }
    let answer = context.screen.ask(&format!("{all}, with {} requests/s {whither} meanwhile. Go on? [y/N]", args.rate));
    match answer.map_err(CliError::output)?.as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::failed("nothing was done")),
    }
}

/// Where the proxy listens and what the app answers when nothing is wrong.
async fn aim(client: &Client, app: &AppName, args: &DrillArgs) -> Result<Aim, CliError> {
    let status = client.status().await?;
    let listening = status.proxy.detail.split(", ").find_map(|text| text.parse::<SocketAddr>().ok()).filter(|_| status.proxy.ok);
    let Some(mut to) = listening else { return Err(CliError::failed("no proxy is connected").hint("paas status")) };
    if to.ip().is_unspecified() {
        // `[::]` takes both, and a host without IPv6 has only one of them.
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, to.port()));
        let by_v6 = to.is_ipv6() && std::net::TcpStream::connect_timeout(&v6, Duration::from_secs(1)).is_ok();
        to.set_ip(if by_v6 { v6.ip() } else { std::net::Ipv4Addr::LOCALHOST.into() });
    }
    let urls = client.app(app).await?.urls;
    let host = urls.first().and_then(|url| url.split("//").nth(1)).and_then(|rest| rest.split(['/', ':']).next());
    let host = host.ok_or_else(|| CliError::failed(format!("{app} has no host name")))?.to_owned();
    let mut aim = Aim { to, host, path: args.path.clone(), status: 0 };
    let first =
        traffic::ask_once(&aim).map_err(|why| CliError::failed(format!("{app} does not answer before the drill: {why}")))?;
    if first >= 500 {
        let error = CliError::failed(format!("{app} answers {first} at {}: nothing could be told from its answers", args.path));
        return Err(error.hint("choose another app, or a path that it answers by `--path`"));
    }
    aim.status = first;
    Ok(aim)
}

async fn one(
    client: &Client,
    config: &HostConfig,
    app: &AppName,
    aim: &Aim,
    args: &DrillArgs,
    fault: Fault,
) -> Result<FaultReceipt, CliError> {
    let before = counts(&client.ps(app).await?);
    let traffic = Traffic::start(aim, args.rate);
    tokio::time::sleep(CALM).await;
    let (hit, deploy) = match fault {
        Fault::Restart => restart(client, app).await?,
        _ => (faults::strike(fault, config, client, app).await?, None),
    };
    // The window is as long as the part is away, and so long after.
    tokio::time::sleep(AFTER.max(Duration::from_secs(args.seconds.into()).saturating_sub(hit.at.elapsed()))).await;
    let seen = traffic.stop(&hit);
    let after = counts(&ready(client, app).await?);
    let mut requests = RequestCounts {
        served: seen.served,
        dropped: seen.in_flight + seen.lost,
        held: after.held.saturating_sub(before.held),
        retried: after.retried.saturating_sub(before.retried),
        complete: true,
        ..RequestCounts::default()
    };
    if let Some(counts) = deploy {
        requests = RequestCounts { dropped: counts.dropped + seen.lost, ..counts };
    }
    let (in_flight, lost, first_loss) = (seen.in_flight, seen.lost, seen.first_loss);
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Ok(FaultReceipt {
        fault,
        requests,
        in_flight,
        lost,
        recovered_ms: seen.recovered.map(ms),
        back_ms: hit.back.map(ms),
        slowest_ms: ms(seen.slowest),
        first_loss,
    })
}

/// No fault: a deploy of the live release, for comparison.
async fn restart(client: &Client, app: &AppName) -> Result<(Hit, Option<RequestCounts>), CliError> {
    let at = Instant::now();
    let mut events = client.restart(app, &Restart { process: None }).await?;
    let mut live = None;
    while let Some(event) = events.next().await? {
        match event {
            DeployEvent::Live { deploy, .. } => live = Some(deploy),
            DeployEvent::Failed { why, .. } => return Err(CliError::failed(format!("the restart failed: {why}"))),
            _ => {}
        }
    }
    let Some(deploy) = live else { return Err(CliError::failed("the restart did not become live")) };
    let back = at.elapsed();
    let mut counts = client.deploy_info(deploy).await?.counts.unwrap_or_default();
    while !counts.complete && at.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(200)).await;
        counts = client.deploy_info(deploy).await?.counts.unwrap_or_default();
    }
    Ok((Hit { at, until: at, back: Some(back) }, Some(counts)))
}

/// The state of the app's instances, once the daemon answers again and they run.
async fn ready(client: &Client, app: &AppName) -> Result<Ps, CliError> {
    let begun = Instant::now();
    loop {
        match client.ps(app).await {
            Ok(ps) if runs(&ps) || begun.elapsed() > LIMIT => return Ok(ps),
            Err(e) if !e.is_away() || begun.elapsed() > LIMIT => return Err(e.into()),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn runs(ps: &Ps) -> bool {
    ps.processes.iter().flat_map(|p| &p.instances).all(|i| i.state == InstanceState::Running)
}

fn counts(ps: &Ps) -> RequestCounts {
    let all = ps.processes.iter().flat_map(|p| &p.instances).filter_map(|i| i.requests);
    all.fold(RequestCounts::default(), |sum, c| RequestCounts {
        held: sum.held + c.held,
        retried: sum.retried + c.retried,
        ..sum
    })
}

fn show(context: &Context, done: &FaultReceipt) -> Result<(), CliError> {
    let or_never = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), seconds);
    let mut lines = vec![receipt(&done.requests)];
    if done.in_flight > 0 {
        lines.push(format!("{} of those dropped were in flight at what was killed", done.in_flight));
    }
    let times = [or_never(done.recovered_ms), or_never(done.back_ms), seconds(done.slowest_ms)];
    lines.push(format!("answered again after {}, back after {}, slowest answer {}", times[0], times[1], times[2]));
    for line in lines {
        context.screen.data(&format!("       {line}")).map_err(CliError::output)?;
    }
    if let Some(why) = &done.first_loss {
        context.screen.data(&format!(" !     {} lost; the first one: {why}", done.lost)).map_err(CliError::output)?;
    }
    Ok(())
}
