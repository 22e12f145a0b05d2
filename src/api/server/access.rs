//! The identity of a connection and what it may do.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::Server;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::model::access::{Identity, Right};
use crate::model::app::App;
use crate::names::AppName;

/// Who asks: set once per connection at accept.
#[derive(Debug, Clone)]
pub struct Who(pub Identity);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fail> {
        parts.extensions.get::<Who>().cloned().ok_or_else(|| Fail::new(ErrorCode::Denied, "this connection has no identity"))
    }
}

impl Who {
    pub fn must(&self, right: Right, app: Option<&AppName>) -> Result<(), Fail> {
        if self.0.may(right, app) {
            return Ok(());
        }
        let what = match right {
            Right::Deploy => "deploy",
            Right::Operate => "operate",
            Right::Create => "create",
            Right::Administer => "administer",
        };
        let on = app.map_or_else(|| "this server".to_owned(), |a| format!("app `{a}`"));
        Err(Fail::new(ErrorCode::Denied, format!("{} may not {what} {on}", self.0.describe()))
            .hint("an administrator can change what a key may do: `paas keys remove`, then `paas keys add` with other limits"))
    }

    pub fn name(&self) -> String {
        self.0.describe()
    }
}

impl Server {
    /// The app of the path, if the caller has the right. One that he may not see and one that does not exist get the same answer.
    pub async fn app(&self, who: &Who, right: Right, Path(name): Path<String>) -> Result<App, Fail> {
        let name = AppName::parse(&name)?;
        who.must(right, Some(&name))?;
        match self.world.store.app(&name).await {
            Ok(app) => Ok(app),
            Err(e) => {
                let known = self.world.store.apps().await.unwrap_or_default();
                let visible = known.into_iter().map(|a| a.name).filter(|n| who.0.may(Right::Deploy, Some(n)));
                let nearest = visible.max_by(|a, b| distance(a, &name).total_cmp(&distance(b, &name)));
                let fail = Fail::from(e);
                Err(match nearest.filter(|n| distance(n, &name) > 0.7) {
                    Some(nearest) => fail.hint(format!("did you mean `{nearest}`?")),
                    None => fail.hint("`paas apps list` shows the apps; `paas apps create NAME` makes one"),
                })
            }
        }
    }
}

fn distance(a: &AppName, b: &AppName) -> f64 {
    strsim::jaro_winkler(a.as_str(), b.as_str())
}
