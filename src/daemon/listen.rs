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

use crate::base::accounts;
use crate::config::HostConfig;
use crate::handover::fds;
use crate::routes::proxies::Proxies;

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
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let uid = stream.peer_cred().ok().map(|c| Uid::from_raw(c.uid()));
                if uid.is_some_and(|uid| uid == proxy || uid.is_root()) {
                    tokio::spawn(Arc::clone(&proxies).serve(stream));
                } else {
                    tracing::warn!(?uid, "a stranger connected to the proxy socket; it is closed");
                }
            }
            Err(e) => {
                tracing::warn!("accepting on the proxy socket: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
