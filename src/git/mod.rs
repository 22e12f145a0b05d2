//! Repositories, ssh keys and the rules of a push.
//!
//! Owns: the bare repository of each app, refs and pins in it, reading commits, `authorized_keys`, which ref changes are allowed.
//! Uses: names, base, config, the wire structs of a push, the `git` program. Never: starts a deploy, asks who may push, checks files out of a repository.
//! Invariants: git runs by argv with an environment of ours, a deadline and bounded output; the login user can write `objects/` and nothing else
//! (a config file it could write would run as the daemon); only the daemon moves refs; a pinned commit is never collected.

mod archive;
mod error;
mod hooks;
pub mod incoming;
pub mod keys;
pub mod policy;
mod read;
mod refs;
mod repos;
mod run;

pub use archive::Archive;
pub use error::GitError;
pub use hooks::install_hooks;
pub use read::CommitInfo;
pub use repos::Repos;
pub use run::environment;

#[cfg(test)]
mod tests;
