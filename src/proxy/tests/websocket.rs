//! WebSockets through the proxy are what they are without it: each case is played against the same strict server directly, through the
//! proxy, and through it by TLS, and both sides must see the same bytes and the same end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::world::*;
use cases::{Case, Step};
use peer::{Peer, PeerSaw, websocket_lines};

mod cases;
mod peer;

/// What a client saw.
#[derive(Debug, PartialEq, Eq)]
struct ClientSaw {
    status: String,
    /// The lines of the answer that belong to WebSockets, in their order.
    answered: Vec<String>,
    /// All that came behind the head.
    bytes: Vec<u8>,
    /// The server ended properly.
    ended: bool,
}

async fn play<S: AsyncRead + AsyncWrite + Unpin>(stream: S, case: &Case) -> ClientSaw {
    let (mut from, mut to) = tokio::io::split(stream);
    let (came, waits) = watch::channel(0usize);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        case.path, case.fields
    );
    let writing = async {
        // What can't be written any more is seen, or not, by the other side.
        let _ = to.write_all(&[request.as_bytes(), &case.early].concat()).await;
        let _ = act(&mut to, &case.steps, waits).await;
        to
    };
    let reading = async {
        let (mut all, mut head) = (Vec::new(), None);
        let ended = loop {
            let read = from.read_buf(&mut all).await;
            head = head.or_else(|| all.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4));
            came.send_replace(head.map_or(0, |head| all.len() - head));
            match read {
                Ok(0) => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        // Whoever waits for more waits in vain.
        came.send_replace(usize::MAX);
        (all, head.unwrap_or(0), ended)
    };
    let (_, (all, head, ended)) = tokio::join!(writing, reading);
    let text = String::from_utf8_lossy(&all[..head]);
    let status = text.lines().next().unwrap_or_default().to_owned();
    ClientSaw { status, answered: websocket_lines(&text), bytes: all[head..].to_vec(), ended }
}

async fn act(to: &mut (impl AsyncWrite + Unpin), steps: &[Step], mut came: watch::Receiver<usize>) -> std::io::Result<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => to.write_all(bytes).await?,
            Step::Drip(bytes) => {
                for byte in bytes {
                    to.write_all(&[*byte]).await?;
                    to.flush().await?;
                }
            }
            Step::Cut(bytes, at) => {
                to.write_all(&bytes[..*at]).await?;
                to.flush().await?;
                // Long enough for the first half to travel alone.
                tokio::time::sleep(Duration::from_millis(3)).await;
                to.write_all(&bytes[*at..]).await?;
            }
            Step::Wait(n) => drop(came.wait_for(|came| came >= n).await),
            Step::End => to.shutdown().await?,
        }
        to.flush().await?;
    }
    Ok(())
}

/// How the client reaches the server.
#[derive(Debug, Clone, Copy)]
enum Way {
    Direct,
    Proxy,
    Tls,
}

async fn saw(way: Way, world: &World, peer: &Peer, case: &Case) -> (ClientSaw, PeerSaw) {
    let address = match way {
        Way::Direct => peer.address,
        Way::Proxy => world.address,
        Way::Tls => world.tls_address,
    };
    let stream = TcpStream::connect(address).await.expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    let playing = async {
        if matches!(way, Way::Tls) {
            let config = Offer { alpn: &[b"http/1.1"], ..Offer::default() }.config();
            let name = ServerName::try_from("shop.test").expect("name");
            play(TlsConnector::from(Arc::clone(&config)).connect(name, stream).await.expect("handshake"), case).await
        } else {
            play(stream, case).await
        }
    };
    let client = tokio::time::timeout(PATIENCE, playing).await.unwrap_or_else(|_| panic!("{} does not end ({way:?})", case.name));
    (client, tokio::task::block_in_place(|| peer.saw()))
}

/// Where two runs of bytes begin to differ.
fn difference(what: &str, direct: &[u8], other: &[u8]) -> Option<String> {
    let at = direct.iter().zip(other).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| bytes[at..bytes.len().min(at + 40)].escape_ascii().to_string();
    (direct != other).then(|| {
        format!("{what} differ at {at} ({} and {} bytes): {:?} and {:?}", direct.len(), other.len(), show(direct), show(other))
    })
}

fn compare(direct: &(ClientSaw, PeerSaw), other: &(ClientSaw, PeerSaw)) -> Option<String> {
    difference("the client's bytes", &direct.0.bytes, &other.0.bytes)
        .or_else(|| difference("the server's bytes", &direct.1.bytes, &other.1.bytes))
        .or_else(|| {
            let rest = |saw: &(ClientSaw, PeerSaw)| {
                let (client, peer) = saw;
                format!("{:?}", (&client.status, &client.answered, client.ended, &peer.asked, peer.ended))
            };
            (rest(direct) != rest(other)).then(|| format!("{} and {}", rest(direct), rest(other)))
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_websocket_see_the_same_through_the_proxy_as_without_it() {
    let peer = Peer::start();
    let world = World::start();
    world.place(1, peer.address);
    world.activate(&with_certs(snapshot(1, &[1], &[]), vec![certificate(&["shop.test"])]));
    let cases = cases::all();
    assert!(cases.len() >= 150, "{}", cases.len());
    let (begun, mut wrong, mut echoed) = (Instant::now(), Vec::new(), 0);
    for case in &cases {
        let direct = saw(Way::Direct, &world, &peer, case).await;
        echoed += direct.0.bytes.len();
        for way in [Way::Proxy, Way::Tls] {
            let other = saw(way, &world, &peer, case).await;
            if let Some(why) = compare(&direct, &other) {
                wrong.push(format!("* {} ({way:?}): {why}", case.name));
            }
        }
    }
    println!("{} cases three times in {:?}", cases.len(), begun.elapsed());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // The comparison is one of something.
    assert!(echoed > 6 << 20, "{echoed} bytes came back");
}
