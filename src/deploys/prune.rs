//! What deploys leave behind and nobody needs: sources, old images, old feeds. Only what our store knows.

use std::sync::Arc;

use crate::base::crash::{self, Point};
use crate::deploys::world::World;
use crate::model::app::App;
use crate::model::deploy::Deploy;

/// Deploys whose events are kept per app.
const KEEP_FEEDS: u32 = 50;

impl World {
    /// The cleaned source is needed until the deploy is over.
    pub(super) async fn drop_source(&self, deploy: &Deploy) {
        let path = self.source_path(deploy);
        let others = self.store.deploys_active().await.unwrap_or_default();
        if others.iter().any(|d| self.source_path(d) == path) {
            return;
        }
        match tokio::fs::remove_file(&path).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => tracing::warn!("removing `{}`: {e}", path.display()),
            _ => {}
        }
    }

    /// Removes images that no kept release needs, and feeds of old deploys.
    pub(super) async fn prune(self: &Arc<Self>, app: &App) {
        let keep = match self.store.images_in_use(self.config.limits.keep_releases).await {
            Ok(images) => images,
            Err(e) => return tracing::warn!("reading which images are in use: {e}"),
        };
        let tags: Vec<String> = keep.into_iter().map(|image| image.tag).collect();
        // An image whose build has ended, but whose release is not recorded yet, belongs to an active deploy.
        let active: Vec<String> =
            self.store.deploys_active().await.unwrap_or_default().iter().map(|d| self.builder.tag_for(&d.app, d.id)).collect();
        if let Err(e) = self.builder.prune(&app.name, &[tags, active].concat()).await {
            tracing::warn!(app = %app.name, "removing old images: {e}");
        }
        crash::point(Point::ImagesPruned);
        let newest = self.store.deploys(app.id, KEEP_FEEDS).await.unwrap_or_default();
        if let Some(oldest) = newest.last().map(|d| d.id)
            && let Err(e) = self.feeds.forget(&app.name, |deploy| deploy >= oldest)
        {
            tracing::warn!(app = %app.name, "removing old deploy events: {e}");
        }
    }
}
