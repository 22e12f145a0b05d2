//! `GET, PATCH /apps/{app}/config`. The answer to PATCH is a stream of [`super::deploys::DeployEvent`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;
use crate::names::ConfigKey;

/// What users set. Values that paas itself gives (PORT, …) are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValues {
    pub values: BTreeMap<ConfigKey, Secret<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigPatch {
    #[serde(default)]
    pub set: BTreeMap<ConfigKey, Secret<String>>,
    #[serde(default)]
    pub unset: Vec<ConfigKey>,
}
