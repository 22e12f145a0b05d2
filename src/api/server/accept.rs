//! Connections to the API: the peer's uid decides, or the key that the ssh login user's process announces in its first line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::unistd::Uid;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tower::ServiceExt;

use super::access::Who;
use super::fail::Fail;
use super::linger::Lingering;
use crate::api::error::ErrorCode;
use crate::base::accounts;
use crate::config::Users;
use crate::model::access::Identity;
use crate::names::KeyId;
use crate::store::Store;

/// The first line of a session is `key k123\n`.
const LONGEST_PREFACE: usize = 64;
const PREFACE_LIMIT: Duration = Duration::from_secs(10);
/// Of users without rights one line is written in this time.
const STRANGERS_EVERY: Duration = Duration::from_secs(60);

/// Who may connect, as uids of this host.
pub struct Doors {
    pub daemon: Uid,
    pub login: Uid,
    admin_group: Option<u32>,
    strangers: Strangers,
}

/// Anybody on the host may knock as often as they like: what is written of it is little.
#[derive(Default)]
struct Strangers {
    /// When one was told of last, and how many came since.
    told: Mutex<(Option<Instant>, u64)>,
}

impl Strangers {
    fn tell(&self, uid: Uid) {
        // Two plain values: whole between any two statements.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, others) = *told;
        if last.is_some_and(|last| last.elapsed() < STRANGERS_EVERY) {
            told.1 += 1;
            return;
        }
        *told = (Some(Instant::now()), 0);
        drop(told);
        tracing::warn!(%uid, others, "a user without any right tried the API socket (others: since this was told last)");
    }
}

impl Doors {
    /// Looks the users up. Errors name the missing one.
    pub fn open(users: &Users) -> Result<Self, String> {
        let uid = |name: &str| match accounts::user(name) {
            Ok(Some(user)) => Ok(Uid::from_raw(user.uid)),
            Ok(None) => Err(format!("the user `{name}` does not exist on this host")),
            Err(e) => Err(format!("looking up the user `{name}`: {e}")),
        };
        let admin_group = accounts::group(&users.admin_group).ok().flatten();
        Ok(Self { daemon: uid(&users.daemon)?, login: uid(&users.login)?, admin_group, strangers: Strangers::default() })
    }

    fn is_admin(&self, uid: Uid) -> bool {
        if uid.is_root() || uid == self.daemon {
            return true;
        }
        let Some(admins) = self.admin_group else { return false };
        let Ok(Some(user)) = accounts::user_of(uid.as_raw()) else { return false };
        accounts::groups_of(&user).is_ok_and(|groups| groups.contains(&admins))
    }
}

/// Accepts until the daemon stops: then whoever comes waits in the socket for the next daemon.
pub async fn serve(listener: UnixListener, router: Router, doors: Arc<Doors>, store: Store, mut stopping: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, doors, store, stopping) = (router.clone(), Arc::clone(&doors), store.clone(), stopping.clone());
                tokio::spawn(async move {
                    if let Some((stream, who)) = identify(stream, &doors, &store).await {
                        converse(stream, router, who, store, stopping).await;
                    }
                });
            }
            Err(e) => {
                tracing::warn!("accepting on the API socket: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn identify(mut stream: UnixStream, doors: &Doors, store: &Store) -> Option<(UnixStream, Who)> {
    let uid = Uid::from_raw(stream.peer_cred().ok()?.uid());
    if uid == doors.login {
        let id = tokio::time::timeout(PREFACE_LIMIT, preface(&mut stream)).await.ok()??;
        // A key that was removed while its session was open has no rights any more.
        let key = store.key(id).await.ok()??;
        return Some((stream, Who(Identity::Key(key))));
    }
    if doors.is_admin(uid) {
        let name = accounts::user_of(uid.as_raw()).ok().flatten().map_or_else(|| format!("uid {uid}"), |u| u.name);
        return Some((stream, Who(Identity::Admin { name })));
    }
    doors.strangers.tell(uid);
    None
}

/// Reads byte by byte, so that nothing of what follows is taken.
async fn preface(stream: &mut UnixStream) -> Option<KeyId> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await.ok()? {
            b'\n' => break,
            byte => line.push(byte),
        }
        if line.len() > LONGEST_PREFACE {
            return None;
        }
    }
    let text = String::from_utf8(line).ok()?;
    KeyId::parse(text.strip_prefix("key ")?).ok()
}

async fn converse(stream: UnixStream, router: Router, who: Who, store: Store, stopping: watch::Receiver<bool>) {
    let service = service_fn(move |request: axum::http::Request<hyper::body::Incoming>| {
        let (router, who, store, stopping) = (router.clone(), who.clone(), store.clone(), stopping.clone());
        async move {
            let stops = || std::io::Error::other("the daemon stops");
            if *stopping.borrow() {
                return Err(stops());
            }
            // A task of its own: what a call has begun it ends, also when its client leaves in the middle.
            let answering = tokio::spawn(answer(router, who, store, request));
            let answer = answering.await.map_err(|e| std::io::Error::other(e.to_string()))?;
            // The store closes under what still runs. That is no answer: the caller asks the next daemon.
            if *stopping.borrow() && answer.status().is_server_error() { Err(stops()) } else { Ok(answer) }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(Lingering::new(stream)), service)
        .with_upgrades();
    // A client that leaves in the middle is not an error.
    if let Err(e) = connection.await {
        tracing::debug!("an API connection ended: {e}");
    }
}

async fn answer(router: Router, who: Who, store: Store, request: axum::http::Request<hyper::body::Incoming>) -> Response {
    let who = match who.0 {
        admin @ Identity::Admin { .. } => Who(admin),
        // Asked anew for each call: a key that was removed or limited meanwhile has only the rights that it has now.
        Identity::Key(key) => match store.key(key.id).await {
            Ok(Some(now)) => Who(Identity::Key(now)),
            Ok(None) => return Fail::new(ErrorCode::Denied, format!("key {} was removed", key.name)).into_response(),
            Err(e) => return Fail::from(e).into_response(),
        },
    };
    let mut request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(who);
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
