//! Builds: a source tree becomes an image.
//!
//! Owns: reading untrusted archives (`source`), choosing how to build (`detect`), buildpacks as data (`buildpack`, the folder `buildpacks/`)
//! with a planner per language (`languages`), base images (`stack`), one build (`run`), giving space back (`prune`).
//! Uses: docker, manifest, config. Never: runs a program of the source on the host, unpacks it on the host, writes a secret to disk, decides
//! when to build or what becomes of the image.
//! Invariants: what BuildKit gets went through the strict reader; a build can be dropped at any await and leaves only cache; secrets reach
//! a build as BuildKit secrets alone; cache mounts are one app's own.

mod buildpack;
mod certificates;
mod context;
mod detect;
mod dockerfile;
mod error;
mod explain;
mod ignore;
mod languages;
mod lines;
mod named_image;
mod prune;
mod run;
mod source;
pub mod stack;
mod template;

pub use error::BuildError;
pub use lines::{BuildLine, LineKind, Lines};
pub use run::{BuildRequest, Builder, Built};
pub use source::{SourceLimits, SourceSummary, read_manifest_files};

#[cfg(test)]
mod tests;
