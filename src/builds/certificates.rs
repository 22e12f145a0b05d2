//! The host's CA certificates, lent to the RUN lines of our own Dockerfiles: as a BuildKit secret, so that they end up in no layer.

use std::path::PathBuf;

use super::lines::{BuildLine, Lines, say};
use super::template::Values;
use crate::base::secret::Secret;

/// The secret's id. A Dockerfile of the user's may mount it too: `RUN --mount=type=secret,id=paas-ca,target=/run/ca.crt`.
pub const SECRET_ID: &str = "paas-ca";
/// /run exists in every image; the file itself is a mount.
const TARGET: &str = "/run/paas-ca.crt";
/// BuildKit's limit for a secret is 500 KB.
const LIMIT: usize = 500 * 1000;

/// Every variable by which a tool is told of certificates: node, pip, curl, git, cargo, Go, uv and OpenSSL programs.
const VARIABLES: &[&str] = &[
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// When memory runs out a build goes before the host's own processes, as an instance does. BuildKit gives its steps the engine's score, so
/// they raise it themselves, which everybody may; what they start inherits it.
const GO_FIRST: &str = "{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null;";

/// The bundle of `[build] ca_certificates`, or None if there is none to lend (said aloud if one was configured).
pub async fn read(path: Option<&PathBuf>, lines: &Lines) -> Option<Secret<Vec<u8>>> {
    let path = path?;
    let problem = match tokio::fs::read(path).await {
        Ok(bytes) if bytes.len() <= LIMIT => return Some(Secret::new(bytes)),
        Ok(bytes) => format!("it has {} bytes, and a build can be given {LIMIT}", bytes.len()),
        Err(error) => error.to_string(),
    };
    let text = format!("the CA certificates in `{}` are not used: {problem}", path.display());
    say(lines, BuildLine::warning(text)).await;
    None
}

/// Puts `ca` and `ca_env` into a template's values: what stands before the command of a RUN line that does real work.
pub fn offer(values: &mut Values, there: bool) {
    let exports: Vec<String> = VARIABLES.iter().map(|name| format!("{name}={TARGET}")).collect();
    let (mount, environment) = if there {
        (format!("--mount=type=secret,id={SECRET_ID},target={TARGET}"), format!("export {} &&", exports.join(" ")))
    } else {
        (String::new(), String::new())
    };
    values.insert("ca".to_owned(), mount);
    values.insert("ca_env".to_owned(), format!("{GO_FIRST} {environment}"));
}
