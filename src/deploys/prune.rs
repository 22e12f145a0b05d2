//! What deploys leave behind and nobody needs: sources, old rows, images, feeds and packs. Only what our store knows.

use std::path::Path;
use std::sync::Arc;

use crate::base::crash::{self, Point};
use crate::deploys::world::World;
use crate::model::app::App;
use crate::model::deploy::Deploy;

/// So many packs, one per push, are folded into one.
const MOST_PACKS: usize = 30;

impl World {
    /// The cleaned source is needed until the deploy is over.
    pub(super) async fn drop_source(&self, deploy: &Deploy) {
        let _turn = self.sources_turn.lock().await;
        self.drop_unneeded(&self.source_path(deploy)).await;
    }

    /// Removes a source unless an active deploy has it. To be called in a turn of the sources.
    pub(super) async fn drop_unneeded(&self, path: &Path) {
        match self.store.deploys_active().await {
            Ok(active) if active.iter().any(|d| self.source_path(d) == path) => return,
            Ok(_) => {}
            // The next start removes what nobody needs.
            Err(e) => return tracing::warn!("reading who needs `{}`: {e}", path.display()),
        }
        match tokio::fs::remove_file(path).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => tracing::warn!("removing `{}`: {e}", path.display()),
            _ => {}
        }
    }

    /// Removes rows, images and feeds of deploys and releases that are not kept, and folds the packs of many pushes.
    pub(super) async fn prune(self: &Arc<Self>, app: &App) {
        let limits = &self.config.limits;
        if let Err(e) = self.store.history_prune(app, limits.keep_deploys, limits.keep_releases).await {
            tracing::warn!(app = %app.name, "forgetting old deploys: {e}");
        }
        self.prune_images(app).await;
        crash::point(Point::ImagesPruned);
        let newest = self.store.deploys(app.id, limits.keep_deploys).await.unwrap_or_default();
        if let Some(oldest) = newest.last().map(|d| d.id)
            && let Err(e) = self.feeds.forget(&app.name, |deploy| deploy >= oldest)
        {
            tracing::warn!(app = %app.name, "removing old deploy events: {e}");
        }
        self.fold_packs(app);
    }

    async fn prune_images(&self, app: &App) {
        let keep = match self.store.images_in_use(self.config.limits.keep_releases).await {
            Ok(images) => images,
            Err(e) => return tracing::warn!("reading which images are in use: {e}"),
        };
        let tags: Vec<String> = keep.into_iter().map(|image| image.tag).collect();
        // An image whose build has ended, but whose release is not recorded yet, belongs to an active deploy.
        let active: Vec<String> = match self.store.deploys_active().await {
            Ok(active) => active.iter().map(|d| self.builder.tag_for(&d.app, d.id)).collect(),
            Err(e) => return tracing::warn!("reading which deploys are under way: {e}"),
        };
        if let Err(e) = self.builder.prune(&app.name, &[tags, active].concat()).await {
            tracing::warn!(app = %app.name, "removing old images: {e}");
        }
    }

    /// In the background: the next push need not wait for it. It writes the repository anew before it removes the old packs.
    fn fold_packs(self: &Arc<Self>, app: &App) {
        if self.repos.packs(&app.name) <= MOST_PACKS || self.repos.pack_bytes(&app.name) > self.disk.room_for_state() {
            return;
        }
        let (world, name) = (Arc::clone(self), app.name.clone());
        self.crew.start_once(&format!("folding the packs of {name}"), async move {
            if let Err(e) = world.repos.maintain(&name).await {
                tracing::warn!(app = %name, "folding the packs of {name}: {e}");
            }
        });
    }
}
