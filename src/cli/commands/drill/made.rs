//! The app of a drill that shall touch none of the user's: one page, two instances, gone afterwards.

use super::super::CliError;
use crate::api::client::{Client, Events};
use crate::api::types::apps::NewApp;
use crate::api::types::deploys::DeployEvent;
use crate::api::types::processes::Scale;
use crate::names::{AppName, ProcessName};

const PAGE: &str = "<!doctype html><title>drill</title><p>This page is here for a drill.</p>\n";

/// Two, so that the other one takes over when one is killed.
const INSTANCES: u32 = 2;

/// Makes the app and brings it live. One that cannot is removed again.
pub async fn make(client: &Client) -> Result<AppName, CliError> {
    let name = format!("paas-drill-{}", std::process::id());
    let name = AppName::parse(&name).map_err(|e| CliError::failed(e.to_string()))?;
    client.create_app(&NewApp { name: name.clone() }).await?;
    match bring(client, &name).await {
        Ok(()) => Ok(name),
        Err(error) => {
            remove(client, &name).await?;
            Err(error)
        }
    }
}

pub async fn remove(client: &Client, app: &AppName) -> Result<(), CliError> {
    client.destroy_app(app).await?;
    Ok(())
}

async fn bring(client: &Client, app: &AppName) -> Result<(), CliError> {
    let source = tarball().map_err(|e| CliError::failed(format!("packing a page: {e}")))?;
    until_live(client.deploy_tarball(app, std::io::Cursor::new(source), true).await?).await?;
    let web = ProcessName::parse("web").expect("`web` is a valid process type");
    until_live(client.scale(app, &Scale::from([(web, INSTANCES)])).await?).await
}

async fn until_live(mut events: Events<DeployEvent>) -> Result<(), CliError> {
    while let Some(event) = events.next().await? {
        match event {
            DeployEvent::Live { .. } => return Ok(()),
            DeployEvent::Failed { why, next, .. } => {
                return Err(CliError::failed(format!("the app for the drill does not come up: {why}")).hint(next));
            }
            _ => {}
        }
    }
    Err(CliError::failed("the app for the drill did not become live"))
}

fn tarball() -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(PAGE.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "index.html", PAGE.as_bytes())?;
    tar.into_inner()
}
