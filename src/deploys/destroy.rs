//! The end of an app. Marked first, then carried out in an order that can be begun again after a crash.

use std::sync::Arc;
use std::time::Duration;

use crate::base::crash::{self, Point};
use crate::deploys::retire;
use crate::deploys::world::World;
use crate::model::app::App;
use crate::store::StoreError;

impl World {
    /// Marks the app and starts its end. From here on nothing is admitted and nothing is routed to it.
    pub async fn destroy(self: &Arc<Self>, app: &App, by: &str) -> Result<(), StoreError> {
        crash::point(Point::DestroyAsked);
        self.store.app_mark_destroying(&app.name, by).await?;
        crash::point(Point::DestroyMarked);
        for deploy in self.store.deploys_active_of(app.id).await? {
            self.cancels.cancel(deploy.id);
        }
        self.wakeups.wake(app.id);
        self.destroy_in_background(app);
        Ok(())
    }

    /// Waits until the app is gone. False: not within `limit`.
    pub async fn destroyed(&self, app: &App, limit: Duration) -> bool {
        let gone = async {
            while self.store.app_by_id(app.id).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(limit, gone).await.is_ok()
    }

    pub(super) fn destroy_in_background(self: &Arc<Self>, app: &App) {
        let (world, app) = (Arc::clone(self), app.clone());
        self.crew.start_once(&format!("destroying {}", app.name.clone()), async move {
            while let Err(e) = world.take_down(&app).await {
                tracing::warn!(app = %app.name, "destroying {}: {e}; it is tried again", app.name);
                tokio::time::sleep(Duration::from_secs(2)).await;
                if *world.crew.stopping().borrow() {
                    return;
                }
            }
            tracing::info!(app = %app.name, "app {} is destroyed", app.name);
        });
    }

    async fn take_down(self: &Arc<Self>, app: &App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.publisher.publish().await?;
        crash::point(Point::DestroyUnrouted);
        // The driver ends a deploy under way before anything of it is removed; it writes Cancelled and leaves.
        while self.crew.runs(&format!("driver of app {}", app.id)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Those that had not begun end here.
        for deploy in self.store.deploys_active_of(app.id).await? {
            self.cancel_now(&deploy).await;
        }
        crash::point(Point::DestroyDeploysEnded);
        let rows = self.store.instances_of(app.id).await?;
        let ids: Vec<_> = rows.iter().map(|i| i.id).collect();
        self.store.instances_want(&ids, crate::model::instance::Wanted::Gone).await?;
        retire::retire(self, app).await;
        retire::wait_gone(self, &ids).await;
        self.instances.remove_strays(&app.name).await?;
        crash::point(Point::DestroyInstancesGone);
        self.instances.remove_network(&app.name).await?;
        crash::point(Point::DestroyNetworkGone);
        self.builder.remove_all(&app.name).await?;
        crash::point(Point::DestroyImagesGone);
        self.repos.remove(&app.name).await?;
        crash::point(Point::DestroyRepoGone);
        // First: a line that still came would make the folder again.
        self.publisher.proxies.forget_app(&app.name);
        self.logs.remove_app(&app.name)?;
        crash::point(Point::DestroyLogsGone);
        self.instances.remove_crash_files(&app.name).await?;
        self.feeds.forget(&app.name, |_| false)?;
        crash::point(Point::DestroyFilesGone);
        self.alerts.forget(&app.name).await;
        self.store.app_delete(&app.name, "paas").await?;
        crash::point(Point::DestroyForgotten);
        Ok(())
    }
}
