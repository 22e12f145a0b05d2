//! The release command as a step of a deploy: its output goes to the pusher.

use crate::deploys::error::StepError;
use crate::deploys::feed::Tone;
use crate::deploys::world::World;
use crate::manifest::CommandLine;
use crate::model::app::App;
use crate::model::deploy::Deploy;
use crate::model::release::Release;
use crate::tasks::release_command::{self, Ask, CommandEnd};

impl World {
    pub(super) async fn release_command(
        &self,
        deploy: &Deploy,
        app: &App,
        release: &Release,
        command: &CommandLine,
    ) -> Result<CommandEnd, StepError> {
        self.say(deploy, Tone::Step, "Running the release command".to_owned());
        let config = self.store.release_config(app.id, release.number).await?;
        let ask = Ask { deploy: deploy.id, app, release, config: &config, command, cancel: self.cancels.watch(deploy.id) };
        Ok(release_command::run(&self.instances, &ask, |line| self.say(deploy, Tone::Output, line)).await?)
    }
}
