//! The Docker engine, as paas uses it.
//!
//! Owns: every word spoken with the engine: containers, images, networks, exec and attach, BuildKit. Uses: names, base. It alone imports
//! bollard and tonic.
//! Never: decides what should run, reads the store, knows an app's manifest, mounts the engine's socket, publishes a port, runs privileged.
//! Invariants: every call has a deadline; a container is created with our restrictions or not at all; an object is ours by its
//! deterministic name *and* our label (images inherit labels to containers: a label alone is no ownership).
//! Note for whoever sets up logging: bollard writes request bodies, and so environments with secrets, at level debug. Keep it at info.

mod attach;
pub mod buildkit;
mod client;
mod containers;
mod error;
mod events;
mod exec;
mod health;
mod hijack;
mod images;
pub mod labels;
mod layer;
mod networks;
mod spec;
mod usage;

pub use attach::{Session, StreamKind};
pub use client::{Docker, EngineInfo};
pub use containers::{ContainerState, ContainerStatus};
pub use error::DockerError;
pub use events::{Events, Touched};
pub use exec::{ExecControl, ExecOptions, ExecSession};
pub use health::Health;
pub use images::{ImageInfo, ImageListing};
pub use networks::NetworkSpec;
pub use spec::{ContainerSpec, Mount};
pub use usage::is_no_space;

#[cfg(test)]
mod tests;
