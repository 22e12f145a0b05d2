//! The machine that makes a release live (the diagram is in `model/deploy.rs`).
//!
//! Owns: admission, the steps, the driver that alone writes moves, what follows the commit point, and putting right what a crash or Docker left.
//! Uses: store, builds, git, instances, routes, tasks, workers. Never: serves the API or parses a manifest.
//! Invariant: every step may be run again from its start; a restart is a plain call of the same steps.

pub mod admit;
pub mod counts;
pub mod destroy;
pub mod driver;
pub mod error;
pub mod feed;
pub mod hung;
pub mod full_disks;
pub mod looks;
pub mod plan;
pub mod prune;
pub mod put_right;
pub mod reconcile;
pub mod release;
pub mod retire;
pub mod settle;
pub mod slots;
pub mod source;
pub mod step;
pub mod tries;
pub mod uploads;
pub mod watch;
pub mod why;
pub mod world;

#[cfg(test)]
pub mod tests;
