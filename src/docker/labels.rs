//! The labels on our Docker objects. They are hints for people and for finding candidates: whether an object is ours is decided by its
//! name and the store.

/// The uuid of the installation that made the object.
pub const INSTALL: &str = "paas.install";
pub const APP: &str = "paas.app";
pub const PROCESS: &str = "paas.process";
pub const INSTANCE: &str = "paas.instance";
pub const RELEASE: &str = "paas.release";
pub const DEPLOY: &str = "paas.deploy";
pub const COMMIT: &str = "paas.commit";
/// On images of the stack: the recipe they were made from. Shared by all installations on an engine.
pub const STACK: &str = "paas.stack";

/// The first eight characters of an installation's uuid, as used in names of containers, networks and image repositories.
pub fn short_install(install: &str) -> &str {
    install.get(..8).unwrap_or(install)
}
