//! What the engine tells of our containers and networks, as it happens.

use std::collections::HashMap;
use std::pin::Pin;

use bollard::models::{EventMessage, EventMessageTypeEnum as Kind};
use bollard::query_parameters as q;
use futures_util::{Stream, StreamExt};

use super::client::Docker;
use super::containers::FOREVER;
use super::error::DockerError;
use super::labels;
use crate::base::clock::UnixMillis;

/// Something happened to a container or a network of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    pub app: String,
    /// The engine's word: "die", "pause", "destroy", "disconnect".
    pub what: String,
}

/// Follows the engine until it goes away.
pub struct Events {
    stream: Pin<Box<dyn Stream<Item = Result<EventMessage, bollard::errors::Error>> + Send>>,
    install: String,
    prefix: String,
}

impl Docker {
    /// Subscribes: what happens after this call is told (and perhaps a little of what came before it). Cancel-safe: yes, reads only.
    pub async fn events(&self) -> Result<Events, DockerError> {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned(), "network".to_owned()]),
            ("event", ["die", "pause", "rename", "destroy", "disconnect"].map(str::to_owned).to_vec()),
        ]);
        // The engine is asked when the stream is first read: a start in the past closes the gap.
        let since = (UnixMillis::now().0 / 1000 - 1).to_string();
        let options = q::EventsOptionsBuilder::new().filters(&filters).since(&since).build();
        let client = self.negotiated().await?.with_timeout(FOREVER);
        let stream = Box::pin(client.events(Some(options)));
        Ok(Events { stream, install: self.install().to_owned(), prefix: self.name_prefix() })
    }
}

impl Events {
    /// The next one of ours; None when the engine has closed the stream. Cancel-safe: yes.
    pub async fn next(&mut self) -> Option<Touched> {
        loop {
            let event = self.stream.next().await?.ok()?;
            if let Some(touched) = touched(&event, &self.install, &self.prefix) {
                return Some(touched);
            }
        }
    }
}

/// Containers carry our labels; of networks only the name is told.
fn touched(event: &EventMessage, install: &str, prefix: &str) -> Option<Touched> {
    let attributes = event.actor.as_ref()?.attributes.as_ref()?;
    let app = match event.typ? {
        Kind::CONTAINER if attributes.get(labels::INSTALL).is_some_and(|i| i == install) => attributes.get(labels::APP)?.clone(),
        Kind::NETWORK => attributes.get("name")?.strip_prefix(prefix)?.to_owned(),
        _ => return None,
    };
    Some(Touched { app, what: event.action.clone().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(typ: Kind, action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let actor = bollard::models::EventActor { id: None, attributes: Some(attributes) };
        EventMessage { typ: Some(typ), action: Some(action.to_owned()), actor: Some(actor), ..Default::default() }
    }

    #[test]
    fn only_what_is_ours_counts() {
        let told = |e: &EventMessage| touched(e, "1234-5678", "paas-1234-").map(|t| (t.app, t.what));
        let died = event(Kind::CONTAINER, "die", &[("paas.install", "1234-5678"), ("paas.app", "shop"), ("name", "x")]);
        assert_eq!(told(&died), Some(("shop".to_owned(), "die".to_owned())));
        let cut = event(Kind::NETWORK, "disconnect", &[("name", "paas-1234-shop"), ("container", "abc")]);
        assert_eq!(told(&cut), Some(("shop".to_owned(), "disconnect".to_owned())));
        for other in [
            event(Kind::CONTAINER, "die", &[("paas.install", "9999"), ("paas.app", "shop")]),
            event(Kind::CONTAINER, "die", &[("paas.app", "shop")]),
            event(Kind::NETWORK, "destroy", &[("name", "bridge")]),
        ] {
            assert_eq!(told(&other), None, "{other:?}");
        }
    }
}
