//! One build from request to image.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::moby::buildkit::v1::control_client::ControlClient;
use bollard::moby::buildkit::v1::sourcepolicy::{MatchType, Policy, PolicyAction, Rule, Selector};
use bollard::moby::buildkit::v1::{SolveRequest, StatusRequest};
use http::Uri;
use tokio::sync::mpsc::Sender;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::super::client::Docker;
use super::super::error::{DockerError, root_cause};
use super::super::images::split_reference;
use super::session::{ContextStream, Offer};
use super::status::{FailedStep, Progress, StepEvent};
use crate::base::secret::Secret;

/// A Dockerfile build. Everything is in memory or streamed; nothing of it is written to disk by us.
pub struct SolveJob {
    /// The context's tar, `.dockerignore` already applied (BuildKit does not apply it to an uploaded tar).
    pub context: ContextStream,
    /// The Dockerfile's path inside the context.
    pub dockerfile: String,
    /// `repository:tag` for the image.
    pub tag: String,
    /// A stage's name; None: the last.
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// By id, at most 500 KB each (BuildKit's limit).
    pub secrets: BTreeMap<String, Secret<Vec<u8>>>,
}

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solved {
    /// `sha256:…`: what was built, whatever happens to the tag.
    pub image_id: String,
    /// Steps of the Dockerfile but FROM, and how many of them came from the cache.
    pub steps: u32,
    pub cached: u32,
}

/// Why a build made nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SolveError {
    #[error(transparent)]
    Engine(#[from] DockerError),
    /// The build itself failed. `step` is missing for what goes wrong before any step: a Dockerfile that cannot be parsed.
    #[error("{message}")]
    Failed { message: String, step: Option<FailedStep> },
}

impl Docker {
    /// Builds an image and sends every change to `events`. Cancel-safe: dropping it cancels the build in the engine (the running step is
    /// killed), removes the session, and leaves only cache.
    pub async fn solve(&self, job: SolveJob, events: Sender<StepEvent>) -> Result<Solved, SolveError> {
        let (session, reference, upload_id) = (random_id(), random_id(), random_id());
        let mut request = request(&job, &session, &reference, &upload_id);
        request.source_policy = Some(no_image_of_others(&self.image_prefix(), &job.tag));
        let offer = Offer { upload_id, context: job.context, secrets: job.secrets };
        let _serving = self.open_session(&session, offer).await?;
        let channel = self.control_channel().await?;
        let mut solving = ControlClient::new(channel.clone());
        let mut watching = ControlClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        let mut progress = Progress::default();

        let outcome = {
            let watch = follow(&mut watching, reference, &mut progress, &events);
            let solve = solving.solve(request);
            tokio::pin!(watch);
            tokio::pin!(solve);
            let mut watched = false;
            loop {
                tokio::select! {
                    outcome = &mut solve => {
                        // The status stream ends with the build; what is still on its way belongs to the story.
                        if !watched {
                            let _ = tokio::time::timeout(LAST_WORDS, &mut watch).await;
                        }
                        break outcome;
                    }
                    () = &mut watch, if !watched => watched = true,
                }
            }
        };
        match outcome {
            Ok(answer) => {
                let image_id = answer.into_inner().exporter_response.remove("containerimage.digest").unwrap_or_default();
                if image_id.is_empty() {
                    let act = "building an image".to_owned();
                    return Err(DockerError::Protocol { message: "BuildKit gave no image id".to_owned(), act }.into());
                }
                Ok(Solved { image_id, steps: progress.steps_done, cached: progress.steps_cached })
            }
            Err(status) => Err(failure(&status, progress.failed())),
        }
    }

    async fn control_channel(&self) -> Result<Channel, DockerError> {
        let docker = self.clone();
        let connector = service_fn(move |_: Uri| {
            let docker = docker.clone();
            async move { docker.hijack("/grpc", "h2c", &[], None, "connecting to BuildKit").await.map(|raw| raw.into_inner()) }
        });
        // The address is never used: the connector has its own.
        Endpoint::from_static("http://buildkit")
            .connect_with_connector(connector)
            .await
            .map_err(|e| DockerError::Unavailable(format!("connecting to BuildKit: {}", root_cause(&e))))
    }
}

/// How long after the build's end its last messages are waited for.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// A status message carries output of all steps; tonic's default of 4 MiB is close to what a chatty build sends at once.
const MESSAGE_LIMIT: usize = 64 * 1024 * 1024;

/// Follows the build's status until the engine ends the stream.
async fn follow(client: &mut ControlClient<Channel>, reference: String, progress: &mut Progress, events: &Sender<StepEvent>) {
    let mut stream = match client.status(StatusRequest { r#ref: reference }).await {
        Ok(answer) => answer.into_inner(),
        Err(error) => {
            tracing::debug!(%error, "the build's progress could not be followed");
            return;
        }
    };
    while let Ok(Some(message)) = stream.message().await {
        for event in progress.take(message) {
            // A listener who is gone does not end the build.
            let _ = events.send(event).await;
        }
    }
}

fn request(job: &SolveJob, session: &str, reference: &str, upload_id: &str) -> SolveRequest {
    let mut attrs = HashMap::from([
        ("context".to_owned(), format!("http://buildkit-session/{upload_id}")),
        ("filename".to_owned(), job.dockerfile.clone()),
    ]);
    attrs.extend(job.target.iter().map(|target| ("target".to_owned(), target.clone())));
    attrs.extend(job.build_args.iter().map(|(key, value)| (format!("build-arg:{key}"), value.clone())));
    attrs.extend(job.labels.iter().map(|(key, value)| (format!("label:{key}"), value.clone())));
    SolveRequest {
        r#ref: reference.to_owned(),
        session: session.to_owned(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: attrs,
        exporter_deprecated: "moby".to_owned(),
        exporter_attrs_deprecated: HashMap::from([("name".to_owned(), job.tag.clone())]),
        // No entitlements: neither the host's network nor insecure mode can be asked for.
        ..Default::default()
    }
}

/// What a build may start from or copy out of: anything but images under our names, which are what apps' builds made, with those of its own
/// repository let through. BuildKit itself asks this of every image that it is to open, whatever a Dockerfile or another frontend makes
/// the name of. An engine whose BuildKit is older than 0.11 (Docker 20.10) passes over it and opens them all.
fn no_image_of_others(prefix: &str, tag: &str) -> Policy {
    let rule = |action: PolicyAction, pattern: String| Rule {
        action: action.into(),
        selector: Some(Selector { identifier: pattern, match_type: MatchType::Regex.into(), constraints: Vec::new() }),
        updates: None,
    };
    let own = split_reference(tag).0;
    // The last rule that fits decides. A frontend may leave out the registry or spell it otherwise, and the engine finds the image all the same.
    let rules = vec![
        rule(PolicyAction::Deny, format!("(^|/){prefix}")),
        rule(PolicyAction::Allow, format!("^(docker-image://)?docker\\.io/{own}[:@]")),
    ];
    Policy { version: 1, rules }
}

fn failure(status: &tonic::Status, step: Option<FailedStep>) -> SolveError {
    use tonic::Code;
    match status.code() {
        Code::Unavailable => DockerError::Unavailable(format!("building: {}", status.message())).into(),
        // The connection broke under the call: the engine went away, no word of the build.
        Code::Unknown | Code::Internal | Code::Cancelled if step.is_none() && std::error::Error::source(status).is_some() => {
            DockerError::Unavailable(format!("building: {}", root_cause(status))).into()
        }
        _ => SolveError::Failed { message: status.message().to_owned(), step },
    }
}

/// 128 random bits: ids of sessions and contexts share one name space in the engine.
fn random_id() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
