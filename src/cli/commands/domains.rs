//! `domains add|remove|list`.

use std::process::ExitCode;

use super::super::args::DomainsAct;
use super::{CliError, Context, Outcome, rows};
use crate::api::types::domains::{Domain, DomainOrigin, NewDomain};

pub async fn run(context: &Context, act: Option<DomainsAct>) -> Outcome {
    let (app, client) = (context.app()?, context.client()?);
    match act.unwrap_or(DomainsAct::List) {
        DomainsAct::Add { host, redirect_to } => {
            let domain = client.add_domain(&app, &NewDomain { host, redirect_to }).await?;
            let says = match &domain.redirect_to {
                Some(to) => format!("{} now redirects to {to}", domain.host),
                None => format!("{app} now answers at {}", domain.host),
            };
            one(context, &domain, &says)
        }
        DomainsAct::Remove { host } => {
            let domain = client.remove_domain(&app, &host).await?;
            one(context, &domain, &format!("{app} no longer answers at {}", domain.host))
        }
        DomainsAct::List => {
            let domains = client.domains(&app).await?;
            let table = domains
                .iter()
                .map(|d| {
                    let origin = match d.origin {
                        DomainOrigin::Host => "always there",
                        DomainOrigin::Manifest => "paas.toml",
                        DomainOrigin::Added => "added",
                    };
                    vec![
                        d.host.to_string(),
                        origin.to_owned(),
                        d.redirect_to.as_ref().map(|to| format!("redirects to {to}")).unwrap_or_default(),
                    ]
                })
                .collect();
            rows(context, &domains, &["DOMAIN", "FROM", ""], table, &format!("{app} has no domains"))
        }
    }
}

fn one(context: &Context, domain: &Domain, says: &str) -> Outcome {
    if context.global.json {
        context.screen.json(domain).map_err(CliError::output)?;
    } else {
        context.screen.talk(says);
    }
    Ok(ExitCode::SUCCESS)
}
