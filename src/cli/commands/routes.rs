//! `routes explain`: what would happen to a request, and why.

use std::process::ExitCode;

use super::super::args::{ExplainArgs, RoutesAct};
use super::super::print::{bytes, table};
use super::{CliError, Context, Outcome, short};
use crate::api::types::domains::DomainOrigin;
use crate::api::types::routes::{Change, ExplainRequest, Explanation, HeaderChange, Outcome as What, TargetState};

pub async fn run(context: &Context, act: RoutesAct) -> Outcome {
    let RoutesAct::Explain(ExplainArgs { url, header, method, from }) = act;
    let field = |given: &String| match given.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err(CliError::usage(format!("`{}` is not of the form `Name: value`", given.escape_debug()))),
    };
    let headers = header.iter().map(field).collect::<Result<_, _>>()?;
    let asked = ExplainRequest { url, method, headers, from };
    let told = context.client()?.explain(&asked).await?;
    if context.global.json {
        context.screen.json(&told).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&told) {
        context.screen.data(&line).map_err(CliError::output)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Facts with their name in front, each list below the first line of its own.
fn lines(told: &Explanation) -> Vec<String> {
    let mut out = Vec::new();
    let mut say = |name: &str, values: Vec<String>| {
        for (n, value) in values.into_iter().enumerate() {
            out.push(format!("{:12} {value}", if n == 0 { name } else { "" }).trim_end().to_owned());
        }
    };
    let known = if told.trusted { "a trusted proxy" } else { "not a trusted proxy" };
    say("request", vec![format!("{} {}", told.method, told.url)]);
    say("from", vec![format!("{} ({known})", told.from)]);
    say("client", told.client.filter(|c| *c != told.from).map(|c| c.to_string()).into_iter().collect());
    say("route", vec![route(told)]);
    let status = told.status.map(|s| format!(" with {s}")).unwrap_or_default();
    say("outcome", vec![format!("{}{status}: {}", word(told.outcome), told.why)]);
    say("to", told.location.clone().into_iter().collect());
    let rows: Vec<Vec<String>> = told
        .targets
        .iter()
        .map(|t| {
            let name = t.process.to_string();
            vec![t.id.to_string(), name, t.release.to_string(), short(t.commit.as_ref()), state(t.state).to_owned()]
        })
        .collect();
    say("targets", if rows.is_empty() { Vec::new() } else { table(&["ID", "PROCESS", "RELEASE", "COMMIT", ""], &rows) });
    say("maintenance", told.maintenance.iter().map(super::maintenance::line).collect());
    say("certificate", certificate(told).into_iter().collect());
    let limits = [
        told.max_body.map(|limit| format!("a body of at most {}", bytes(limit))),
        told.hsts.map(|seconds| format!("browsers use TLS for {seconds} s (HSTS)")),
    ];
    say("rules", limits.into_iter().flatten().collect());
    say("app gets", told.request.iter().map(header).collect());
    say("answer gets", told.answer.iter().map(header).collect());
    if told.proxies == 0 {
        say("but", vec!["no proxy is connected: this is what one would do".to_owned()]);
    }
    out
}

fn route(told: &Explanation) -> String {
    let host = told.host.as_ref().map_or_else(|| "no host name".to_owned(), ToString::to_string);
    let by = match told.rule {
        Some(DomainOrigin::Host) => ", its own name",
        Some(DomainOrigin::Manifest) => ", by its paas.toml",
        Some(DomainOrigin::Added) => ", by `paas domains add`",
        None => "",
    };
    let app = told.app.as_ref().map_or_else(|| "none".to_owned(), |app| format!("app {app}{by}"));
    format!("{host}: {app}")
}

fn certificate(told: &Explanation) -> Option<String> {
    match &told.certificate {
        Some(cert) => Some(format!("{}, {}, until {}", cert.issuer, cert.key_type, cert.not_after.rfc3339())),
        None if told.self_signed => Some("the server's own, self-signed: browsers warn".to_owned()),
        None => None,
    }
}

fn word(what: What) -> &'static str {
    match what {
        What::Forwarded => "forwarded",
        What::PassedThrough => "passed through",
        What::Redirected => "redirected",
        What::Maintenance => "maintenance page",
        What::Held => "held",
        What::NoInstance => "no instance",
        What::TooLarge => "too large",
        What::UnknownHost => "unknown host",
        What::Refused => "refused",
        What::NotReady => "not ready",
    }
}

fn state(state: TargetState) -> &'static str {
    match state {
        TargetState::Live => "live",
        TargetState::Draining => "draining",
        TargetState::Suspended => "suspended",
        TargetState::Held => "held",
    }
}

/// `+` added, `~` replaced, `-` removed, and as it was.
fn header(change: &HeaderChange) -> String {
    let HeaderChange { change, name, value, why } = change;
    let why = if why.is_empty() { String::new() } else { format!("   ({why})") };
    let mark = match change {
        Change::Kept => ' ',
        Change::Added => '+',
        Change::Replaced => '~',
        Change::Removed => '-',
    };
    format!("{mark} {name}: {value}{why}")
}
