//! The nouns of paas as plain data, with the rules that need nothing else.
//!
//! Owns: what an app, a deploy, a release, an instance, an end, a key, a certificate is, which moves between their states are legal, when a disk is too full.
//! Uses: names, base, manifest.
//! Never: does I/O. Invariant: a state that is not in one of these enums cannot be stored.

pub mod access;
pub mod alert;
pub mod app;
pub mod certificate;
pub mod crash;
pub mod deploy;
pub mod disk;
pub mod end;
pub mod instance;
pub mod maintenance;
pub mod release;
pub mod why;
