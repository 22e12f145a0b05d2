//! `paas stack`: the base images of this host. Making one needs root, so it is not the daemon's work.

use std::sync::Arc;

use anyhow::Context;

use crate::builds::{BuildLine, LineKind, stack};
use crate::cli;
use crate::config::HostConfig;
use crate::docker::Docker;

/// The base image is shared by all installations on an engine: it carries none's label.
const NO_INSTALL: &str = "stack";

/// Makes the Debian base image if it is missing.
pub async fn make(config: Arc<HostConfig>) -> anyhow::Result<()> {
    let docker = Docker::new(&config.docker.socket, NO_INSTALL);
    let (lines, mut printed) = tokio::sync::mpsc::channel::<BuildLine>(64);
    let scratch = std::env::temp_dir();
    let (release, mirror) = (config.stack.debian, config.stack.mirror.clone());
    let making = async move { stack::make_base(&docker, release, &mirror, &scratch, false, &lines).await };
    let printing = async {
        while let Some(line) = printed.recv().await {
            match line.kind {
                LineKind::Step => cli::say(&format!("-----> {}", line.text)),
                LineKind::Output => cli::say(&format!("       {}", line.text)),
                LineKind::Warning | LineKind::Error => cli::say(&format!(" !     {}", line.text)),
            }
        }
    };
    let (made, ()) = tokio::join!(making, printing);
    let tag = made.context("making the base image")?;
    cli::show(&tag).context("printing its name")
}

/// Prints the stack images that the engine has.
pub async fn list(config: Arc<HostConfig>) -> anyhow::Result<()> {
    let docker = Docker::new(&config.docker.socket, NO_INSTALL);
    let images = docker.list_images("paas-stack/*").await.context("listing images")?;
    for tag in images.iter().flat_map(|image| &image.tags) {
        cli::show(tag).context("printing")?;
    }
    Ok(())
}
