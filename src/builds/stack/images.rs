//! The two images that a buildpack builds on, made when first needed.

use super::base::short_hash;
use super::{Stack, certificates};
use crate::builds::buildpack::Buildpack;
use crate::builds::context::{self, ContextPlan};
use crate::builds::error::BuildError;
use crate::builds::languages::StackKind;
use crate::builds::lines::{BuildLine, Lines, Mask, Teller, say};
use crate::builds::template::{Values, render};
use crate::docker::buildkit::{SolveError, SolveJob};
use crate::docker::labels;

/// `paas-stack/…` tags of one language.
#[derive(Debug, Clone)]
pub struct StackImages {
    /// With compilers and headers.
    pub build: String,
    /// What apps run on.
    pub run: String,
}

impl Stack {
    /// Gives the images of `pack` for `kind` (and a language version, where the registry has several), making them if they are not there:
    /// a minute or so, once per host and recipe. Cancel-safe: yes, what was made stays in the cache.
    pub async fn images(
        &self,
        pack: &Buildpack,
        version: &str,
        kind: StackKind,
        lines: &Lines,
    ) -> Result<StackImages, BuildError> {
        let base = self.base(kind).await?;
        let ca = certificates::read(self.config.build.ca_certificates.as_ref(), lines).await;
        let registry = pack.text("stack.registry.Dockerfile").filter(|_| kind == StackKind::Registry);
        let template = registry.or_else(|| pack.text("stack.debian.Dockerfile")).unwrap_or_default();
        let mut values = Values::from([("base".to_owned(), base), ("version".to_owned(), version.to_owned())]);
        certificates::offer(&mut values, ca.is_some());
        let dockerfile = render(template, &values).map_err(|why| bad_template(&pack.name, &why))?;
        let source = match kind {
            StackKind::Debian(number) => number.to_string(),
            StackKind::Registry => "registry".to_owned(),
        };
        // Proxies and certificates do not change what comes out.
        let version = format!("{source}-{}", short_hash(&dockerfile));
        let tag = |target: &str| format!("paas-stack/{}-{target}:{version}", pack.name);
        let images = StackImages { build: tag("build"), run: tag("run") };
        let _alone = self.making.lock().await;
        for (target, tag) in [("build", &images.build), ("run", &images.run)] {
            if self.docker.image(tag).await?.is_none() {
                say(lines, BuildLine::step(format!("Making the {} image for {} (once per host)", target, pack.title))).await;
                let secrets = ca.iter().map(|bytes| (certificates::SECRET_ID.to_owned(), bytes.clone())).collect();
                self.make(&dockerfile, target, tag, secrets, lines).await?;
            }
        }
        Ok(images)
    }

    async fn make(
        &self,
        dockerfile: &str,
        target: &str,
        tag: &str,
        secrets: std::collections::BTreeMap<String, crate::base::secret::Secret<Vec<u8>>>,
        lines: &Lines,
    ) -> Result<(), BuildError> {
        let extra = vec![("Dockerfile".to_owned(), dockerfile.as_bytes().to_vec())];
        let job = SolveJob {
            context: context::stream(ContextPlan { extra, ..ContextPlan::default() }),
            dockerfile: "Dockerfile".to_owned(),
            tag: tag.to_owned(),
            target: Some(target.to_owned()),
            build_args: crate::builds::run::proxy_args(),
            labels: [(labels::STACK.to_owned(), tag.to_owned())].into(),
            secrets,
        };
        let titles = TITLES.iter().map(|(part, title)| ((*part).to_owned(), (*title).to_owned())).collect();
        let teller = Teller { titles: Some(titles), mask: Mask::default() };
        match crate::builds::run::solve_and_tell(&self.docker, job, &teller, lines).await {
            Ok(_) => Ok(()),
            Err(SolveError::Engine(error)) => Err(error.into()),
            Err(SolveError::Failed { message, step }) => Err(BuildError::Failed {
                message: format!("the base image {tag} could not be made: {message}"),
                hint: Some(
                    "it needs the Debian mirror of `[stack] mirror` and the language's package registry to answer".to_owned(),
                ),
                last_lines: step.map(|s| s.last_lines).unwrap_or_default(),
            }),
        }
    }
}

/// What is said while a RUN line with the left part runs.
const TITLES: &[(&str, &str)] =
    &[("apt-get install", "Installing packages"), ("npm install --global", "Fetching npm"), ("pip install", "Fetching uv")];

pub fn bad_template(pack: &str, why: &str) -> BuildError {
    let hint = "if the host has a buildpack of its own with that name, mend it; else report this".to_owned();
    BuildError::Unfit { why: format!("the template of buildpack {pack} is broken: {why}"), hint }
}
