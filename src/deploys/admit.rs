//! The door of the machine: a deploy is stored, or refused with the reason.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::crash::{self, Point};
use crate::deploys::driver;
use crate::deploys::feed::Happened;
use crate::deploys::world::World;
use crate::model::deploy::Deploy;
use crate::store::{NewDeploy, StoreError};

/// Why an upload is not deployed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("keeping the upload as `{}`", .path.display())]
    Keep { path: PathBuf, source: io::Error },
}

impl World {
    /// Stores a deploy, tells those it supersedes, and wakes the app's driver. Once this returns Ok the deploy will end, whatever crashes.
    pub async fn admit(self: &Arc<Self>, new: &NewDeploy) -> Result<Deploy, StoreError> {
        let _turn = self.sources_turn.lock().await;
        self.admit_in_turn(new).await
    }

    /// The same for an upload that was received as `part` and has this content. It gets the name of its content in the turn in which its deploy
    /// is admitted: the end of an earlier deploy with the same content removes what no deploy needs.
    pub async fn admit_upload(self: &Arc<Self>, new: &NewDeploy, sha256: &str, part: &Path) -> Result<Deploy, UploadError> {
        let _turn = self.sources_turn.lock().await;
        let path = self.upload_path(sha256);
        if let Err(source) = tokio::fs::rename(part, &path).await {
            return Err(UploadError::Keep { path, source });
        }
        let admitted = self.admit_in_turn(new).await;
        if admitted.is_err() {
            self.drop_unneeded(&path).await;
        }
        Ok(admitted?)
    }

    async fn admit_in_turn(self: &Arc<Self>, new: &NewDeploy) -> Result<Deploy, StoreError> {
        let (deploy, superseded) = self.store.deploy_admit(new).await?;
        crash::point(Point::DeployAdmitted);
        for older in superseded {
            crash::point(Point::OlderSuperseded);
            let world = Arc::clone(self);
            // Beside the admission, which waits for nothing that may take long.
            self.crew.start_once(&format!("end of {older}"), async move {
                if let Some(older) = world.read("what was superseded", || world.store.deploy(older)).await {
                    world.after(&older).await;
                }
            });
        }
        // It is stored: nothing from here on may tell of an error. Who can't be told a place in the queue hears of the first step.
        let active = self.store.deploys_active_of(deploy.app_id).await.unwrap_or_default();
        let ahead = active.iter().filter(|d| d.id < deploy.id).count();
        if ahead > 0 {
            let position = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.feeds.tell(&deploy.app, deploy.id, &Happened::Queued { app: deploy.app.clone(), position });
        }
        tracing::info!(app = %deploy.app, deploy = %deploy.id, by = new.by_name, "deploy {} of {} is queued", deploy.id, deploy.app);
        // It runs already, unless the app's creation was cut short.
        driver::drive(self, deploy.app_id);
        self.wakeups.wake(deploy.app_id);
        Ok(deploy)
    }
}
