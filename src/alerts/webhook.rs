//! `webhook`: one POST of JSON over HTTP/1.1, by TLS for https. Errors never name the address: many services put a token into it.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// For everything together: name, connection, request, answer.
const LIMIT: Duration = Duration::from_secs(15);

/// Posts `body`; any 2xx is a delivery. Redirects are not followed. Cancel-safe: yes, but the receiver may have got it.
pub async fn post(address: &str, body: &str) -> Result<(), String> {
    let uri: Uri = address.parse().map_err(|_| "the address is not a URL".to_owned())?;
    tokio::time::timeout(LIMIT, post_to(&uri, body)).await.map_err(|_| format!("no answer within {} s", LIMIT.as_secs()))?
}

async fn post_to(uri: &Uri, body: &str) -> Result<(), String> {
    let host = uri.host().ok_or("the address has no host")?;
    // An IPv6 address stands in brackets in a URL, and nowhere else.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port)).await.map_err(|e| format!("connecting to {host} port {port}: {e}"))?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let authority = uri.authority().map_or(host, http::uri::Authority::as_str);
    let request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("paas/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(bytes::Bytes::from(body.to_owned())))
        .map_err(|_| "the address can't be asked for".to_owned())?;
    let status = if secure {
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| format!("`{host}` can't have a certificate"))?;
        let stream = connector()?.connect(name, stream).await.map_err(|e| format!("TLS with {host}: {e}"))?;
        exchange(stream, request).await?
    } else {
        exchange(stream, request).await?
    };
    if status.is_success() { Ok(()) } else { Err(format!("{host} answered {}", status.as_u16())) }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<bytes::Bytes>>,
) -> Result<http::StatusCode, String> {
    let told = |e: hyper::Error| format!("talking to the receiver: {e}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // What it says beside its status is nobody's business; a little is read so that it sees a proper end.
        let _ = http_body_util::Limited::new(answer.into_body(), 64 << 10).collect().await;
        Ok(status)
    };
    tokio::pin!(connection);
    tokio::pin!(asking);
    tokio::select! {
        answered = &mut asking => answered.map_err(told),
        ended = &mut connection => match ended {
            Ok(()) => asking.await.map_err(told),
            Err(e) => Err(told(e)),
        },
    }
}

/// Trusts what the host trusts (also `SSL_CERT_FILE`), read anew each time: alerts are rare, and an authority that was added counts at once.
fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this host trusts no certificate authority: install the package ca-certificates".to_owned());
    }
    // The provider is named, as a process may have none by default.
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
