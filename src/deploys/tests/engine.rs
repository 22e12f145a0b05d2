//! Plays the Docker engine where a test must say what it answers.

use std::sync::{Arc, Mutex};

use axum::http::{Method, StatusCode, Uri};

use super::World;

pub struct Engine(Arc<Mutex<Vec<String>>>);

impl Engine {
    /// `answer` gets a call (`GET /containers/NAME/json`) and gives its status and body.
    pub fn at(world: &World, answer: impl Fn(&str) -> (u16, &'static str) + Clone + Send + Sync + 'static) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&calls);
        let router = axum::Router::new().fallback(move |method: Method, uri: Uri| async move {
            let path = uri.path();
            // `/v1.44/…`
            let path = path.strip_prefix("/v1").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(path);
            let call = format!("{method} {path}");
            let (status, body) = match answer(&call) {
                (503, why) => (503, why),
                _ if path == "/version" => (200, r#"{"ApiVersion": "1.44"}"#),
                answer => answer,
            };
            heard.lock().expect("no panic").push(call);
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [("content-type", "application/json")], body)
        });
        let listener = tokio::net::UnixListener::bind(&world.config.docker.socket).expect("bind");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self(calls)
    }

    pub fn calls(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}
