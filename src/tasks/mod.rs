//! Commands that run once in a release's image: the release command, `run`; and `exec` in an instance that runs.
//!
//! Owns: one-off containers. Uses: docker, store, instances (what a container is made of). Never: touches routes.
//! Invariant: the release command of a deploy is never run twice; after a crash the container it ran in is asked.

pub mod one_off;
pub mod release_command;
