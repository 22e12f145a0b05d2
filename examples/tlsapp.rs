//! An app that ends TLS itself, for the tests of `tls = "passthrough"`: `/chain.pem` and `/key.pem` beside it are what it shows, and every request
//! is answered with its app's name and the file `version`. It catches no signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

fn beside(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_else(|_| "/tlsapp".into());
    exe.parent().map(|folder| folder.join(name)).unwrap_or_default()
}

fn main() {
    let chain = CertificateDer::pem_file_iter(beside("chain.pem")).expect("chain.pem").collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(beside("key.pem")).expect("key.pem");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a key that belongs to it");
    let (config, version) = (Arc::new(config), std::fs::read_to_string(beside("version")).expect("version"));
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8443);
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    println!("listening by TLS on port {port}");
    let body = format!("{} {}\n", std::env::var("PAAS_APP").unwrap_or_default(), version.trim());
    for stream in listener.incoming().flatten() {
        let (config, body) = (Arc::clone(&config), body.clone());
        std::thread::spawn(move || serve(stream, config, &body));
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, body: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    while read_head(&mut stream)? {
        let to = stream.get_mut();
        write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        to.flush()?;
    }
    Ok(())
}

/// False: the client has ended.
fn read_head(from: &mut BufReader<impl Read>) -> std::io::Result<bool> {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
