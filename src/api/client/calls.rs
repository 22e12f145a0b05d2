//! One method per route.

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Body, Client, ClientError, Events, Pieces, json_body, nothing};
use crate::api::types::alerts::{Alert, Sent};
use crate::api::types::apps::{App, Destroyed, NewApp};
use crate::api::types::certs::{Cert, CertQuery, ExportedCert, NewCert};
use crate::api::types::config::{ConfigPatch, ConfigValues};
use crate::api::types::crashes::CrashFile;
use crate::api::types::deploys::{Deploy, DeployEvent, DeployInfo, NewDeploy};
use crate::api::types::disk::Disk;
use crate::api::types::doctor::Findings;
use crate::api::types::domains::{Domain, NewDomain};
use crate::api::types::git::{PushEvent, PushRequest, Session, SessionRequest};
use crate::api::types::keys::{Key, NewKey};
use crate::api::types::logs::{LogEvent, LogsQuery};
use crate::api::types::maintenance::{Maintenance, SetMaintenance};
use crate::api::types::metrics::{Metrics, MetricsQuery};
use crate::api::types::processes::{Ps, Restart, Scale};
use crate::api::types::releases::{Release, Rollback};
use crate::api::types::routes::{ExplainRequest, Explanation};
use crate::api::types::status::{Status, Version};
use crate::api::types::why::Why;
use crate::names::{AppName, CrashId, DeployId, HostPattern, Hostname, KeyName};

type Answer<T> = Result<T, ClientError>;

/// Bytes of a tarball per piece on the wire.
const PIECE: usize = 64 * 1024;

impl Client {
    pub async fn version(&self) -> Answer<Version> {
        self.json(Method::GET, "/version", nothing()).await
    }

    pub async fn status(&self) -> Answer<Status> {
        self.json(Method::GET, "/status", nothing()).await
    }

    /// What the daemon finds when it looks at itself, its store and Docker.
    pub async fn doctor(&self) -> Answer<Findings> {
        self.json(Method::GET, "/doctor", nothing()).await
    }

    pub async fn alerts(&self) -> Answer<Vec<Alert>> {
        self.json(Method::GET, "/alerts", nothing()).await
    }

    /// Sends a test message to every receiver of alerts and waits for what comes of it.
    pub async fn test_alerts(&self) -> Answer<Vec<Sent>> {
        self.json(Method::POST, "/alerts/test", nothing()).await
    }

    pub async fn disk(&self) -> Answer<Disk> {
        self.json(Method::GET, "/disk", nothing()).await
    }

    pub async fn apps(&self) -> Answer<Vec<App>> {
        self.json(Method::GET, "/apps", nothing()).await
    }

    pub async fn create_app(&self, new: &NewApp) -> Answer<App> {
        self.json(Method::POST, "/apps", json_body(new)).await
    }

    pub async fn app(&self, app: &AppName) -> Answer<App> {
        self.json(Method::GET, &format!("/apps/{app}"), nothing()).await
    }

    pub async fn destroy_app(&self, app: &AppName) -> Answer<Destroyed> {
        self.json(Method::DELETE, &format!("/apps/{app}"), nothing()).await
    }

    pub async fn config(&self, app: &AppName) -> Answer<ConfigValues> {
        self.json(Method::GET, &format!("/apps/{app}/config"), nothing()).await
    }

    pub async fn change_config(&self, app: &AppName, patch: &ConfigPatch) -> Answer<Events<DeployEvent>> {
        self.events(Method::PATCH, &format!("/apps/{app}/config"), json_body(patch)).await
    }

    pub async fn domains(&self, app: &AppName) -> Answer<Vec<Domain>> {
        self.json(Method::GET, &format!("/apps/{app}/domains"), nothing()).await
    }

    pub async fn add_domain(&self, app: &AppName, new: &NewDomain) -> Answer<Domain> {
        self.json(Method::POST, &format!("/apps/{app}/domains"), json_body(new)).await
    }

    pub async fn remove_domain(&self, app: &AppName, host: &Hostname) -> Answer<Domain> {
        self.json(Method::DELETE, &format!("/apps/{app}/domains/{host}"), nothing()).await
    }

    /// Sends a source archive and gives the stream of its deploy. Reads `tarball` to its end unless the daemon refuses first.
    pub async fn deploy_tarball(
        &self,
        app: &AppName,
        tarball: impl AsyncRead + Send + Unpin + 'static,
        wait: bool,
    ) -> Answer<Events<DeployEvent>> {
        self.events(Method::POST, &format!("/apps/{app}/deploys?source=tarball&wait={wait}"), stream_body(tarball)).await
    }

    pub async fn deploy(&self, app: &AppName, new: &NewDeploy, wait: bool) -> Answer<Events<DeployEvent>> {
        self.events(Method::POST, &format!("/apps/{app}/deploys?wait={wait}"), json_body(new)).await
    }

    pub async fn deploys(&self, app: &AppName) -> Answer<Vec<Deploy>> {
        self.json(Method::GET, &format!("/apps/{app}/deploys"), nothing()).await
    }

    pub async fn deploy_info(&self, deploy: DeployId) -> Answer<DeployInfo> {
        self.json(Method::GET, &format!("/deploys/{deploy}"), nothing()).await
    }

    /// The stream of a deploy from its beginning, then live.
    pub async fn follow(&self, deploy: DeployId) -> Answer<Events<DeployEvent>> {
        self.events(Method::GET, &format!("/deploys/{deploy}/follow"), nothing()).await
    }

    pub async fn cancel(&self, deploy: DeployId) -> Answer<Deploy> {
        self.json(Method::POST, &format!("/deploys/{deploy}/cancel"), nothing()).await
    }

    pub async fn releases(&self, app: &AppName) -> Answer<Vec<Release>> {
        self.json(Method::GET, &format!("/apps/{app}/releases"), nothing()).await
    }

    pub async fn rollback(&self, app: &AppName, to: &Rollback) -> Answer<Events<DeployEvent>> {
        self.events(Method::POST, &format!("/apps/{app}/rollback"), json_body(to)).await
    }

    pub async fn ps(&self, app: &AppName) -> Answer<Ps> {
        self.json(Method::GET, &format!("/apps/{app}/ps"), nothing()).await
    }

    pub async fn scale(&self, app: &AppName, scale: &Scale) -> Answer<Events<DeployEvent>> {
        self.events(Method::POST, &format!("/apps/{app}/scale"), json_body(scale)).await
    }

    pub async fn restart(&self, app: &AppName, restart: &Restart) -> Answer<Events<DeployEvent>> {
        self.events(Method::POST, &format!("/apps/{app}/restart"), json_body(restart)).await
    }

    pub async fn why(&self, app: &AppName) -> Answer<Why> {
        self.json(Method::GET, &format!("/apps/{app}/why"), nothing()).await
    }

    pub async fn crashes(&self, app: &AppName) -> Answer<Vec<CrashFile>> {
        self.json(Method::GET, &format!("/apps/{app}/crashes"), nothing()).await
    }

    /// The bytes of a crash file, piece by piece.
    pub async fn crash_file(&self, app: &AppName, id: CrashId) -> Answer<Pieces> {
        self.pieces(Method::GET, &format!("/apps/{app}/crashes/{id}"), nothing()).await
    }

    pub async fn logs(&self, app: &AppName, query: &LogsQuery) -> Answer<Events<LogEvent>> {
        self.events(Method::GET, &format!("/apps/{app}/logs{}", query_string(query)), nothing()).await
    }

    pub async fn metrics(&self, app: &AppName, query: &MetricsQuery) -> Answer<Metrics> {
        self.json(Method::GET, &format!("/apps/{app}/metrics{}", query_string(query)), nothing()).await
    }

    /// The metrics of all apps that the caller may see, as text.
    pub async fn prometheus(&self, query: &MetricsQuery) -> Answer<String> {
        let mut pieces = self.pieces(Method::GET, &format!("/metrics{}", query_string(query)), nothing()).await?;
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await? {
            text.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub async fn maintenance(&self, app: &AppName) -> Answer<Maintenance> {
        self.json(Method::GET, &format!("/apps/{app}/maintenance"), nothing()).await
    }

    pub async fn set_maintenance(&self, app: &AppName, wanted: &SetMaintenance) -> Answer<Maintenance> {
        self.json(Method::PUT, &format!("/apps/{app}/maintenance"), json_body(wanted)).await
    }

    pub async fn certs(&self) -> Answer<Vec<Cert>> {
        self.json(Method::GET, "/certs", nothing()).await
    }

    pub async fn add_cert(&self, new: &NewCert) -> Answer<Cert> {
        self.json(Method::POST, "/certs", json_body(new)).await
    }

    pub async fn cert(&self, host: &HostPattern, with_key: bool) -> Answer<ExportedCert> {
        let query = query_string(&CertQuery { with_key });
        self.json(Method::GET, &format!("/certs/{}{query}", escaped(host.as_str())), nothing()).await
    }

    pub async fn remove_cert(&self, host: &HostPattern) -> Answer<Cert> {
        self.json(Method::DELETE, &format!("/certs/{}", escaped(host.as_str())), nothing()).await
    }

    /// What would happen to a request; nothing is sent.
    pub async fn explain(&self, asked: &ExplainRequest) -> Answer<Explanation> {
        self.json(Method::POST, "/routes/explain", json_body(asked)).await
    }

    pub async fn keys(&self) -> Answer<Vec<Key>> {
        self.json(Method::GET, "/keys", nothing()).await
    }

    pub async fn add_key(&self, new: &NewKey) -> Answer<Key> {
        self.json(Method::POST, "/keys", json_body(new)).await
    }

    pub async fn remove_key(&self, name: &KeyName) -> Answer<Key> {
        self.json(Method::DELETE, &format!("/keys/{}", escaped(name.as_str())), nothing()).await
    }

    pub async fn git_session(&self, asked: &SessionRequest) -> Answer<Session> {
        self.json(Method::POST, "/git/session", json_body(asked)).await
    }

    pub async fn git_push(&self, asked: &PushRequest) -> Answer<Events<PushEvent>> {
        self.events(Method::POST, "/git/push", json_body(asked)).await
    }
}

/// The fields of a flat struct as `?a=1&b=2`, percent-encoded; empty if all are absent.
pub fn query_string<T: Serialize>(query: &T) -> String {
    let value = serde_json::to_value(query).expect("a query is plain data");
    let mut text = String::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&escaped(&value));
    }
    text
}

/// Percent-encoding of everything but RFC 3986's unreserved characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn stream_body(from: impl AsyncRead + Send + Unpin + 'static) -> Body {
    let pieces = stream::unfold(Some(from), |from| async {
        let mut from = from?;
        let mut piece = BytesMut::with_capacity(PIECE);
        match from.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Frame::data(Bytes::from(piece))), Some(from))),
            Err(e) => Some((Err(e), None)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}
