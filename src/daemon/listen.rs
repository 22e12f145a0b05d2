//! The daemon's two sockets: inherited from systemd or `paas up`, else made here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Uid;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::base::accounts;
use crate::config::HostConfig;
use crate::handover::fds;
use crate::routes::proxies::Proxies;

/// Proxies at once: an upgrade has two, and old ones that finish long streams a few more. Each takes a descriptor, of which the daemon needs
/// some for everything else.
const MOST_PROXIES: usize = 64;

pub struct Sockets {
    api: Option<UnixListener>,
    proxy: Option<UnixListener>,
}

impl Sockets {
    pub fn take_api(&mut self) -> UnixListener {
        self.api.take().expect("taken once")
    }

    pub fn take_proxy(&mut self) -> UnixListener {
        self.proxy.take().expect("taken once")
    }
}

/// Both listeners, under the names `api` and `proxy-control` if they were inherited.
pub fn sockets(config: &HostConfig) -> anyhow::Result<Sockets> {
    let mut sockets = Sockets { api: None, proxy: None };
    for (name, fd) in fds::take_inherited().context("taking the inherited sockets")? {
        match name.as_str() {
            "api" => sockets.api = Some(adopt(StdListener::from(fd))?),
            "proxy-control" => sockets.proxy = Some(adopt(StdListener::from(fd))?),
            other => tracing::warn!("an inherited descriptor `{other}` is not ours; it is closed"),
        }
    }
    if sockets.api.is_none() {
        sockets.api = Some(bind(&config.api_socket())?);
    }
    if sockets.proxy.is_none() {
        sockets.proxy = Some(bind(&config.proxy_socket())?);
    }
    Ok(sockets)
}

fn adopt(listener: StdListener) -> anyhow::Result<UnixListener> {
    listener.set_nonblocking(true).context("a socket without blocking")?;
    UnixListener::from_std(listener).context("a socket for the runtime")
}

/// The state lock is held, so a socket file that is there is a dead daemon's. Everyone may connect; the peer's uid is judged at accept.
fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    let _ = fs::remove_file(path);
    let listener = StdListener::bind(path).with_context(|| format!("binding `{}`", path.display()))?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o666)).with_context(|| format!("opening `{}`", path.display()))?;
    adopt(listener)
}

pub fn proxy_uid(config: &HostConfig) -> anyhow::Result<Uid> {
    let name = &config.users.proxy;
    let user = accounts::user(name).with_context(|| format!("looking up the user `{name}`"))?;
    Ok(Uid::from_raw(user.with_context(|| format!("the user `{name}` does not exist on this host"))?.uid))
}

/// Takes proxies until the daemon stops; nobody but the proxy's user and root is one.
pub async fn serve_proxies(listener: UnixListener, proxy: Uid, proxies: Arc<Proxies>) {
    let room = Arc::new(Semaphore::new(MOST_PROXIES));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let uid = stream.peer_cred().ok().map(|c| Uid::from_raw(c.uid()));
                if !uid.is_some_and(|uid| uid == proxy || uid.is_root()) {
                    tracing::warn!(?uid, "a stranger connected to the proxy socket; it is closed");
                } else if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
                    let serving = Arc::clone(&proxies).serve(stream);
                    tokio::spawn(async move {
                        serving.await;
                        drop(place);
                    });
                } else {
                    tracing::warn!("{MOST_PROXIES} proxies are connected already; one more is closed");
                }
            }
            Err(e) => {
                tracing::warn!("accepting on the proxy socket: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::config::LogsConfig;
    use crate::logs::LogStore;
    use crate::routes::access_log::AccessLog;

    #[tokio::test]
    async fn so_many_proxies_and_no_more_are_connected_at_once_and_one_that_says_nothing_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("proxy.sock");
        let listener = UnixListener::bind(&path).expect("bound");
        let logs = LogsConfig { max_bytes_per_app: 1 << 20, lines_per_second: 10, burst: 10 };
        let proxies = Proxies::new(AccessLog::new(LogStore::open(folder.path().join("logs"), &logs)));
        let task = tokio::spawn(serve_proxies(listener, Uid::current(), proxies));
        let connect = async || UnixStream::connect(&path).await.expect("connected");
        let mut taken = Vec::new();
        for _ in 0..MOST_PROXIES {
            taken.push(connect().await);
        }
        let is_closed = async |stream: &mut UnixStream, within: Duration| {
            matches!(tokio::time::timeout(within, stream.read(&mut [0])).await, Ok(Ok(0) | Err(_)))
        };
        let soon = Duration::from_secs(2);
        assert!(is_closed(&mut connect().await, soon).await, "there is no place for it");
        assert!(!is_closed(&mut taken[0], Duration::from_millis(10)).await, "it may say hello still");

        // It does not; nor do the others, whose places are free again.
        assert!(is_closed(&mut taken[0], Duration::from_secs(10)).await);
        for stream in &mut taken {
            assert!(is_closed(stream, soon).await);
        }
        assert!(!is_closed(&mut connect().await, Duration::from_millis(300)).await, "there is a place");
        task.abort();
    }
}
