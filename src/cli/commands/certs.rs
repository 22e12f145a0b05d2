//! `certs add|list|show|remove`.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use super::super::args::CertsAct;
use super::{CliError, Context, Outcome, ago, facts, rows};
use crate::api::types::certs::{Cert, ExportedCert, NewCert};
use crate::base::secret::Secret;

/// More than any chain; what is larger is another file.
const LARGEST: u64 = 256 * 1024;

pub async fn run(context: &Context, act: Option<CertsAct>) -> Outcome {
    let client = context.client()?;
    match act.unwrap_or(CertsAct::List) {
        CertsAct::Add { hosts, chain, key } => {
            let chain_text = read(context, &chain)?;
            // One stream can hold both: each reader takes what is its own.
            let key = if key == chain { chain_text.clone() } else { read(context, &key)? };
            let cert = client.add_cert(&NewCert { hosts, chain: chain_text, key: Secret::new(key) }).await?;
            one(context, &cert, &format!("{} is shown from now on, until {}", cert.issuer, cert.not_after.rfc3339()))
        }
        CertsAct::List => {
            let certs = client.certs().await?;
            let table = certs.iter().flat_map(|cert| cert.hosts.iter().map(move |host| row(host.as_str(), cert))).collect();
            let none = "no certificates yet; `paas certs add HOST --chain FILE --key FILE` adds one";
            rows(context, &certs, &["HOST", "ISSUER", "UNTIL", "KEY", ""], table, none)
        }
        CertsAct::Show { host, with_key } => show(context, &client.cert(&host, with_key).await?),
        CertsAct::Remove { host } => {
            let cert = client.remove_cert(&host).await?;
            one(context, &cert, &format!("no certificate of its own is shown for {host} any more"))
        }
    }
}

fn row(host: &str, cert: &Cert) -> Vec<String> {
    let until: String = match cert.not_after.0 {
        0 => "-".to_owned(),
        _ => cert.not_after.rfc3339().chars().take(10).collect(),
    };
    if let Some(why) = &cert.trouble {
        return vec![host.to_owned(), cert.issuer.clone(), until, cert.key_type.clone(), format!("CAN'T BE USED: {why}")];
    }
    let soon = match cert.days_left {
        _ if !cert.ends_soon => String::new(),
        ..0 => "HAS ENDED".to_owned(),
        0 => "ENDS WITHIN A DAY".to_owned(),
        days => format!("ENDS IN {days} DAYS"),
    };
    vec![host.to_owned(), cert.issuer.clone(), until, cert.key_type.clone(), soon]
}

/// With the key it is PEM alone, so that it can go to a file.
fn show(context: &Context, exported: &ExportedCert) -> Outcome {
    if let (Some(key), false) = (&exported.key, context.global.json) {
        let text = format!("{}\n{}\n", exported.chain.trim_end(), key.reveal().trim_end());
        context.screen.text(&text).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let cert = &exported.cert;
    let hosts: Vec<&str> = cert.hosts.iter().map(crate::names::HostPattern::as_str).collect();
    facts(
        context,
        exported,
        &[
            ("shown for", hosts.join(" ")),
            ("speaks for", cert.names.join(" ")),
            ("issuer", cert.issuer.clone()),
            ("key", cert.key_type.clone()),
            ("from", cert.not_before.rfc3339()),
            ("until", cert.not_after.rfc3339()),
            ("fingerprint", cert.fingerprint.clone()),
            ("added", ago(cert.added_at)),
        ],
    )
}

fn read(context: &Context, file: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let name = file.display();
    let failed = |e: std::io::Error| CliError::failed(format!("reading `{name}`: {e}"));
    if file == Path::new("-") {
        std::io::stdin().lock().take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    } else if context.in_session() {
        return Err(CliError::usage("files are read on your own machine").hint("send both by stdin: `--chain - --key -`"));
    } else {
        std::fs::File::open(file).map_err(failed)?.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

fn one(context: &Context, cert: &Cert, says: &str) -> Outcome {
    if context.global.json {
        context.screen.json(cert).map_err(CliError::output)?;
    } else {
        context.screen.talk(says);
    }
    Ok(ExitCode::SUCCESS)
}
